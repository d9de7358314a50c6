use std::sync::Arc;

use aqueduct_core::{
    Admin, BatchProducer, Capability, Claim, Claims, DeadLetterStore, Destination, Effect,
    ErrorKind, Event, GroupKey, IdempotencyStore, LeaseStore, Limits, PartitionedLog, Receipt,
    Resource, Runtime, Source, layered_producer,
};

use crate::case::Need;
use crate::context::Context;
use crate::fixture::{Fault, Faults, Subject};
use crate::observer::Observer;
use crate::stop::{During as _, Outcome, Stop};

/// One stream under test, with the operations of a case.
pub(crate) struct Harness<'a> {
    pub(crate) context: &'a Context<'a>,
    pub(crate) subject: Subject,
}

impl<'a> Harness<'a> {
    pub(crate) fn new(context: &'a Context<'a>, subject: Subject) -> Self {
        Self { context, subject }
    }

    pub(crate) fn runtime(&self) -> &'a Runtime {
        self.context.runtime
    }

    /// Returns the key of `group` on this stream.
    pub(crate) fn key(&self, group: &str) -> GroupKey {
        GroupKey::new(group, self.subject.stream.stream().text())
    }

    /// Opens the backend's producer behind the run's layers.
    pub(crate) async fn producer(&self) -> Outcome<Arc<dyn BatchProducer>> {
        self.producer_of(&self.subject.stream).await
    }

    /// Opens the resource's producer behind the run's layers.
    pub(crate) async fn producer_of(
        &self,
        resource: &Arc<dyn Resource>,
    ) -> Outcome<Arc<dyn BatchProducer>> {
        let opening = resource.producer(self.runtime());
        let producer = self.context.within("a producer", opening).await?;
        let layers = self.context.layers.layers(self, "producer").await?;
        let inner = producer.during("opening a producer")?;
        let destination = Destination::new("conformance", resource.stream().clone());
        layered_producer(inner, &layers, &destination).during("wrapping a producer")
    }

    pub(crate) async fn log(&self) -> Outcome<Arc<dyn PartitionedLog>> {
        match self.source().await? {
            Source::Log(log) => Ok(log),
            _ => Err(Stop::NotClaimed("the stream is not a log".to_owned())),
        }
    }

    pub(crate) async fn source(&self) -> Outcome<Source> {
        let opening = self.subject.stream.source(self.runtime());
        let source = self.context.within("its source", opening).await?;
        source.during("opening the source")
    }

    pub(crate) async fn leases(&self) -> Outcome<Arc<dyn LeaseStore>> {
        let opening = self.subject.leases.leases(self.runtime());
        let leases = self.context.within("its leases", opening).await?;
        leases.during("opening the leases")
    }

    pub(crate) async fn idempotency(&self) -> Outcome<Arc<dyn IdempotencyStore>> {
        let opening = self.subject.idempotency.idempotency(self.runtime());
        let store = self
            .context
            .within("its idempotency store", opening)
            .await?;
        store.during("opening the idempotency store")
    }

    pub(crate) async fn dead_letters(&self) -> Outcome<Arc<dyn DeadLetterStore>> {
        let opening = self.subject.dead_letters.dead_letters(self.runtime());
        let dead_letters = self.context.within("its dead letters", opening).await?;
        dead_letters.during("opening the dead letters")
    }

    pub(crate) async fn admin(&self) -> Outcome<Arc<dyn Admin>> {
        let opening = self.subject.stream.admin(self.runtime());
        let admin = self.context.within("its administration", opening).await?;
        admin.during("opening the administration")
    }

    /// Opens an observer that sees every event sent from now on, once each.
    pub(crate) async fn observe(&self) -> Outcome<Observer<'_>> {
        Observer::open(self).await
    }

    /// Sends `events` in order until all are stored.
    pub(crate) async fn send(&self, events: &[Event]) -> Outcome<Vec<Receipt>> {
        let producer = self.producer().await?;
        self.send_by(&*producer, events).await
    }

    /// Sends `events` with `producer`, in calls as large as it allows, and retries retryable failures.
    pub(crate) async fn send_by(
        &self,
        producer: &dyn BatchProducer,
        events: &[Event],
    ) -> Outcome<Vec<Receipt>> {
        let limits = producer.capabilities().limits;
        let mut receipts = Vec::with_capacity(events.len());
        let mut rest = events;
        while !rest.is_empty() {
            let (chunk, later) = rest.split_at(chunk_len(rest, limits));
            receipts.extend(self.send_chunk(producer, chunk).await?);
            rest = later;
        }
        Ok(receipts)
    }

    /// Injects the fault.
    pub(crate) async fn inject(&self, fault: Fault) -> Outcome {
        match &self.subject.faults {
            Some(faults) => faults.inject(fault).await.during(fault.as_str()),
            None => Err(Stop::Lacking(cannot(fault))),
        }
    }

    /// Returns what can be tested with this subject.
    pub(crate) async fn abilities(&self) -> Outcome<Abilities> {
        let fixture = self.context.fixture;
        let stream = &self.subject.stream;
        let mut claims = stream.claims();
        let producer = stream.producer(self.runtime()).await.ok();
        let source = stream.source(self.runtime()).await.ok();
        let leases = self.subject.leases.leases(self.runtime()).await.is_ok();
        let opened = [
            producer.as_ref().map(|it| it.capabilities()),
            source.as_ref().and_then(|source| match source {
                Source::Log(log) => Some(log.capabilities()),
                _ => None,
            }),
        ];
        for opened in opened.iter().flatten() {
            for capability in Capability::ALL {
                if *claims.get(capability) == Claim::WhenOpened {
                    claims = claims.with(capability, opened.claims.get(capability).clone());
                }
            }
        }
        let elsewhere = [
            (Capability::Leases, &self.subject.leases),
            (Capability::Idempotency, &self.subject.idempotency),
            (Capability::DeadLetters, &self.subject.dead_letters),
        ];
        for (capability, keeper) in elsewhere {
            claims = claims.with(capability, keeper.claims().get(capability).clone());
        }
        let log = matches!(source, Some(Source::Log(_)));
        let queue = matches!(source, Some(Source::Queue(_)));
        if log {
            // Reading a log does not take events from other readers.
            claims = claims.with(Capability::Groups, Claim::Yes);
        }
        if queue || (log && leases) {
            let member = self.join("probe").open().await?;
            let flow = member.consumer().capabilities().claims;
            for capability in FLOW {
                claims = claims.with(capability, flow.get(capability).clone());
            }
            member.close(self.context).await?;
        }
        Ok(Abilities {
            limits: producer.as_ref().map(|it| it.capabilities().limits),
            producer: producer.is_some(),
            log,
            queue,
            leases,
            claims,
            faults: self.subject.faults.clone(),
            peer: self.subject.peer.is_some(),
            missing: fixture.missing().await.is_some(),
            denied: fixture.denied().await.is_some(),
        })
    }

    async fn send_chunk(
        &self,
        producer: &dyn BatchProducer,
        chunk: &[Event],
    ) -> Outcome<Vec<Receipt>> {
        let mut receipts: Vec<Option<Receipt>> = vec![None; chunk.len()];
        let mut open: Vec<usize> = (0..chunk.len()).collect();
        let sending = async {
            while !open.is_empty() {
                let events: Vec<Event> = open.iter().map(|&at| chunk[at].clone()).collect();
                let outcomes = producer.send_batch(&events).await.into_outcomes();
                let mut left = Vec::new();
                for (at, outcome) in open.drain(..).zip(outcomes) {
                    match outcome {
                        Ok(receipt) => receipts[at] = Some(receipt),
                        Err(error) if error.effect() == Effect::Unknown => return Err(error),
                        Err(error) if error.is_retryable() || error.is(ErrorKind::Blocked) => {
                            left.push(at);
                        }
                        Err(error) => return Err(error),
                    }
                }
                open = left;
                if !open.is_empty() {
                    self.runtime()
                        .sleep(std::time::Duration::from_millis(20))
                        .await;
                }
            }
            Ok(())
        };
        let sent = self.context.within("events to be stored", sending).await?;
        sent.during("sending")?;
        Ok(receipts.into_iter().flatten().collect())
    }
}

