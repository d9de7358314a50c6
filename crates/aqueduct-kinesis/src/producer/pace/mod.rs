//! What a shard takes, so that hardly anything is sent to it in vain.
//!
//! A shard takes 1 MiB and 1,000 records a second, and refuses the rest record by record; whatever
//! is refused is sent twice. Emulators and some streams take more. So a shard is *watched* first:
//! what it surely takes goes out at once, what lies beyond goes out in probes that double. If it
//! takes twice what it should, it is *free* and costs nothing any more. If it refuses, it is
//! *limited*: nothing for the rest of that second, then a little less than what it takes, evenly.
//! After a while without a refusal it is watched again.

mod amounts;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_core::Instant;

use self::amounts::{Bucket, Recent};
use crate::metrics::PAYLOAD_UNIT;
use crate::shards::ShardMap;

/// Bytes and records that a shard takes in a second.
const LIMIT: [f64; 2] = [(1 << 20) as f64, 1000.0];

/// The part of the limit that is used where it is known to hold.
const SHARE: f64 = 0.965;

/// The part of the limit that any second may have: requests take different times to arrive.
const CEILING: f64 = 0.985;

/// How long a limited shard saves up before the next request, in seconds.
const BURST: f64 = 0.02;

/// How much of what was not used a limited shard may use later, in seconds: machines stall.
const SAVED: f64 = 0.5;

/// The first probe beyond the limit.
const PROBE: [f64; 2] = [PAYLOAD_UNIT as f64, 25.0];

/// How long nothing is sent to a shard that refused: the service counts by the second.
const PAUSE: Duration = Duration::from_secs(1);

/// The same for a shard that is paced already: it is over the limit at the end of a second.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// How much of the limit a shard that others use too is given back in a second.
const RECOVERY: f64 = 0.05;

/// How long without a refusal until a limited shard is watched again.
const FORGIVEN: Duration = Duration::from_secs(30);

/// The paces of a stream's shards, by their lanes.
pub(super) struct Pacing {
    enabled: bool,
    /// Nothing has to be counted.
    calm: AtomicBool,
    inner: Mutex<Paces>,
}

#[derive(Default)]
pub(super) struct Paces {
    shards: BTreeMap<u64, Pace>,
    /// What all shards together were sent without being told apart.
    stream: Recent,
}

impl Pacing {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            calm: AtomicBool::new(!enabled),
            inner: Mutex::default(),
        }
    }

    /// Whether nothing has to be counted now.
    #[inline]
    pub(super) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether so much may go wherever it belongs, uncounted by shard: all of it fits any one of
    /// them.
    pub(super) fn takes_anywhere(&self, now: Instant, bytes: usize, records: usize) -> bool {
        if self.is_calm() {
            return true;
        }
        let mut inner = self.lock();
        let amount = [bytes as f64, records as f64];
        if inner.shards.values().any(Pace::is_limited) {
            return false;
        }
        inner.stream.roll(now);
        if (0..2).any(|at| inner.stream.sum[at] + amount[at] > LIMIT[at]) {
            return false;
        }
        inner.stream.spend(amount);
        for pace in inner.shards.values_mut() {
            pace.recent.roll(now);
            pace.recent.spend(amount);
        }
        true
    }

    /// Learns of the shards that there are.
    pub(super) fn know(&self, map: &ShardMap, now: Instant) {
        if !self.enabled {
            return;
        }
        let mut inner = self.lock();
        inner
            .shards
            .retain(|lane, _| map.open().iter().any(|shard| shard.lane == *lane));
        for shard in map.open() {
            inner
                .shards
                .entry(shard.lane)
                .or_insert_with(|| Pace::new(now));
        }
        self.calm.store(inner.all_free(), Ordering::Relaxed);
    }

    /// The paces; `None` where nothing has to be counted.
    pub(super) fn paces(&self) -> Option<MutexGuard<'_, Paces>> {
        (!self.is_calm()).then(|| self.lock())
    }

    /// Records that were let go have their answer, whatever it is.
    pub(super) fn answered(
        &self,
        lane: u64,
        now: Instant,
        (bytes, records): (usize, usize),
        latency: Duration,
    ) {
        if self.is_calm() {
            return;
        }
        let mut inner = self.lock();
        if let Some(pace) = inner.shards.get_mut(&lane) {
            pace.answered(now, [bytes as f64, records as f64], latency);
        }
    }

    /// Some records of one shard were stored.
    pub(super) fn stored(&self, lane: u64, now: Instant, bytes: usize, records: usize) {
        if self.is_calm() {
            return;
        }
        let mut inner = self.lock();
        if let Some(pace) = inner.shards.get_mut(&lane)
            && pace.stored(now, [bytes as f64, records as f64])
        {
            self.calm.store(inner.all_free(), Ordering::Relaxed);
        }
    }

    /// The shard refused a record. Answers when it may be tried again.
    pub(super) fn refused(&self, lane: u64, now: Instant) -> Instant {
        if !self.enabled {
            return now;
        }
        self.calm.store(false, Ordering::Relaxed);
        let mut inner = self.lock();
        let pace = inner.shards.entry(lane).or_insert_with(|| Pace::new(now));
        pace.refused(now)
    }

    fn lock(&self) -> MutexGuard<'_, Paces> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Paces {
    pub(super) fn get(&mut self, lane: u64) -> Option<&mut Pace> {
        self.shards.get_mut(&lane)
    }

    fn all_free(&self) -> bool {
        self.shards.values().all(|pace| pace.state == State::Free)
    }
}

