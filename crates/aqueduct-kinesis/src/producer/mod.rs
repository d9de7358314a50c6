mod answers;
mod draft;
mod entries;
mod fill;
mod kept_map;
mod ledger;
mod outcome;
mod pace;
mod put;
mod schedule;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use aqueduct_core::{
    Capabilities, Effect, Error, ErrorKind, Event, Lane, Producer, Result, Runtime, SendReport,
};
use async_trait::async_trait;

use self::draft::Drafter;
use self::kept_map::KeptMap;
use self::pace::Pacing;
use self::schedule::REQUEST_RECORDS;
use crate::config::{Aggregation, Encoding, Publishing};
use crate::metrics::Metrics;
use crate::stream::Kinesis;

/// Sends to one stream, one attempt a call.
pub(crate) struct KinesisProducer {
    kinesis: Kinesis,
    runtime: Runtime,
    capabilities: Capabilities,
    options: Publishing,
    drafter: Drafter,
    map: Arc<KeptMap>,
    pacing: Pacing,
    metrics: Metrics,
    /// Calls that hold records for long.
    holding: AtomicUsize,
    closed: AtomicBool,
}

/// Where events without a key are paced: they go to any shard, so no shard's lane is theirs.
const KEYLESS: Lane = Lane(u64::MAX);

impl KinesisProducer {
    /// `record_bytes`: the largest record that the stream takes.
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
            // A call with more is several requests, which are better made side by side.
            capabilities.limits.batch_events = Some(REQUEST_RECORDS);
        }
        let drafter = Drafter::new(
            encoding,
            aggregate.then_some(options.aggregation_bytes.min(record_bytes - 1)),
            record_bytes,
            capabilities.limits,
        );
        let metrics = Metrics::new(&kinesis);
        let map = KeptMap::open(kinesis.clone(), options.shards_refresh, runtime).await?;
        Ok(Self {
            pacing: Pacing::new(options.pace),
            map: Arc::new(map),
            kinesis,
            runtime: runtime.clone(),
            capabilities,
            options,
            drafter,
            metrics,
            holding: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl Producer for KinesisProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        if self.closed.load(Ordering::Relaxed) {
            let what = format!("stream {}: the producer was closed", self.kinesis.shown);
            return SendReport::failed(events.len(), &Error::new(ErrorKind::Closed, what));
        }
        if events.is_empty() {
            return SendReport::new(Vec::new());
        }
        self.put_all(events).await
    }

    fn lane(&self, event: &Event) -> Lane {
        match self.drafter.hash_of(event) {
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

/// The same error for what was not sent because of it.
fn not_sent(error: &Error) -> Error {
    match error.effect() {
        Effect::None => error.clone(),
        Effect::Unknown => error.clone().with_effect(Effect::None).context("not sent"),
    }
}

#[cfg(test)]
mod tests;
