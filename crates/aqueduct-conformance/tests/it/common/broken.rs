//! Backends that break one promise each.

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Admin, BatchProducer, Capabilities, Claimed, Claims, DeadLetterStore, Error, ErrorKind, Event,
    EventClaim, GroupKey, GroupRecord, IdempotencyScope, IdempotencyStore, Identity, Lane, Lease,
    LeaseStore, OpenPartition, OwnerId, Partition, PartitionId, PartitionReader, PartitionedLog,
    ReadFrom, Receipt, ResolvedStart, Resource, Result, Runtime, SendReport, SharedSettings,
    Source, Start, StreamId, StreamName, Swap, Tail, Timestamp,
};
use async_trait::async_trait;

/// Sends the events of a call with the inner producer, breaking a promise.
type Send =
    for<'a> fn(&'a dyn BatchProducer, &'a [Event]) -> futures::future::BoxFuture<'a, SendReport>;

/// A resource that breaks one promise.
pub(crate) struct Broken {
    inner: Arc<dyn Resource>,
    send: Option<Send>,
    leases: Option<LeaseFault>,
    log: Option<LogFault>,
    records: Option<RecordFault>,
    mute: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum LeaseFault {
    SwapsAlways,
    CreatesAlways,
    RequestCounts,
    ForgetsCommits,
    ForgetsAttempts,
}

#[derive(Clone, Copy)]
pub(crate) enum LogFault {
    SkipsAfter,
    HidesGaps,
    Hangs,
}

#[derive(Clone, Copy)]
pub(crate) enum RecordFault {
    Forgets,
    IgnoresReplay,
}

impl Broken {
    fn new(inner: Arc<dyn Resource>) -> Self {
        Self {
            inner,
            send: None,
            leases: None,
            log: None,
            records: None,
            mute: false,
        }
    }

    pub(crate) fn producer(inner: Arc<dyn Resource>, send: Send) -> Arc<dyn Resource> {
        Arc::new(Self {
            send: Some(send),
            ..Self::new(inner)
        })
    }

    pub(crate) fn leases(inner: Arc<dyn Resource>, fault: LeaseFault) -> Arc<dyn Resource> {
        Arc::new(Self {
            leases: Some(fault),
            ..Self::new(inner)
        })
    }

    pub(crate) fn log(inner: Arc<dyn Resource>, fault: LogFault) -> Arc<dyn Resource> {
        Arc::new(Self {
            log: Some(fault),
            ..Self::new(inner)
        })
    }

    pub(crate) fn records(inner: Arc<dyn Resource>, fault: RecordFault) -> Arc<dyn Resource> {
        Arc::new(Self {
            records: Some(fault),
            ..Self::new(inner)
        })
    }

