mod aggregator;
mod outcomes;
mod put_records;
mod rate_limiter;
mod records;
mod request;
mod response;
mod results;
mod schedule;
mod shard_map_cache;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aqueduct_core::{
    BatchProducer, Capabilities, Error, ErrorKind, Event, Lane, Result, Runtime, SendReport,
};
use async_trait::async_trait;

use self::rate_limiter::RateLimiter;
use self::records::RecordBuilder;
use self::schedule::REQUEST_RECORDS;
use self::shard_map_cache::ShardMapCache;
use crate::config::{Aggregation, Encoding, Publishing};
use crate::metrics::Metrics;
use crate::stream::Kinesis;

/// Sends to one stream, one attempt per call.
pub(crate) struct KinesisProducer {
    kinesis: Kinesis,
    runtime: Runtime,
    capabilities: Capabilities,
    options: Publishing,
    builder: RecordBuilder,
    map: Arc<ShardMapCache>,
    rate_limiter: RateLimiter,
    metrics: Metrics,
    /// The calls that hold records for long.
    holding: AtomicUsize,
    closed: AtomicBool,
}

/// The lane of events without a key: they go to any shard, so they share no shard's lane.
const KEYLESS: Lane = Lane(u64::MAX);

impl KinesisProducer {
    /// Lists the shards and creates the producer. `record_bytes` is the largest record of the stream.
    pub(crate) async fn open(
        kinesis: Kinesis,
        encoding: Encoding,
        options: Publishing,
        record_bytes: usize,
        mut capabilities: Capabilities,
        runtime: &Runtime,
    ) -> Result<Self> {
        let aggregate = match options.aggregation {
            Aggregation::On => true,
            Aggregation::Off => false,
            Aggregation::Auto => encoding != Encoding::Raw,
        };
        if !aggregate {
            // A larger call is several requests, which the engine better makes in parallel.
            capabilities.limits.batch_events = Some(REQUEST_RECORDS);
        }
        let builder = RecordBuilder::new(
            encoding,
            aggregate.then_some(options.aggregation_bytes.min(record_bytes - 1)),
            record_bytes,
            capabilities.limits,
        );
        let metrics = Metrics::new(&kinesis);
        let map = ShardMapCache::open(kinesis.clone(), options.shards_refresh, runtime).await?;
        Ok(Self {
            rate_limiter: RateLimiter::new(options.rate_limit),
            map: Arc::new(map),
            kinesis,
            runtime: runtime.clone(),
            capabilities,
            options,
            builder,
            metrics,
            holding: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl BatchProducer for KinesisProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        if self.closed.load(Ordering::Relaxed) {
            let message = format!("stream {}: the producer was closed", self.kinesis.shown);
            return SendReport::failed(events.len(), &Error::new(ErrorKind::Closed, message));
        }
        if events.is_empty() {
            return SendReport::new(Vec::new());
        }
        self.send_all(events).await
    }

    fn lane(&self, event: &Event) -> Lane {
        match self.builder.hash_of(event) {
            None => KEYLESS,
            Some(hash) => {
                let map = self.map.current();
                Lane(map.open()[map.at(hash)].lane)
            }
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
