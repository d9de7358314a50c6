use std::collections::VecDeque;
use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, Event, Position, Record, Result};
use bytes::Bytes;

use super::log::Source;
use super::metrics::Metrics;
use super::place::Wanted;
use super::records::Raw;
use crate::aggregation::{BrokenAggregate, is_aggregated, split_within};
use crate::config::OnBroken;
use crate::encoding::{self, decode};
use crate::shards::Shard;

/// Turns records into events.
pub(super) struct Unpack {
    source: Arc<Source>,
    shard: Shard,
    metrics: Metrics,
}

impl Unpack {
    pub(super) fn new(source: Arc<Source>, shard: Shard, metrics: Metrics) -> Self {
        Self {
            source,
            shard,
            metrics,
        }
    }

    /// Appends the events of `raw` that the cursor has not passed yet.
    pub(super) fn unpack(
        &self,
        mut raw: Raw<'_>,
        wanted: &mut Wanted,
        out: &mut VecDeque<Record>,
    ) -> Result<()> {
        let first = sequence(&raw.sequence)?;
        if wanted.skips(raw.stored_at) {
            return Ok(());
        }
        if !is_aggregated(&raw.data) {
            if wanted.takes(first) {
                // Moved: the client's buffer becomes reference-counted only when it is cloned.
                let data = std::mem::take(&mut raw.data);
                out.push_back(self.record(&raw, data, &raw.partition_key, first));
            }
            return Ok(());
        }
        let within = match split_within(&raw.data, self.shard.range) {
            Ok(within) => within,
            Err(broken) => return self.broken(&raw, first, broken, wanted, out),
        };
        if within.dropped > 0 {
            self.metrics.out_of_range.increment(within.dropped as u64);
        }
        for inner in within.records {
            let position = first.with_sub(inner.index);
            if wanted.takes(position) {
                out.push_back(self.record(&raw, inner.data, inner.partition_key, position));
            }
        }
        Ok(())
    }

    fn broken(
        &self,
        raw: &Raw<'_>,
        position: Position,
        why: BrokenAggregate,
        wanted: &mut Wanted,
        out: &mut VecDeque<Record>,
    ) -> Result<()> {
        if !wanted.takes(position) {
            return Ok(());
        }
        self.metrics.broken.increment(1);
        let (stream, shard) = (&self.source.kinesis.shown, &self.shard.id);
        tracing::warn!(%stream, %shard, %position, %why, "a record is damaged");
        let mut record = self.record(raw, raw.data.clone(), &raw.partition_key, position);
        match self.source.reading.broken {
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
            stream: self.source.kinesis.name.text(),
            shard: &self.shard.id,
            sequence: &raw.sequence,
            sub: position.sub(),
        };
        let event = decode(data, partition_key, self.source.encoding, at);
        Record::new(event, position, raw.stored_at)
    }
}

/// Parses a sequence number of the service as a position.
pub(super) fn sequence(text: &str) -> Result<Position> {
    Position::from_sequence_text(text).map_err(|error| {
        Error::new(
            ErrorKind::Corrupt,
            "the service returned an invalid sequence number",
        )
        .with_source(error)
    })
}
