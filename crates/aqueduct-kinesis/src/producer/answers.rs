use aqueduct_core::{Effect, Error, ErrorKind, Instant, PartitionId, Position, Receipt, Retry};

use super::outcome::{Outcome, Refusal};
use super::put::Call;
use crate::error;
use crate::metrics::{Metrics, PAYLOAD_UNIT};

impl Call<'_> {
    /// Reads the answers of one request, record by record.
    pub(super) async fn read(&mut self, request: &[u32], mut outcomes: Vec<Outcome>) {
        let now = self.producer.runtime.now();
        let mut counted = Counted::default();
        let mut astray = Vec::new();
        for (&item, outcome) in request.iter().zip(&mut outcomes) {
            if let Some(refusal) = &outcome.refusal {
                self.refused(item, refusal, now, &mut counted);
                continue;
            }
            let Some((id, position)) = outcome.stored.take() else {
                self.unreadable(item);
                continue;
            };
            let slot = self.draft.slots[item as usize];
            counted.stored(slot.bytes as usize);
            let aggregated = self.draft.items[item as usize].aggregated;
            if aggregated && self.map.open()[slot.queue as usize].id != id {
                astray.push((item, id, position));
                continue;
            }
            let members = self.draft.members(item);
            if let [at] = members {
                self.ledger.stored(*at as usize, Receipt::at(id, position));
                counted.events += 1;
                continue;
            }
            for (sub, &at) in members.iter().enumerate() {
                let receipt = Receipt::at(id.clone(), position.with_sub(sub as u64));
                self.ledger.stored(at as usize, receipt);
            }
            counted.events += members.len() as u64;
        }
        self.tell_pacing(request, &outcomes, now);
        if !astray.is_empty() {
            self.judge_astray(astray, now, &mut counted).await;
        }
        counted.add_to(&self.producer.metrics);
    }

    fn tell_pacing(&self, request: &[u32], outcomes: &[Outcome], now: Instant) {
        let pacing = &self.producer.pacing;
        if !self.by_shard || pacing.is_calm() {
            return;
        }
        let mut shards = vec![(0, 0); self.map.open().len()];
        for (&item, outcome) in request.iter().zip(outcomes) {
            if outcome.refusal.is_none() {
                let slot = self.draft.slots[item as usize];
                let (bytes, count) = &mut shards[slot.queue as usize];
                *bytes += slot.bytes as usize;
                *count += 1;
            }
        }
        for (shard, (bytes, count)) in self.map.open().iter().zip(shards) {
            if count > 0 {
                pacing.stored(shard.lane, now, bytes, count);
            }
        }
    }

    /// The service did not store that record, and says so.
    fn refused(&mut self, item: u32, refusal: &Refusal, now: Instant, counted: &mut Counted) {
        counted.failed += 1;
        let Refusal { code, message } = refusal;
        let what = self.producer.kinesis.what("PutRecords");
        let mut error = error::record(what, code, message.as_deref());
        if code == error::OVER_LIMIT {
            counted.throttled += 1;
            let members = self.draft.members(item);
            let shard = match (self.by_shard, members.first()) {
                (true, _) => Some(self.draft.slots[item as usize].queue as usize),
                (false, Some(&at)) => {
                    let hash = self.producer.drafter.hash_of(&self.events[at as usize]);
                    hash.map(|hash| self.map.at(hash))
                }
                (false, None) => None,
            };
            if let Some(shard) = shard {
                let lane = self.map.open()[shard].lane;
                let until = self.producer.pacing.refused(lane, now);
                let wait = until.since(now);
                if !wait.is_zero() {
                    error = error.with_retry(Retry::After(wait));
                }
            }
        }
        for &at in self.draft.members(item) {
            let at = at as usize;
            let key = self.draft.keys[at];
            if self.ledger.is_blocked(key) {
                self.ledger.left_out(at, key, &error);
            } else {
                self.ledger.failed(at, key, error.clone());
            }
        }
        self.trouble = Some(error);
    }

    /// The answer says neither that the record is stored nor that it is not.
    fn unreadable(&mut self, item: u32) {
        let what = self.producer.kinesis.what("PutRecords");
        let message = format!("{what}: an answer without a sequence number");
        let error = Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown);
        for &at in self.draft.members(item) {
            let at = at as usize;
            self.ledger.failed(at, self.draft.keys[at], error.clone());
        }
        self.trouble = Some(error);
    }

    /// Aggregated records that came to another shard than the map says: those of their events that
    /// lie there are stored; readers drop the others, which count as not stored.
    async fn judge_astray(
        &mut self,
        astray: Vec<(u32, PartitionId, Position)>,
        now: Instant,
        counted: &mut Counted,
    ) {
        let refreshed = self.producer.map.refresh(now).await;
        for (item, id, position) in astray {
            let range = match &refreshed {
                Ok(map) => map.range_of(id.as_str()),
                Err(_) => self.map.range_of(id.as_str()),
            };
            let error = match (range, &refreshed) {
                (Some(_), _) => self.wrong_shard(&id),
                (None, Ok(_)) => self.unknown_shard(&id),
                (None, Err(error)) => self.unknown_shard(&id).with_source(error.clone()),
            };
            let Self { draft, ledger, .. } = self;
            for (sub, &at) in draft.members(item).iter().enumerate() {
                let at = at as usize;
                let key = draft.keys[at];
                let lies_there = range.is_some_and(|range| range.contains(draft.hashes[at]));
                if lies_there {
                    let receipt = Receipt::at(id.clone(), position.with_sub(sub as u64));
                    ledger.stored(at, receipt);
                    counted.events += 1;
                } else {
                    counted.wrong_shard += 1;
                    ledger.failed(at, key, error.clone());
                    self.trouble = Some(error.clone());
                }
            }
        }
    }

    fn wrong_shard(&self, id: &PartitionId) -> Error {
        let message = format!(
            "stream {}: the shards have changed: the record came to {id}, where readers of this \
             key do not look",
            self.producer.kinesis.shown
        );
        Error::new(ErrorKind::Conflict, message)
    }

    fn unknown_shard(&self, id: &PartitionId) -> Error {
        let message = format!(
            "stream {}: the record came to {id}, and which keys are read there is not known",
            self.producer.kinesis.shown
        );
        Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown)
    }
}

/// What is counted of one answer.
#[derive(Default)]
struct Counted {
    events: u64,
    bytes: u64,
    units: u64,
    failed: u64,
    throttled: u64,
    wrong_shard: u64,
}

impl Counted {
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
