use std::collections::VecDeque;
use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, Event, Position, Record, Result, Timestamp};
use aws_sdk_kinesis::types;
use bytes::Bytes;

use super::log::{Source, timestamp};
use super::metrics::Metrics;
use super::place::Wanted;
use crate::aggregation::{BrokenAggregate, is_aggregated, split_within};
use crate::config::OnBroken;
use crate::encoding::{self, decode};
use crate::shards::Shard;

/// The attribute that says why a record which begins like an aggregate was delivered as it is.
pub(crate) const BROKEN: &str = "aqueductbroken";

/// Makes events of records.
pub(super) struct Unpack {
    source: Arc<Source>,
    shard: Shard,
    metrics: Metrics,
}

/// One record as the service has it, with its sequence number read.
pub(super) struct Raw {
    pub(super) sequence: Position,
    stored_at: Option<Timestamp>,
    partition_key: String,
    data: Bytes,
}

impl Raw {
    pub(super) fn read(record: types::Record) -> Result<Self> {
        let sequence = sequence(&record.sequence_number)?;
        Ok(Self {
            sequence,
            stored_at: timestamp(record.approximate_arrival_timestamp.as_ref()),
            partition_key: record.partition_key,
            data: record.data.into_inner().into(),
        })
    }
}

impl Unpack {
    pub(super) fn new(source: Arc<Source>, shard: Shard, metrics: Metrics) -> Self {
        Self {
            source,
            shard,
            metrics,
        }
    }

    /// Appends the events of `raw` that are wanted.
    pub(super) fn unpack(
        &self,
        mut raw: Raw,
        wanted: &mut Wanted,
        out: &mut VecDeque<Record>,
    ) -> Result<()> {
        if wanted.skips(raw.stored_at) {
            return Ok(());
        }
        if !is_aggregated(&raw.data) {
            if wanted.takes(raw.sequence) {
                // Moved: what the service's client brought becomes shared only when it is cloned.
                let data = std::mem::take(&mut raw.data);
                out.push_back(self.record(&raw, data, &raw.partition_key, 0));
            }
            return Ok(());
        }
        let within = match split_within(&raw.data, self.shard.range) {
            Ok(within) => within,
            Err(broken) => return self.broken(raw, broken, wanted, out),
        };
        if within.dropped > 0 {
            self.metrics.out_of_range.increment(within.dropped as u64);
        }
        for inner in within.records {
            if wanted.takes(raw.sequence.with_sub(inner.index)) {
                out.push_back(self.record(&raw, inner.data, inner.partition_key, inner.index));
            }
        }
        Ok(())
    }

    fn broken(
        &self,
        raw: Raw,
        why: BrokenAggregate,
        wanted: &mut Wanted,
        out: &mut VecDeque<Record>,
    ) -> Result<()> {
        if !wanted.takes(raw.sequence) {
            return Ok(());
        }
        self.metrics.broken.increment(1);
        let (stream, shard) = (&self.source.kinesis.shown, &self.shard.id);
        tracing::warn!(%stream, %shard, position = %raw.sequence, %why, "a damaged record");
        let mut record = self.record(&raw, raw.data.clone(), &raw.partition_key, 0);
        if self.source.reading.broken == OnBroken::Reject {
            record.event = damaged(record.event);
        }
        record.event.attributes_mut().set(BROKEN, why.to_string())?;
        out.push_back(record);
        Ok(())
    }

    fn record(&self, raw: &Raw, data: Bytes, partition_key: &str, sub: u64) -> Record {
        let position = raw.sequence.with_sub(sub);
        let at = encoding::Place {
            stream: self.source.kinesis.name.text(),
            shard: &self.shard.id,
            position,
        };
        let event = decode(data, partition_key, self.source.encoding, at);
        Record::new(event, position, raw.stored_at)
    }
}

/// The same event, for the group's dead letters.
fn damaged(foreign: Event) -> Event {
    let mut damaged = Event::with_id_and_type(foreign.id().clone(), Event::DAMAGED)
        .with_source(foreign.source_text());
    if let Some(key) = foreign.key_text() {
        damaged = damaged.with_key(key);
    }
    match foreign.data() {
        Some(data) => damaged.with_data(data.clone()),
        None => damaged,
    }
}

/// The position of a sequence number as the service writes it.
pub(super) fn sequence(text: &str) -> Result<Position> {
    Position::from_sequence_text(text).map_err(|error| {
        Error::new(ErrorKind::Corrupt, "a sequence number of the service").with_source(error)
    })
}