/// What one shard has been sent, and what it may be sent.
#[derive(Debug)]
pub(super) struct Pace {
    state: State,
    recent: Recent,
    /// What is on its way. The service counts it at some moment before its answer.
    pending: [f64; 2],
    /// How long an answer takes at the least: a record that is sent now is counted that much later,
    /// and with what was answered in the rest of the second before.
    latency: Duration,
    /// What a limited shard has saved up.
    bucket: Bucket,
    /// How far beyond the limit a watched shard may be sent.
    probe: [f64; 2],
    /// What it took beyond the limit.
    beyond: [f64; 2],
    /// The part of the limit that is left where others send there too.
    factor: f64,
    recovered_at: Instant,
    quiet_until: Instant,
    refused_at: Option<Instant>,
    /// Refusals without anything stored between them.
    in_a_row: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watched,
    Limited,
    Free,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self {
            state: State::Watched,
            recent: Recent::default(),
            pending: [0.0; 2],
            latency: Duration::ZERO,
            bucket: Bucket::empty(now),
            probe: PROBE,
            beyond: [0.0; 2],
            factor: 1.0,
            recovered_at: now,
            quiet_until: now,
            refused_at: None,
            in_a_row: 0,
        }
    }

    /// What it surely takes yet; below zero, what went beyond.
    fn left(&self, of: usize) -> f64 {
        LIMIT[of] - self.recent.sum[of] - self.pending[of]
    }

    fn send(&mut self, amount: [f64; 2]) {
        for (pending, amount) in self.pending.iter_mut().zip(amount) {
            *pending += amount;
        }
    }

    /// What was sent has its answer, or never gets one.
    fn answered(&mut self, now: Instant, amount: [f64; 2], latency: Duration) {
        // It falls at once and rises slowly.
        let risen = self.latency + self.latency / 20 + Duration::from_millis(1);
        self.latency = latency.min(risen);
        self.recent.shorten(self.latency);
        self.recent.roll(now);
        self.recent.spend(amount);
        for (pending, amount) in self.pending.iter_mut().zip(amount) {
            *pending = (*pending - amount).max(0.0);
        }
    }

    fn is_limited(&self) -> bool {
        self.state == State::Limited
    }

    /// How many bytes may be sent in large records; beyond them small ones waste less where the
    /// shard refuses.
    pub(super) fn room_for_large(&mut self, now: Instant) -> usize {
        match self.state {
            State::Free => usize::MAX,
            State::Limited => 0,
            State::Watched => {
                self.recent.roll(now);
                (self.left(0) - LIMIT[0] / 2.0).max(0.0) as usize
            }
        }
    }

    /// Takes what one record needs, where it may go now; else answers when to ask again.
    /// `begins`: it is the first of its shard in a request.
    pub(super) fn take(
        &mut self,
        now: Instant,
        bytes: usize,
        begins: bool,
    ) -> std::result::Result<(), Instant> {
        let amount = [bytes as f64, 1.0];
        if self.state == State::Limited
            && self.refused_at.is_some_and(|at| now.since(at) >= FORGIVEN)
        {
            self.state = State::Watched;
            self.probe = PROBE;
            self.beyond = [0.0; 2];
        }
        match self.state {
            State::Free => Ok(()),
            State::Watched => {
                self.recent.roll(now);
                // One record goes beyond however large it is, or it never would.
                let first = (0..2).all(|at| self.left(at) > 0.0);
                let probe = |at| self.left(at) - amount[at] >= -self.probe[at];
                if first || (0..2).all(probe) {
                    self.send(amount);
                    return Ok(());
                }
                Err(now + Duration::from_secs_f64(BURST))
            }
            State::Limited => {
                if now < self.quiet_until {
                    return Err(self.quiet_until);
                }
                let save = [0, 1].map(|at| (LIMIT[at] * BURST).max(amount[at]));
                let passed = now.since(self.recovered_at).as_secs_f64();
                self.recovered_at = now;
                self.factor = (self.factor + passed * RECOVERY).min(1.0);
                let most = [0, 1].map(|at| (LIMIT[at] * SAVED * self.factor).max(amount[at]));
                self.bucket.refill(now, SHARE * self.factor, most);
                self.recent.roll(now);
                let ceiling = CEILING * self.factor;
                let room = |at: usize| self.left(at) - LIMIT[at] * (1.0 - ceiling);
                let idle = self.recent.sum[1] + self.pending[1] == 0.0;
                if !idle && (0..2).any(|at| room(at) < amount[at]) {
                    return Err(now + Duration::from_secs_f64(BURST));
                }
                let wanted = if begins { save } else { amount };
                // The clock's grain must not keep it from ever being enough.
                if self.bucket.has(wanted.map(|it| it * 0.999)) {
                    self.bucket.spend(amount);
                    self.send(amount);
                    return Ok(());
                }
                let missing = (0..2)
                    .map(|at| {
                        (wanted[at] - self.bucket.left[at]) / (LIMIT[at] * SHARE * self.factor)
                    })
                    .fold(0.0, f64::max);
                Err(now + Duration::from_secs_f64(missing.max(0.001)))
            }
        }
    }

    /// Answers whether it has become free.
    fn stored(&mut self, now: Instant, amount: [f64; 2]) -> bool {
        self.in_a_row = 0;
        if self.state != State::Watched {
            return false;
        }
        self.recent.roll(now);
        for (at, amount) in amount.into_iter().enumerate() {
            let over = -self.left(at);
            if over > 0.0 {
                self.beyond[at] += amount.min(over);
                self.probe[at] *= 2.0;
            }
        }
        if (0..2).any(|at| self.beyond[at] >= LIMIT[at]) {
            self.state = State::Free;
            return true;
        }
        false
    }

    fn refused(&mut self, now: Instant) -> Instant {
        // One that is tried again after a while is at the end of a second, like one that is paced.
        let paced = self.state != State::Free && self.refused_at.is_some();
        // The refusals of one moment are one.
        let again = self
            .refused_at
            .is_none_or(|at| now.since(at) >= Duration::from_millis(100));
        self.refused_at = Some(now);
        if self.state == State::Limited && !again {
            return self.quiet_until;
        }
        if self.state == State::Limited {
            self.factor = (self.factor * 0.8).max(0.05);
            self.recovered_at = now;
        }
        self.state = State::Limited;
        self.bucket = Bucket::empty(now);
        let pause = match paced {
            true => SHORT_PAUSE * 2u32.pow(self.in_a_row.min(3)),
            false => PAUSE,
        };
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.quiet_until = now + pause;
        self.quiet_until
    }
}