/// The capabilities that the consumer decides, not the stream below it.
const FLOW: [Capability; 4] = [
    Capability::KeyOrder,
    Capability::Replay,
    Capability::DelayedNack,
    Capability::HandlerAttempts,
];

/// The properties of a backend and its environment that decide which cases run.
pub(crate) struct Abilities {
    limits: Option<Limits>,
    producer: bool,
    log: bool,
    queue: bool,
    leases: bool,
    claims: Claims,
    faults: Option<Arc<dyn Faults>>,
    peer: bool,
    missing: bool,
    denied: bool,
}

impl Abilities {
    /// Returns why `need` is not met; `None` if it is.
    pub(crate) fn missing(&self, need: Need) -> Option<String> {
        let unless = |met: bool, why: &str| (!met).then(|| why.to_owned());
        match need {
            Need::Producer => unless(self.producer, "the backend has no producer"),
            Need::Log => unless(self.log, "the stream is not a log"),
            Need::Group => unless(
                self.log && self.leases,
                "a group needs a log and a lease store",
            ),
            Need::Consumer => unless(
                self.queue || (self.log && self.leases),
                "a consumer needs a queue, or a log and a lease store",
            ),
            Need::Can(capability) => match self.claims.get(capability) {
                Claim::Yes => None,
                Claim::No(why) => Some(format!("{capability}: {why}")),
                Claim::WhenOpened => Some(format!("{capability}: still unknown when opened")),
            },
            Need::EventLimit => unless(
                self.limits
                    .is_some_and(|limits| limits.event_bytes.is_some()),
                "it has no limit on the size of an event",
            ),
            Need::Fault(fault) => {
                let offers = |faults: &Arc<dyn Faults>| faults.offers(fault);
                let met = self.faults.as_ref().is_some_and(offers);
                (!met).then(|| cannot(fault))
            }
            Need::Missing => unless(self.missing, "the fixture names no missing stream"),
            Need::Denied => unless(self.denied, "the fixture has no insufficient credentials"),
            Need::Peer => unless(
                self.peer,
                "the fixture cannot open a stream as another process",
            ),
        }
    }
}

fn cannot(fault: Fault) -> String {
    format!("the fixture cannot {}", fault.as_str())
}

fn chunk_len(events: &[Event], limits: Limits) -> usize {
    let most = limits.batch_events.unwrap_or(500).clamp(1, 500);
    let room = limits.batch_bytes.unwrap_or(1 << 20) / 2;
    let mut bytes = 0;
    let fitting = events.iter().take(most).take_while(|event| {
        bytes += event.approximate_size() + 256;
        bytes <= room
    });
    fitting.count().max(1)
}
