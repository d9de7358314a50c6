use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::{Event, Position, Record, Result};
use bytes::Bytes;

use super::context::Context;
use super::convert::sequence;
use super::cursor::Cursor;
use super::metrics::Metrics;
use super::records::Raw;
use crate::aggregation::{BrokenAggregate, is_aggregated, split_within};
use crate::config::OnBroken;
use crate::encoding::{self, decode};
use crate::shards::Shard;

/// Turns records of a shard into events: an aggregated record holds several.
pub(super) struct Deaggregator {
    context: Arc<Context>,
    shard: Shard,
    metrics: Metrics,
    /// Whether inner records of another shard were warned of.
    warned: AtomicBool,
}

impl Deaggregator {
    pub(super) fn new(context: Arc<Context>, shard: Shard, metrics: Metrics) -> Self {
        Self {
            context,
            shard,
            metrics,
            warned: AtomicBool::new(false),
        }
    }

    /// Appends the events of `raw` that the cursor has not passed yet.
    pub(super) fn deaggregate(
        &self,
        mut raw: Raw<'_>,
        cursor: &mut Cursor,
        out: &mut VecDeque<Record>,
    ) -> Result<()> {
        let first = sequence(&raw.sequence)?;
        if cursor.skips(raw.stored_at) {
            return Ok(());
        }
        if !is_aggregated(&raw.data) {
            if cursor.takes(first) {
                // Moved: the client's buffer becomes reference-counted only when it is cloned.
                let data = std::mem::take(&mut raw.data);
                out.push_back(self.record(&raw, data, &raw.partition_key, first));
            }
            return Ok(());
        }
        let within = match split_within(&raw.data, self.shard.range) {
            Ok(within) => within,
            Err(broken) => return self.broken(&raw, first, broken, cursor, out),
        };
        if within.dropped > 0 {
            self.metrics.out_of_range.increment(within.dropped as u64);
            self.warn_of_dropped(first, within.dropped);
        }
        for inner in within.records {
            let position = first.with_sub(inner.index);
            if cursor.takes(position) {
                let mut record = self.record(&raw, inner.data, inner.partition_key, position);
                if let Some(hash) = inner.explicit_hash_key
                    && record.event.is_foreign()
                {
                    let attributes = record.event.attributes_mut();
                    attributes.set(encoding::HASH_KEY, hash.to_string())?;
                }
                out.push_back(record);
            }
        }
        Ok(())
    }

    /// Warns once per reader: a producer that mixes shards in an aggregate does so all the time.
    fn warn_of_dropped(&self, position: Position, dropped: usize) {
        if self.warned.swap(true, Ordering::Relaxed) {
            return;
        }
        let (stream, shard) = (&self.context.kinesis.shown, &self.shard.id);
        tracing::warn!(
            %stream, %shard, %position, dropped,
            "an aggregate holds events whose hash keys belong to another shard; they are dropped here, \
             counted by aqueduct_kinesis_read_out_of_range_total, and not warned of again by this reader"
        );
    }

    fn broken(
        &self,
        raw: &Raw<'_>,
        position: Position,
        why: BrokenAggregate,
        cursor: &mut Cursor,
        out: &mut VecDeque<Record>,
    ) -> Result<()> {
        if !cursor.takes(position) {
            return Ok(());
        }
        self.metrics.broken.increment(1);
        let (stream, shard) = (&self.context.kinesis.shown, &self.shard.id);
        tracing::warn!(%stream, %shard, %position, %why, "a record is damaged");
        let mut record = self.record(raw, raw.data.clone(), &raw.partition_key, position);
        match self.context.reading.broken {
            OnBroken::Reject => record.event = record.event.damaged_by(why.to_string()),
            OnBroken::Raw => {
                let attributes = record.event.attributes_mut();
                attributes.set(Event::DAMAGE, why.to_string())?;
            }
        }
        out.push_back(record);
        Ok(())
    }

    fn record(
        &self,
        raw: &Raw<'_>,
        data: Bytes,
        partition_key: &str,
        position: Position,
    ) -> Record {
        let at = encoding::Place {
            stream: self.context.kinesis.name.text(),
            shard: &self.shard.id,
            sequence: &raw.sequence,
            sub: position.sub(),
        };
        let event = decode(data, partition_key, self.context.encoding, at);
        Record::new(event, position, raw.stored_at)
    }
}