    /// Claims nothing and offers only a producer.
    pub(crate) fn mute(inner: Arc<dyn Resource>) -> Arc<dyn Resource> {
        Arc::new(Self {
            mute: true,
            ..Self::new(inner)
        })
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Resource for Broken {
    fn describe(&self) -> String {
        self.inner.describe()
    }

    fn stream(&self) -> &StreamName {
        self.inner.stream()
    }

    fn claims(&self) -> Claims {
        match self.mute {
            true => Claims::none(),
            false => self.inner.claims(),
        }
    }

    fn identity(&self) -> Identity {
        self.inner.identity()
    }

    fn dead_letters_are_events(&self) -> bool {
        self.inner.dead_letters_are_events()
    }

    fn leases_are_exclusive(&self) -> bool {
        self.inner.leases_are_exclusive()
    }

    fn shared_settings(&self) -> Option<SharedSettings> {
        self.inner.shared_settings()
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let inner = self.inner.producer(runtime).await?;
        Ok(match self.send {
            Some(send) => Arc::new(BrokenProducer { inner, send }),
            None => inner,
        })
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        match (self.inner.source(runtime).await?, self.log) {
            _ if self.mute => Err(self.does_not_offer("source")),
            (Source::Log(inner), Some(fault)) => {
                Ok(Source::Log(Arc::new(BrokenLog { inner, fault })))
            }
            (source, _) => Ok(source),
        }
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        let inner = self.inner.leases(runtime).await?;
        match self.leases {
            _ if self.mute => Err(self.does_not_offer("lease store")),
            Some(fault) => Ok(Arc::new(BrokenLeases { inner, fault })),
            None => Ok(inner),
        }
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        let inner = self.inner.idempotency(runtime).await?;
        Ok(match self.records {
            Some(fault) => Arc::new(BrokenRecords { inner, fault }),
            None => inner,
        })
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        self.inner.dead_letters(runtime).await
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        self.inner.admin(runtime).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }

    fn does_not_offer(&self, what: &str) -> Error {
        self.inner.does_not_offer(what)
    }
}

struct BrokenProducer {
    inner: Arc<dyn BatchProducer>,
    send: Send,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for BrokenProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        (self.send)(&*self.inner, events).await
    }

    fn lane(&self, event: &Event) -> Lane {
        self.inner.lane(event)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn deduplicates(&self) -> Option<Duration> {
        self.inner.deduplicates()
    }

    fn consecutive_requests(&self, events: &[Event]) -> u32 {
        self.inner.consecutive_requests(events)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// Stores the events of a call from the last to the first.
pub(crate) fn swaps_neighbours<'a>(
    inner: &'a dyn BatchProducer,
    events: &'a [Event],
) -> futures::future::BoxFuture<'a, SendReport> {
    Box::pin(async move {
        let turned: Vec<Event> = events.iter().rev().cloned().collect();
        let mut outcomes = inner.send_batch(&turned).await.into_outcomes();
        outcomes.reverse();
        SendReport::new(outcomes)
    })
}

/// Acknowledges the last event of a call without storing it.
pub(crate) fn loses_one<'a>(
    inner: &'a dyn BatchProducer,
    events: &'a [Event],
) -> futures::future::BoxFuture<'a, SendReport> {
    Box::pin(async move {
        let kept = events.len().saturating_sub(1);
        let mut outcomes = inner.send_batch(&events[..kept]).await.into_outcomes();
        outcomes.resize_with(events.len(), || Ok(Receipt::default()));
        SendReport::new(outcomes)
    })
}

/// Sends each event by itself, so that an earlier failure does not stop later ones.
pub(crate) fn goes_on_behind_a_failure<'a>(
    inner: &'a dyn BatchProducer,
    events: &'a [Event],
) -> futures::future::BoxFuture<'a, SendReport> {
    Box::pin(async move {
        let mut outcomes = Vec::new();
        for event in events.chunks(1) {
            outcomes.extend(inner.send_batch(event).await.into_outcomes());
        }
        SendReport::new(outcomes)
    })
}

/// Leaves the subject out.
pub(crate) fn forgets_the_subject<'a>(
    inner: &'a dyn BatchProducer,
    events: &'a [Event],
) -> futures::future::BoxFuture<'a, SendReport> {
    Box::pin(async move {
        let forget = |event: &Event| match event.subject() {
            Some(_) => event.clone().with_subject("?"),
            None => event.clone(),
        };
        let changed: Vec<Event> = events.iter().map(forget).collect();
        inner.send_batch(&changed).await
    })
}

/// Sends every call twice, like a client with hidden retries.
pub(crate) fn stores_twice<'a>(
    inner: &'a dyn BatchProducer,
    events: &'a [Event],
) -> futures::future::BoxFuture<'a, SendReport> {
    Box::pin(async move {
        let _ = inner.send_batch(events).await;
        inner.send_batch(events).await
    })
}

/// Returns the outcomes in reverse order.
pub(crate) fn turns_outcomes_round<'a>(
    inner: &'a dyn BatchProducer,
    events: &'a [Event],
) -> futures::future::BoxFuture<'a, SendReport> {
    Box::pin(async move {
        let mut outcomes = inner.send_batch(events).await.into_outcomes();
        outcomes.reverse();
        SendReport::new(outcomes)
    })
}

