use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aqueduct_core::{Instant, Result, Runtime};

use crate::shards::{ShardMap, list_shards};
use crate::stream::Kinesis;

/// The map of the shards as it was read last.
pub(super) struct KeptMap {
    kinesis: Kinesis,
    runtime: Runtime,
    age: Duration,
    current: RwLock<Arc<ShardMap>>,
    /// When it was asked for, in milliseconds of the runtime's clock.
    read_at: AtomicU64,
    /// Held while it is read.
    reading: futures::lock::Mutex<()>,
    refreshing: AtomicBool,
}

impl KeptMap {
    pub(super) async fn open(kinesis: Kinesis, age: Duration, runtime: &Runtime) -> Result<Self> {
        let asked = runtime.now();
        let map = ShardMap::new(list_shards(&kinesis).await?)?;
        Ok(Self {
            kinesis,
            runtime: runtime.clone(),
            age,
            current: RwLock::new(Arc::new(map)),
            read_at: AtomicU64::new(millis(asked)),
            reading: futures::lock::Mutex::new(()),
            refreshing: AtomicBool::new(false),
        })
    }

    pub(super) fn current(&self) -> Arc<ShardMap> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// The map; one that has grown old is read again beside the caller, who does not wait.
    pub(super) fn fresh(self: &Arc<Self>, now: Instant) -> Arc<ShardMap> {
        let read_at = self.read_at.load(Ordering::Relaxed);
        let old = millis(now).saturating_sub(read_at) >= self.age.as_millis() as u64;
        if old && !self.refreshing.swap(true, Ordering::Relaxed) {
            let this = self.clone();
            let refresh = async move {
                if let Err(error) = this.refresh(now).await {
                    tracing::warn!(stream = %this.kinesis.shown, %error, "shards are not listed");
                }
                this.refreshing.store(false, Ordering::Relaxed);
            };
            self.runtime.spawn(refresh).detach();
        }
        self.current()
    }

    /// The map as it is at `since` or later.
    pub(super) async fn refresh(&self, since: Instant) -> Result<Arc<ShardMap>> {
        let _reading = self.reading.lock().await;
        if self.read_at.load(Ordering::Relaxed) > millis(since) {
            return Ok(self.current());
        }
        let asked = self.runtime.now();
        let listed = list_shards(&self.kinesis).await.and_then(ShardMap::new);
        // After a failure too: the service is not asked for every batch.
        let read = Arc::new(listed.inspect_err(|_| {
            self.read_at.fetch_max(
                millis(asked).saturating_sub(self.age.as_millis() as u64 / 2),
                Ordering::Relaxed,
            );
        })?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = read.clone();
        self.read_at.store(millis(asked), Ordering::Relaxed);
        Ok(read)
    }
}

fn millis(moment: Instant) -> u64 {
    moment.elapsed_since_origin().as_millis() as u64
}
