//! Limits the send rate of a shard, so that few records are throttled.
//!
//! A shard takes 1 MiB and 1,000 records per second and refuses the rest record by record; a refused
//! record is sent twice. Emulators and some streams take more. So a shard is *watched* first: up to
//! the limit everything is sent at once, beyond it in probes that double. A shard that takes twice
//! the limit is *free* and no longer counted. A shard that refuses is *limited*: nothing is sent for
//! the rest of that second, then an even rate slightly below the limit. After a while without a
//! refusal it is watched again.

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

/// The bytes and records that a shard takes per second.
const LIMIT: [f64; 2] = [(1 << 20) as f64, 1000.0];

/// The share of the limit that a limited shard is sent on average.
const SHARE: f64 = 0.965;

/// The share of the limit that any one second may have: requests take different times to arrive.
const CEILING: f64 = 0.985;

/// How long a limited shard saves up before the next request, in seconds: fewer, larger requests.
const BURST: f64 = 0.02;

/// The unused allowance that a limited shard may use later, in seconds: machines stall.
const MAX_SAVED: f64 = 0.5;

/// The first probe beyond the limit, in bytes and records.
const FIRST_PROBE: [f64; 2] = [PAYLOAD_UNIT as f64, 25.0];

/// The pause after a refusal: the service counts by the second.
const PAUSE: Duration = Duration::from_secs(1);

/// The same for a shard that is limited already: it is over the limit only at the end of a second.
const SHORT_PAUSE: Duration = Duration::from_millis(100);

/// The share of the limit that a shard with other senders regains per second.
const RECOVERY: f64 = 0.05;

/// The time without a refusal after which a limited shard is watched again.
const RECHECK_AFTER: Duration = Duration::from_secs(30);

/// The share of the limit below which this sender alone does not exceed it.
const BUSY: f64 = 0.75;

/// The refusals of a request that do not speak of the shard's limit: each holds back its key alone.
const SINGLE: usize = 3;

/// The records of a request that tell by their majority whether the shard is over its limit.
const MAJORITY_OF: usize = 16;

/// The records of one request that a shard stored and refused as over its limit.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Share {
    pub(super) stored: usize,
    pub(super) refused: usize,
}

impl Share {
    /// Returns whether most or all records were refused, and enough to tell.
    fn is_most(self) -> bool {
        let Self { stored, refused } = self;
        (stored == 0 && refused > SINGLE) || (refused > stored && refused + stored >= MAJORITY_OF)
    }
}

/// The rate limiters of a stream's shards.
pub(super) struct RateLimiter {
    enabled: bool,
    /// No shard has to be counted; checked without the lock.
    unlimited: AtomicBool,
    inner: Mutex<ShardLimiters>,
}

#[derive(Default)]
pub(super) struct ShardLimiters {
    shards: BTreeMap<u64, ShardLimiter>,
    /// The amounts that were sent to the stream without counting by shard.
    stream: Recent,
}

impl RateLimiter {
    pub(super) fn new(enabled: bool) -> Self {
        Self {
            enabled,
            unlimited: AtomicBool::new(!enabled),
            inner: Mutex::default(),
        }
    }

    /// Returns whether no shard has to be counted now.
    #[inline]
    pub(super) fn is_unlimited(&self) -> bool {
        self.unlimited.load(Ordering::Relaxed)
    }

    /// Returns whether that amount may be sent without counting by shard, because all of it fits into
    /// any one of them.
    pub(super) fn takes_anywhere(&self, now: Instant, bytes: usize, records: usize) -> bool {
        if self.is_unlimited() {
            return true;
        }
        let mut inner = self.lock();
        let amount = [bytes as f64, records as f64];
        if inner.shards.values().any(ShardLimiter::is_limited) {
            return false;
        }
        inner.stream.roll(now);
        if (0..2).any(|at| inner.stream.sum[at] + amount[at] > LIMIT[at]) {
            return false;
        }
        inner.stream.spend(amount);
        for limiter in inner.shards.values_mut() {
            limiter.recent.roll(now);
            limiter.recent.spend(amount);
        }
        true
    }