struct BrokenLog {
    inner: Arc<dyn PartitionedLog>,
    fault: LogFault,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl PartitionedLog for BrokenLog {
    fn stream(&self) -> &StreamName {
        self.inner.stream()
    }

    async fn created(&self) -> Result<Option<Timestamp>> {
        self.inner.created().await
    }

    async fn stream_id(&self) -> Result<Option<StreamId>> {
        self.inner.stream_id().await
    }

    async fn partitions(&self) -> Result<Vec<Partition>> {
        self.inner.partitions().await
    }

    async fn resolve(&self, start: &Start) -> Result<ResolvedStart> {
        self.inner.resolve(start).await
    }

    async fn tail(&self, partition: &PartitionId) -> Result<Tail> {
        self.inner.tail(partition).await
    }

    async fn open(&self, request: &OpenPartition) -> Result<Box<dyn PartitionReader>> {
        match (self.fault, request.from) {
            (LogFault::SkipsAfter, ReadFrom::After(_)) => {
                let mut reader = self.inner.open(request).await?;
                reader.read(1).await?;
                Ok(reader)
            }
            (LogFault::HidesGaps, _) => match self.inner.open(request).await {
                Err(error) if error.is(ErrorKind::PositionExpired) => {
                    let mut request = request.clone();
                    request.from = ReadFrom::Earliest;
                    self.inner.open(&request).await
                }
                opened => opened,
            },
            (LogFault::SkipsAfter, _) => self.inner.open(request).await,
            (LogFault::Hangs, _) => Ok(Box::new(Hanging)),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

struct Hanging;

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl PartitionReader for Hanging {
    async fn read(&mut self, _: usize) -> Result<aqueduct_core::ReadBatch> {
        futures::future::pending().await
    }
}

struct BrokenLeases {
    inner: Arc<dyn LeaseStore>,
    fault: LeaseFault,
}

impl BrokenLeases {
    /// Writes `next` without comparing the stored row.
    async fn force(&self, key: &GroupKey, next: Lease) -> Result<Swap> {
        loop {
            let Some(current) = self.inner.read(key, &next.partition).await? else {
                return Ok(Swap::Lost(None));
            };
            if let Swap::Swapped(row) = self.inner.swap(key, &current, next.clone()).await? {
                return Ok(Swap::Swapped(row));
            }
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LeaseStore for BrokenLeases {
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>> {
        self.inner.list(key, known).await
    }

    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        self.inner.read(key, partition).await
    }

    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease> {
        let stored = self.inner.create(key, lease.clone()).await?;
        match self.fault {
            LeaseFault::CreatesAlways => match self.force(key, lease).await? {
                Swap::Swapped(row) => Ok(row),
                Swap::Lost(_) => Err(Error::new(ErrorKind::Internal, "the row is gone")),
            },
            _ => Ok(stored),
        }
    }

    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        match self.fault {
            LeaseFault::SwapsAlways => self.force(key, next).await,
            LeaseFault::ForgetsAttempts => self.inner.swap(key, current, forgetful(next)).await,
            _ => self.inner.swap(key, current, next).await,
        }
    }

    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        match self.fault {
            LeaseFault::SwapsAlways => self.force(key, next).await,
            LeaseFault::ForgetsAttempts => self.inner.commit(key, current, forgetful(next)).await,
            LeaseFault::ForgetsCommits => {
                let mut kept = next.clone();
                kept.checkpoint = current.checkpoint;
                let swap = self.inner.commit(key, current, kept).await?;
                Ok(match swap {
                    Swap::Swapped(mut row) => {
                        row.checkpoint = next.checkpoint;
                        Swap::Swapped(row)
                    }
                    lost => lost,
                })
            }
            _ => self.inner.commit(key, current, next).await,
        }
    }

    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        let asked = self.inner.request(key, lease, by).await?;
        match (self.fault, asked) {
            (LeaseFault::RequestCounts, Some(row)) => {
                let mut next = row.clone();
                next.counter += 1;
                self.force(key, next).await?;
                self.inner.read(key, &lease.partition).await
            }
            (_, asked) => Ok(asked),
        }
    }

    async fn withdraw(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        self.inner.withdraw(key, lease, by).await
    }

    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap> {
        self.inner.delete(key, lease).await
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        self.inner.group(key).await
    }

    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord> {
        self.inner.create_group(key, record).await
    }

    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        self.inner.reset_group(key, expected_replay, record).await
    }

    async fn join(&self, owner: &OwnerId) -> Result<()> {
        self.inner.join(owner).await
    }

    async fn leave(&self, owner: &OwnerId) -> Result<()> {
        self.inner.leave(owner).await
    }

    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.inner.is_dead(owner)
    }
}

fn forgetful(mut lease: Lease) -> Lease {
    lease.attempts = None;
    lease
}

struct BrokenRecords {
    inner: Arc<dyn IdempotencyStore>,
    fault: RecordFault,
}

impl BrokenRecords {
    fn scope(&self, scope: &IdempotencyScope) -> IdempotencyScope {
        let mut scope = scope.clone();
        if let RecordFault::IgnoresReplay = self.fault {
            scope.replay = 0;
        }
        scope
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl IdempotencyStore for BrokenRecords {
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        self.inner.claim(&self.scope(scope), claims).await
    }

    async fn peek(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
    ) -> Result<Option<Vec<Claimed>>> {
        self.inner.peek(&self.scope(scope), claims).await
    }

    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        match self.fault {
            RecordFault::Forgets => self.inner.release(scope, claims).await,
            RecordFault::IgnoresReplay => self.inner.complete(&self.scope(scope), claims).await,
        }
    }

    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.inner.release(&self.scope(scope), claims).await
    }

    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.inner.heartbeat(&self.scope(scope), claims).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        self.inner.purge(before).await
    }

    fn retention(&self) -> Option<Duration> {
        self.inner.retention()
    }
}
