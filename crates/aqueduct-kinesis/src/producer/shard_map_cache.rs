use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aqueduct_core::{Instant, Result, Runtime};

use crate::shards::{ShardMap, list_shards};
use crate::stream::Kinesis;

/// Caches the map of the shards.
pub(super) struct ShardMapCache {
    kinesis: Kinesis,
    runtime: Runtime,
    age: Duration,
    current: RwLock<Arc<ShardMap>>,
    /// When the current map was requested, in milliseconds of the runtime's clock.
    read_at: AtomicU64,
    /// Held while the shards are listed.
    reading: futures::lock::Mutex<()>,
    refreshing: AtomicBool,
}

impl ShardMapCache {
    pub(super) async fn open(kinesis: Kinesis, age: Duration, runtime: &Runtime) -> Result<Self> {
        let requested = runtime.now();
        let map = ShardMap::new(list_shards(&kinesis).await?)?;
        Ok(Self {
            kinesis,
            runtime: runtime.clone(),
            age,
            current: RwLock::new(Arc::new(map)),
            read_at: AtomicU64::new(millis(requested)),
            reading: futures::lock::Mutex::new(()),
            refreshing: AtomicBool::new(false),
        })
    }

    pub(super) fn current(&self) -> Arc<ShardMap> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current.clone()
    }

    /// Returns the map. A map older than `age` is refreshed in the background; the caller does not
    /// wait for it.
    pub(super) fn fresh(self: &Arc<Self>, now: Instant) -> Arc<ShardMap> {
        let read_at = self.read_at.load(Ordering::Relaxed);
        let old = millis(now).saturating_sub(read_at) >= self.age.as_millis() as u64;
        if old && !self.refreshing.swap(true, Ordering::Relaxed) {
            let this = self.clone();
            let refresh = async move {
                if let Err(error) = this.refresh(now).await {
                    tracing::warn!(stream = %this.kinesis.shown, %error, "listing the shards failed; the map of before is used");
                }
                this.refreshing.store(false, Ordering::Relaxed);
            };
            self.runtime.spawn(refresh).detach();
        }
        self.current()
    }

    /// Returns the map as it is at `since` or later.
    pub(super) async fn refresh(&self, since: Instant) -> Result<Arc<ShardMap>> {
        let _reading = self.reading.lock().await;
        if self.read_at.load(Ordering::Relaxed) > millis(since) {
            return Ok(self.current());
        }
        let requested = self.runtime.now();
        let listed = list_shards(&self.kinesis).await.and_then(ShardMap::new);
        // A failure counts as half an age, so that an outage does not cost a listing per batch.
        let read = Arc::new(listed.inspect_err(|_| {
            self.read_at.fetch_max(
                millis(requested).saturating_sub(self.age.as_millis() as u64 / 2),
                Ordering::Relaxed,
            );
        })?);
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        *current = read.clone();
        self.read_at.store(millis(requested), Ordering::Relaxed);
        Ok(read)
    }
}

fn millis(instant: Instant) -> u64 {
    instant.elapsed_since_origin().as_millis() as u64
}
