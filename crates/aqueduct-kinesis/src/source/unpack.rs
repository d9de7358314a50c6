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

/// The attribute that says why a record which begins like an aggregate was delivered as it is.
pub(crate) const BROKEN: &str = "aqueductbroken";

/// Makes events of records.
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

    /// Appends the events of `raw` that are wanted.
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
                // Moved: what the service's client brought becomes shared only when it is cloned.
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
        tracing::warn!(%stream, %shard, %position, %why, "a damaged record");
        let mut record = self.record(raw, raw.data.clone(), &raw.partition_key, position);
        if self.source.reading.broken == OnBroken::Reject {
            record.event = damaged(record.event);
        }
        record.event.attributes_mut().set(BROKEN, why.to_string())?;
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
