use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aqueduct_core::{
    Effect, Error, ErrorKind, GroupKey, GroupRecord, Lease, LeaseStore, OwnerId, PartitionId,
    Result, Swap,
};
use async_trait::async_trait;

/// The connection between one member and its lease store.
#[derive(Clone, Default)]
pub(crate) struct LeaseFaults(Arc<State>);

#[derive(Default)]
struct State {
    cut: AtomicBool,
    lose: AtomicUsize,
    writes: AtomicUsize,
}

impl LeaseFaults {
    /// Blocks every further call, so that the store sees the member as dead.
    pub(crate) fn cut(&self) {
        self.0.cut.store(true, Ordering::SeqCst);
    }

    /// Executes the next `count` writes and loses their responses.
    pub(crate) fn lose_responses(&self, count: usize) {
        self.0.lose.store(count, Ordering::SeqCst);
    }

    /// Returns how many responses are still to be lost.
    pub(crate) fn to_lose(&self) -> usize {
        self.0.lose.load(Ordering::SeqCst)
    }

    /// Returns how many renewals and commits went through.
    pub(crate) fn writes(&self) -> usize {
        self.0.writes.load(Ordering::SeqCst)
    }

    fn up(&self) -> Result<()> {
        match self.0.cut.load(Ordering::SeqCst) {
            false => Ok(()),
            true => Err(Error::new(
                ErrorKind::Unavailable,
                "the connection to the lease store is cut",
            )),
        }
    }

    fn respond<T>(&self, response: T) -> Result<T> {
        let less = |left: usize| left.checked_sub(1);
        match self
            .0
            .lose
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
        {
            Err(_) => Ok(response),
            Ok(_) => Err(Error::new(ErrorKind::TimedOut, "the response is lost")
                .with_effect(Effect::Unknown)),
        }
    }
}

/// A lease store behind a [`LeaseFaults`].
pub(crate) struct FaultyLeases {
    inner: Arc<dyn LeaseStore>,
    faults: LeaseFaults,
}

impl FaultyLeases {
    pub(crate) fn new(inner: Arc<dyn LeaseStore>, faults: LeaseFaults) -> Self {
        Self { inner, faults }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl LeaseStore for FaultyLeases {
    async fn list(&self, key: &GroupKey, known: &[Lease]) -> Result<Vec<Lease>> {
        self.faults.up()?;
        self.inner.list(key, known).await
    }

    async fn read(&self, key: &GroupKey, partition: &PartitionId) -> Result<Option<Lease>> {
        self.faults.up()?;
        self.inner.read(key, partition).await
    }

    async fn create(&self, key: &GroupKey, lease: Lease) -> Result<Lease> {
        self.faults.up()?;
        self.inner.create(key, lease).await
    }

    async fn swap(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        self.faults.up()?;
        let response = self.inner.swap(key, current, next).await?;
        self.faults.respond(response)
    }

    async fn commit(&self, key: &GroupKey, current: &Lease, next: Lease) -> Result<Swap> {
        self.faults.up()?;
        let response = self.inner.commit(key, current, next).await?;
        self.faults.0.writes.fetch_add(1, Ordering::SeqCst);
        self.faults.respond(response)
    }

    async fn request(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        self.faults.up()?;
        self.inner.request(key, lease, by).await
    }

    async fn withdraw(&self, key: &GroupKey, lease: &Lease, by: &OwnerId) -> Result<Option<Lease>> {
        self.faults.up()?;
        self.inner.withdraw(key, lease, by).await
    }

    async fn delete(&self, key: &GroupKey, lease: &Lease) -> Result<Swap> {
        self.faults.up()?;
        self.inner.delete(key, lease).await
    }

    async fn group(&self, key: &GroupKey) -> Result<Option<GroupRecord>> {
        self.faults.up()?;
        self.inner.group(key).await
    }

    async fn create_group(&self, key: &GroupKey, record: GroupRecord) -> Result<GroupRecord> {
        self.faults.up()?;
        self.inner.create_group(key, record).await
    }

    async fn reset_group(
        &self,
        key: &GroupKey,
        expected_replay: u64,
        record: GroupRecord,
    ) -> Result<GroupRecord> {
        self.faults.up()?;
        self.inner.reset_group(key, expected_replay, record).await
    }

    async fn join(&self, owner: &OwnerId) -> Result<()> {
        self.faults.up()?;
        self.inner.join(owner).await
    }

    async fn leave(&self, owner: &OwnerId) -> Result<()> {
        self.faults.up()?;
        self.inner.leave(owner).await
    }

    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.inner.is_dead(owner)
    }
}
