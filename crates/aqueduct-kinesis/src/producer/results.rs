use aqueduct_core::{Effect, Error, ErrorKind, Instant, PartitionId, Position, Receipt, Retry};

use super::put_records::Call;
use super::rate_limiter::Share;
use super::response::{RecordResult, Refusal};
use crate::error;
use crate::metrics::{Metrics, PAYLOAD_UNIT};

impl Call<'_> {
    /// Applies the results of one request, record by record.
    pub(super) async fn apply(&mut self, request: &[u32], mut results: Vec<RecordResult>) {
        let now = self.producer.runtime.now();
        let mut counts = ResponseMetrics::default();
        let mut misplaced = Vec::new();
        let shares = self.shares(request, &results);
        for (&record, result) in request.iter().zip(&mut results) {
            if let Some(refusal) = &result.refusal {
                self.refused(record, refusal, &shares, now, &mut counts);
                continue;
            }
            let Some((id, position)) = result.stored.take() else {
                self.unreadable(record);
                continue;
            };
            let scheduled = self.records.scheduled[record as usize];
            counts.stored(scheduled.bytes as usize);
            let aggregated = self.records.outgoing[record as usize].aggregated;
            if aggregated && self.map.open()[scheduled.queue as usize].id != id {
                misplaced.push((record, id, position));
                continue;
            }
            let members = self.records.members(record);
            if let [at] = members {
                self.outcomes
                    .stored(*at as usize, Receipt::at(id, position));
                counts.events += 1;
                continue;
            }
            for (sub, &at) in members.iter().enumerate() {
                let receipt = Receipt::at(id.clone(), position.with_sub(sub as u64));
                self.outcomes.stored(at as usize, receipt);
            }
            counts.events += members.len() as u64;
        }
        self.report_stored(request, &results, now);
        if !misplaced.is_empty() {
            self.settle_misplaced(misplaced, now, &mut counts).await;
        }
        counts.add_to(&self.producer.metrics);
    }

    /// Tells the rate limiter what was stored.
    fn report_stored(&self, request: &[u32], results: &[RecordResult], now: Instant) {
        let rate_limiter = &self.producer.rate_limiter;
        if !self.by_shard || rate_limiter.is_unlimited() {
            return;
        }
        let mut shards = vec![(0, 0); self.map.open().len()];
        for (&record, result) in request.iter().zip(results) {
            if result.refusal.is_none() {
                let scheduled = self.records.scheduled[record as usize];
                let (bytes, count) = &mut shards[scheduled.queue as usize];
                *bytes += scheduled.bytes as usize;
                *count += 1;
            }
        }
        for (shard, (bytes, count)) in self.map.open().iter().zip(shards) {
            if count > 0 {
                rate_limiter.stored(shard.lane, now, bytes, count);
            }
        }
    }

    /// Returns, by shard, how many records of the request it stored and how many it refused as over its
    /// limit; nothing if no record was refused so.
    fn shares(&self, request: &[u32], results: &[RecordResult]) -> Vec<Share> {
        let over = |result: &RecordResult| {
            let refusal = result.refusal.as_ref();
            refusal.is_some_and(|refusal| refusal.code == error::OVER_LIMIT)
        };
        if !results.iter().any(over) {
            return Vec::new();
        }
        let mut shares = vec![Share::default(); self.map.open().len()];
        for (&record, result) in request.iter().zip(results) {
            if let Some(shard) = self.shard_of(record) {
                shares[shard].refused += usize::from(over(result));
                shares[shard].stored += usize::from(result.stored.is_some());
            }
        }
        shares
    }

    /// Returns the index of a record's shard in the map.
    fn shard_of(&self, record: u32) -> Option<usize> {
        if self.by_shard {
            return Some(self.records.scheduled[record as usize].queue as usize);
        }
        let &at = self.records.members(record).first()?;
        let hash = self.producer.builder.hash_of(&self.events[at as usize])?;
        Some(self.map.at(hash))
    }

    /// Applies a refusal of the service: the record is not stored.
    fn refused(
        &mut self,
        record: u32,
        refusal: &Refusal,
        shares: &[Share],
        now: Instant,
        counts: &mut ResponseMetrics,
    ) {
        counts.failed += 1;
        let Refusal { code, message } = refusal;
        let what = self.producer.kinesis.what("PutRecords");
        let mut error = error::record(what, code, message.as_deref());
        if code == error::OVER_LIMIT {
            counts.throttled += 1;
            if let Some(shard) = self.shard_of(record) {
                let lane = self.map.open()[shard].lane;
                let share = shares.get(shard).copied().unwrap_or_default();
                let until = self.producer.rate_limiter.refused(lane, now, share);
                let wait = until.since(now);
                if !wait.is_zero() {
                    error = error.with_retry(Retry::After(wait));
                }
            }
        }
        for &at in self.records.members(record) {
            let at = at as usize;
            let key = self.records.keys[at];
            self.outcomes.refuse(at, key, error.clone());
        }
        self.last_failure = Some(error);
    }

    /// Applies a result that says neither that the record is stored nor that it is not.
    fn unreadable(&mut self, record: u32) {
        let what = self.producer.kinesis.what("PutRecords");
        let message = format!("{what}: the response has a record without a sequence number");
        let error = Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown);
        for &at in self.records.members(record) {
            let at = at as usize;
            self.outcomes
                .failed(at, self.records.keys[at], error.clone());
        }
        self.last_failure = Some(error);
    }

    /// Applies aggregated records that were stored at another shard than the map says. Events whose
    /// hash key belongs to that shard are stored; readers drop the others, so those are not.
    async fn settle_misplaced(
        &mut self,
        misplaced: Vec<(u32, PartitionId, Position)>,
        now: Instant,
        counts: &mut ResponseMetrics,
    ) {
        let refreshed = self.producer.map.refresh(now).await;
        for (record, id, position) in misplaced {
            let range = match &refreshed {
                Ok(map) => map.range_of(id.as_str()),
                Err(_) => self.map.range_of(id.as_str()),
            };
            let error = match (range, &refreshed) {
                (Some(_), _) => self.wrong_shard(&id),
                (None, Ok(_)) => self.unknown_shard(&id),
                (None, Err(error)) => self.unknown_shard(&id).with_source(error.clone()),
            };
            let Self {
                records, outcomes, ..
            } = self;
            for (sub, &at) in records.members(record).iter().enumerate() {
                let at = at as usize;
                let key = records.keys[at];
                let belongs = range.is_some_and(|range| range.contains(records.hashes[at]));
                if belongs {
                    let receipt = Receipt::at(id.clone(), position.with_sub(sub as u64));
                    outcomes.stored(at, receipt);
                    counts.events += 1;
                } else {
                    counts.wrong_shard += 1;
                    outcomes.failed(at, key, error.clone());
                    self.last_failure = Some(error.clone());
                }
            }
        }
    }

    fn wrong_shard(&self, id: &PartitionId) -> Error {
        let message = format!(
            "stream {}: the shards changed while the record was sent: it was stored in {id}, where \
             readers of this key ignore it",
            self.producer.kinesis.shown
        );
        Error::new(ErrorKind::Conflict, message)
    }

    fn unknown_shard(&self, id: &PartitionId) -> Error {
        let message = format!(
            "stream {}: the record was stored in {id}, a shard whose range of keys is unknown",
            self.producer.kinesis.shown
        );
        Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown)
    }
}

/// Collects the metrics of one response.
#[derive(Default)]
struct ResponseMetrics {
    events: u64,
    bytes: u64,
    units: u64,
    failed: u64,
    throttled: u64,
    wrong_shard: u64,
}

impl ResponseMetrics {
    fn stored(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        self.units += bytes.div_ceil(PAYLOAD_UNIT) as u64;
    }

    fn add_to(&self, metrics: &Metrics) {
        metrics.events.increment(self.events);
        metrics.bytes.increment(self.bytes);
        metrics.payload_units.increment(self.units);
        for (counter, by) in [
            (&metrics.failed_records, self.failed),
            (&metrics.throttled_records, self.throttled),
            (&metrics.wrong_shard, self.wrong_shard),
        ] {
            if by > 0 {
                counter.increment(by);
            }
        }
    }
}