    /// Adopts the open shards of the map.
    pub(super) fn update_shards(&self, map: &ShardMap, now: Instant) {
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
                .or_insert_with(|| ShardLimiter::new(now));
        }
        self.unlimited.store(inner.all_free(), Ordering::Relaxed);
    }

    /// Locks the shards' limiters; `None` if no shard has to be counted.
    pub(super) fn shard_limiters(&self) -> Option<MutexGuard<'_, ShardLimiters>> {
        (!self.is_unlimited()).then(|| self.lock())
    }

    /// Records that a request of that amount has its response, or never gets one.
    pub(super) fn completed(
        &self,
        lane: u64,
        now: Instant,
        (bytes, records): (usize, usize),
        latency: Duration,
    ) {
        if self.is_unlimited() {
            return;
        }
        let mut inner = self.lock();
        if let Some(limiter) = inner.shards.get_mut(&lane) {
            limiter.completed(now, [bytes as f64, records as f64], latency);
        }
    }

    /// Records that a shard stored that amount.
    pub(super) fn stored(&self, lane: u64, now: Instant, bytes: usize, records: usize) {
        if self.is_unlimited() {
            return;
        }
        let mut inner = self.lock();
        if let Some(limiter) = inner.shards.get_mut(&lane)
            && limiter.stored(now, [bytes as f64, records as f64])
        {
            self.unlimited.store(inner.all_free(), Ordering::Relaxed);
        }
    }

    /// Records that the shard refused a record of a request. Returns when it may be sent to again.
    pub(super) fn refused(&self, lane: u64, now: Instant, share: Share) -> Instant {
        if !self.enabled {
            return now;
        }
        self.unlimited.store(false, Ordering::Relaxed);
        let mut inner = self.lock();
        let limiter = inner
            .shards
            .entry(lane)
            .or_insert_with(|| ShardLimiter::new(now));
        limiter.refused(now, share)
    }

    fn lock(&self) -> MutexGuard<'_, ShardLimiters> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ShardLimiters {
    pub(super) fn get(&mut self, lane: u64) -> Option<&mut ShardLimiter> {
        self.shards.get_mut(&lane)
    }

    fn all_free(&self) -> bool {
        self.shards
            .values()
            .all(|limiter| limiter.state == State::Free)
    }
}

/// Counts the amounts sent to one shard and decides about the next.
#[derive(Debug)]
pub(super) struct ShardLimiter {
    state: State,
    recent: Recent,
    /// The amount in flight. The service counts it some time before it responds.
    pending: [f64; 2],
    /// The shortest response time: a record that is sent now is counted by the service that much
    /// later, with what completed in the rest of the second before.
    latency: Duration,
    /// The allowance that a limited shard has saved up.
    bucket: Bucket,
    /// How far a watched shard may be sent beyond the limit.
    probe: [f64; 2],
    /// The amount that it took beyond the limit.
    over_limit: [f64; 2],
    /// The share of the limit that is left if others send to the shard too.
    factor: f64,
    recovered_at: Instant,
    paused_until: Instant,
    refused_at: Option<Instant>,
    /// Refusals without a stored record between them.
    consecutive_refusals: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Watched,
    Limited,
    Free,
}

impl ShardLimiter {
    fn new(now: Instant) -> Self {
        Self {
            state: State::Watched,
            recent: Recent::default(),
            pending: [0.0; 2],
            latency: Duration::ZERO,
            bucket: Bucket::empty(now),
            probe: FIRST_PROBE,
            over_limit: [0.0; 2],
            factor: 1.0,
            recovered_at: now,
            paused_until: now,
            refused_at: None,
            consecutive_refusals: 0,
        }
    }

    /// Returns the rest of the limit in this second; below zero, the amount sent beyond it.
    fn left(&self, of: usize) -> f64 {
        LIMIT[of] - self.recent.sum[of] - self.pending[of]
    }

    fn send(&mut self, amount: [f64; 2]) {
        for (pending, amount) in self.pending.iter_mut().zip(amount) {
            *pending += amount;
        }
    }

