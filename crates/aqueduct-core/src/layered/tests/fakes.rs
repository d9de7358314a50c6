//! A consumer, a settler and a layer that record their calls in order.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Abandoned, Admission, Assignment, BatchConsumer, Capabilities, Capability, Claims,
    ConsumerStatus, Delivery, Error, ErrorKind, Event, Interceptor, Layer, LayeredConsumer, Limits,
    Next, Parts, Result, Revocation, Revocations, Settlement, Settler, Settling, Stage,
};

#[derive(Clone, Default)]
pub(super) struct Record(Arc<Mutex<Vec<String>>>);

impl Record {
    pub(super) fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub(super) fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

/// Yields `times` times, so that a caller can be cancelled at each.
pub(super) async fn give_way(mut times: usize) {
    poll_fn(|context| {
        if times == 0 {
            return Poll::Ready(());
        }
        times -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

pub(super) struct FakeSettler {
    assignment: Assignment,
    revocations: Revocations,
    record: Record,
    pub(super) revoked: Mutex<BTreeMap<u64, Revocation>>,
    /// Returned, one for each settlement, before settlements succeed.
    pub(super) errors: Mutex<VecDeque<Error>>,
    pub(super) gives_way: usize,
    /// The only ticket whose settlement yields; `None` if all do.
    pub(super) slow: Option<u64>,
    /// The tickets of the settlements that were asked for.
    pub(super) asked: Mutex<Vec<u64>>,
}

impl FakeSettler {
    pub(super) fn new(record: &Record) -> Self {
        Self {
            assignment: Assignment {
                stream: "orders".into(),
                group: "billing".into(),
                partition: Some("0".into()),
                generation: 1,
                replay: 0,
            },
            revocations: Revocations::new(),
            record: record.clone(),
            revoked: Mutex::default(),
            errors: Mutex::default(),
            gives_way: 0,
            slow: None,
            asked: Mutex::default(),
        }
    }

    fn answer(&self, parts: &Parts, settlement: &Settlement) -> Result<()> {
        if let Some(reason) = self.revocation(parts) {
            return Err(reason.to_error());
        }
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        let how = match settlement {
            Settlement::Ack => "ack",
            Settlement::Nack { .. } => "nack",
            Settlement::Reject { .. } => "reject",
            Settlement::Defer { .. } => "defer",
        };
        self.record.note(format!("{how} {}", parts.event.id()));
        self.revoked
            .lock()
            .unwrap()
            .insert(parts.ticket, Revocation::Expired);
        if let Settlement::Nack { .. } | Settlement::Defer { .. } = settlement {
            // Later deliveries of the key are redelivered after it.
            for later in parts.ticket + 1..parts.ticket + 100 {
                if parts.event.key().is_some() && later % 10 == parts.ticket % 10 {
                    let mut revoked = self.revoked.lock().unwrap();
                    revoked.entry(later).or_insert(Revocation::Superseded);
                }
            }
        }
        Ok(())
    }
}

impl Settler for FakeSettler {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn settle<'a>(&'a self, parts: &'a Parts, settlement: Settlement) -> Settling<'a> {
        self.asked.lock().unwrap().push(parts.ticket);
        let is_slow = self.slow.is_none_or(|slow| slow == parts.ticket);
        if self.gives_way == 0 || !is_slow {
            return Settling::Ready(self.answer(parts, &settlement));
        }
        Settling::pending(async move {
            give_way(self.gives_way).await;
            let answer = self.answer(parts, &settlement);
            give_way(self.gives_way).await;
            answer
        })
    }

    fn extend<'a>(&'a self, _: &'a Parts, _: Duration) -> Settling<'a> {
        Settling::Ready(Ok(()))
    }

    fn revocation(&self, parts: &Parts) -> Option<Revocation> {
        self.revoked.lock().unwrap().get(&parts.ticket).copied()
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn abandon(&self, parts: &Parts, _: Abandoned) {
        if self.revocation(parts).is_none() {
            self.record.note(format!("abandoned {}", parts.event.id()));
        }
    }
}

/// Returns deliveries whose id is their ticket; those with the same last digit share a key.
pub(super) fn delivery(settler: &Arc<FakeSettler>, ticket: u64) -> Delivery {
    let event = Event::new("order.placed")
        .with_id(ticket.to_string())
        .with_key((ticket % 10).to_string());
    Delivery::new(Parts::new(event, ticket), settler.clone())
}

pub(super) struct FakeConsumer {
    pub(super) record: Record,
    pub(super) batches: Mutex<VecDeque<Vec<Delivery>>>,
    pub(super) gives_way: usize,
}

impl FakeConsumer {
    pub(super) fn of(record: &Record, batches: Vec<Vec<Delivery>>) -> Self {
        Self {
            record: record.clone(),
            batches: Mutex::new(batches.into()),
            gives_way: 0,
        }
    }
}

#[async_trait]
impl BatchConsumer for FakeConsumer {
    async fn receive_batch(&self, _max: usize) -> Result<Vec<Delivery>> {
        give_way(self.gives_way).await;
        Ok(self.batches.lock().unwrap().pop_front().unwrap_or_default())
    }

    async fn drain(&self) -> Result<()> {
        self.record.note("drain");
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        self.record.note("flush");
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.record.note("close");
        Ok(())
    }

    fn pause(&self, paused: bool) {
        self.record.note(format!("pause {paused}"));
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::of(&[Capability::KeyOrder]),
            limits: Limits::default(),
        }
    }

    fn status(&self) -> ConsumerStatus {
        ConsumerStatus::default()
    }
}

type Decide = dyn Fn(&Delivery) -> Admission + Send + Sync;

/// A layer that records its calls, and decides as configured.
#[derive(Clone)]
pub(super) struct FakeLayer {
    pub(super) name: &'static str,
    pub(super) stage: Stage,
    pub(super) record: Record,
    pub(super) decide: Arc<Decide>,
    pub(super) errors: Arc<Mutex<VecDeque<Error>>>,
    pub(super) gives_way: usize,
    pub(super) capability: Option<Capability>,
}

impl FakeLayer {
    pub(super) fn new(name: &'static str, stage: Stage, record: &Record) -> Self {
        Self {
            name,
            stage,
            record: record.clone(),
            decide: Arc::new(|_| Admission::Pass),
            errors: Arc::default(),
            gives_way: 0,
            capability: None,
        }
    }

    pub(super) fn deciding(
        mut self,
        decide: impl Fn(&Delivery) -> Admission + Send + Sync + 'static,
    ) -> Self {
        self.decide = Arc::new(decide);
        self
    }
}

impl Layer for FakeLayer {
    fn name(&self) -> &'static str {
        self.name
    }

    fn stage(&self) -> Stage {
        self.stage
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        Some(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Interceptor for FakeLayer {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        give_way(self.gives_way).await;
        if let Some(error) = self.errors.lock().unwrap().pop_front() {
            return Err(error);
        }
        let ids: Vec<_> = deliveries
            .iter()
            .map(|d| d.event().id().to_string())
            .collect();
        self.record
            .note(format!("{} admits {}", self.name, ids.join(" ")));
        Ok(deliveries.iter().map(|d| (self.decide)(d)).collect())
    }

    fn settle<'a>(&'a self, parts: &'a Parts, how: Settlement, next: Next<'a>) -> Settling<'a> {
        self.record
            .note(format!("{} settles {}", self.name, parts.event.id()));
        next.settle(parts, how)
    }

    fn abandoned(&self, parts: &Parts, _: &dyn Settler, _: Abandoned) {
        self.record
            .note(format!("{} abandons {}", self.name, parts.event.id()));
    }

    fn capabilities(&self, mut inner: Capabilities) -> Capabilities {
        self.record.note(format!("{} folds", self.name));
        if let Some(capability) = self.capability {
            inner.claims = inner.claims.with(capability, crate::Claim::Yes);
        }
        inner
    }

    async fn flush(&self) -> Result<()> {
        self.record.note(format!("{} flushes", self.name));
        Ok(())
    }
}

pub(super) fn wrap(consumer: FakeConsumer, layers: &[FakeLayer]) -> Arc<dyn BatchConsumer> {
    let layers: Vec<Arc<dyn Layer>> = layers
        .iter()
        .map(|layer| Arc::new(layer.clone()) as Arc<dyn Layer>)
        .collect();
    LayeredConsumer::wrap(Arc::new(consumer), &layers).unwrap()
}

pub(super) fn ids(batch: &[Delivery]) -> Vec<String> {
    batch.iter().map(|d| d.event().id().to_string()).collect()
}

pub(super) fn unavailable() -> Error {
    Error::new(ErrorKind::Unavailable, "no response from the store")
}