    /// Moves an amount from in flight to sent.
    fn completed(&mut self, now: Instant, amount: [f64; 2], latency: Duration) {
        // Falls at once and rises slowly, so that one slow response does not hide the usual time.
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

    /// Returns the bytes that may be sent in large records. Beyond them small records waste less when
    /// the shard refuses.
    pub(super) fn large_record_bytes(&mut self, now: Instant) -> usize {
        match self.state {
            State::Free => usize::MAX,
            State::Limited => 0,
            State::Watched => {
                self.recent.roll(now);
                (self.left(0) - LIMIT[0] / 2.0).max(0.0) as usize
            }
        }
    }

    /// Takes the allowance of one record, or returns when to ask again. `begins` is true for the
    /// first record of the shard in a request.
    ///
    /// # Errors
    /// The time at which to ask again.
    pub(super) fn take(
        &mut self,
        now: Instant,
        bytes: usize,
        begins: bool,
    ) -> std::result::Result<(), Instant> {
        let amount = [bytes as f64, 1.0];
        if self.state == State::Limited
            && self
                .refused_at
                .is_some_and(|at| now.since(at) >= RECHECK_AFTER)
        {
            self.state = State::Watched;
            self.probe = FIRST_PROBE;
            self.over_limit = [0.0; 2];
        }
        match self.state {
            State::Free => Ok(()),
            State::Watched => {
                self.recent.roll(now);
                // One record may exceed the limit, or a large one would never be sent.
                let first = (0..2).all(|at| self.left(at) > 0.0);
                let probe = |at| self.left(at) - amount[at] >= -self.probe[at];
                if first || (0..2).all(probe) {
                    self.send(amount);
                    return Ok(());
                }
                Err(now + Duration::from_secs_f64(BURST))
            }
            State::Limited => {
                if now < self.paused_until {
                    return Err(self.paused_until);
                }
                let save = [0, 1].map(|at| (LIMIT[at] * BURST).max(amount[at]));
                let passed = now.since(self.recovered_at).as_secs_f64();
                self.recovered_at = now;
                self.factor = (self.factor + passed * RECOVERY).min(1.0);
                let most = [0, 1].map(|at| (LIMIT[at] * MAX_SAVED * self.factor).max(amount[at]));
                self.bucket.refill(now, SHARE * self.factor, most);
                self.recent.roll(now);
                let ceiling = CEILING * self.factor;
                let room = |at: usize| self.left(at) - LIMIT[at] * (1.0 - ceiling);
                let idle = self.recent.sum[1] + self.pending[1] == 0.0;
                if !idle && (0..2).any(|at| room(at) < amount[at]) {
                    return Err(now + Duration::from_secs_f64(BURST));
                }
                let wanted = if begins { save } else { amount };
                // Rounding of the clock must not keep it from ever being enough.
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

    /// Records stored records. Returns whether the shard has become free.
    fn stored(&mut self, now: Instant, amount: [f64; 2]) -> bool {
        self.consecutive_refusals = 0;
        if self.state != State::Watched {
            return false;
        }
        self.recent.roll(now);
        for (at, amount) in amount.into_iter().enumerate() {
            let over = -self.left(at);
            if over > 0.0 {
                self.over_limit[at] += amount.min(over);
                self.probe[at] *= 2.0;
            }
        }
        if (0..2).any(|at| self.over_limit[at] >= LIMIT[at]) {
            self.state = State::Free;
            return true;
        }
        false
    }

    fn refused(&mut self, now: Instant, share: Share) -> Instant {
        self.recent.roll(now);
        let busy = BUSY * self.factor;
        let busy = (0..2).any(|at| self.left(at) <= LIMIT[at] * (1.0 - busy));
        // What a free shard was sent is not counted.
        if self.state != State::Free && !busy && !share.is_most() {
            // A hiccup of the service, or others that send to the shard: the key tries again by itself.
            return now;
        }
        // A shard that is watched again is over the limit at the end of a second, like a limited one.
        let known_limit = self.state != State::Free && self.refused_at.is_some();
        // Refusals within 100 ms come from one burst and count once.
        let again = self
            .refused_at
            .is_none_or(|at| now.since(at) >= Duration::from_millis(100));
        self.refused_at = Some(now);
        if self.state == State::Limited && !again {
            return self.paused_until;
        }
        if self.state == State::Limited {
            self.factor = (self.factor * 0.8).max(0.05);
            self.recovered_at = now;
        }
        self.state = State::Limited;
        self.bucket = Bucket::empty(now);
        let pause = match known_limit {
            true => SHORT_PAUSE * 2u32.pow(self.consecutive_refusals.min(3)),
            false => PAUSE,
        };
        self.consecutive_refusals = self.consecutive_refusals.saturating_add(1);
        self.paused_until = now + pause;
        self.paused_until
    }
}
