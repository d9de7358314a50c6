use std::time::Duration;

use aqueduct_core::{Backoff, Instant, Runtime};

/// The read limit of a shard, shared by all that poll it.
const BYTES_PER_SECOND: f64 = (2 << 20) as f64;

/// The longest interval that throttling leads to, in configured ones.
const SLOWEST: u32 = 5;

/// After each response, the interval shrinks by one part in this many.
const RECOVER: u32 = 32;

/// The longest wait at the tip, in intervals.
const IDLE: u32 = 5;

/// The longest wait at the tip, unless the interval itself is longer: it is the latency of an event
/// after a pause.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

const THROTTLED: Backoff = Backoff::new(Duration::from_millis(400), Duration::from_secs(10));
const FAILED: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));

/// Limits the rate of polling a shard. The service allows five requests and 2 MiB per second and shard,
/// shared by all that poll it.
pub(super) struct PollRateLimiter {
    runtime: Runtime,
    /// The configured interval.
    least: Duration,
    /// The interval in use: longer while the service throttles.
    interval: Duration,
    idle: Duration,
    throttled: u32,
    failed: u32,
    due: Instant,
}

impl PollRateLimiter {
    pub(super) fn new(runtime: &Runtime, interval: Duration) -> Self {
        Self {
            runtime: runtime.clone(),
            least: interval,
            interval,
            idle: interval,
            throttled: 0,
            failed: 0,
            due: runtime.now(),
        }
    }

    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Notes the response to a request sent at `sent`.
    pub(super) fn responded(&mut self, sent: Instant, bytes: usize, at_tip: bool) {
        self.failed = 0;
        // Recover step by step: other consumers still share the shard.
        self.throttled = self.throttled.saturating_sub(1);
        self.interval = (self.interval - self.interval / RECOVER).max(self.least);
        let mut wait = self.interval;
        if bytes == 0 && at_tip {
            // At least 1 ms, so that an emulator without limits is not polled in a hot loop.
            let doubled = (self.idle * 2).max(Duration::from_millis(1));
            self.idle = doubled
                .min((self.interval * IDLE).min(LONGEST_IDLE).max(self.interval))
                .max(Duration::from_millis(1));
            wait = self.idle;
        } else {
            self.idle = self.interval;
            if !self.interval.is_zero() {
                wait = wait.max(Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND));
            }
        }
        if self.throttled > 0 {
            wait += self.runtime.jitter(self.interval);
        }
        self.due = sent + wait;
    }

    /// Notes that the service throttled a request.
    pub(super) fn throttled(&mut self) {
        self.throttled += 1;
        // The shard has more readers than fit: poll less often, not only later.
        self.interval = (self.interval + self.least / 2).min(self.least * SLOWEST);
        self.later(THROTTLED, self.throttled);
    }

    /// Notes that a request failed.
    pub(super) fn failed(&mut self) {
        self.failed += 1;
        self.later(FAILED, self.failed);
    }

    /// Returns roughly how many requests in a row were throttled.
    pub(super) fn times_throttled(&self) -> u32 {
        self.throttled
    }

    /// Delays the next request. Half of the wait is random, so that consumers throttled together spread out.
    fn later(&mut self, backoff: Backoff, attempt: u32) {
        let ceiling = backoff.ceiling(attempt);
        self.due = self.runtime.now() + ceiling / 2 + self.runtime.jitter(ceiling / 2);
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{Platform, Timestamp};
    use futures::future::BoxFuture;

    use super::*;

    /// A clock that stands still.
    struct Still;

    impl Platform for Still {
        fn now(&self) -> Instant {
            Instant::default()
        }

        fn wall(&self) -> Timestamp {
            Timestamp::EPOCH
        }

        fn sleep_until(&self, _: Instant) -> BoxFuture<'static, ()> {
            Box::pin(futures::future::pending())
        }

        fn spawn(&self, _: BoxFuture<'static, ()>) {}

        fn random(&self) -> u64 {
            u64::MAX / 2
        }
    }

    const MS: Duration = Duration::from_millis(1);

    fn rate_limiter(interval: Duration) -> (PollRateLimiter, Instant) {
        let runtime = Runtime::new(Still);
        let now = runtime.now();
        (PollRateLimiter::new(&runtime, interval), now)
    }

    #[test]
    fn idle_polls_grow_apart_and_records_bring_them_together() {
        let (mut limiter, now) = rate_limiter(200 * MS);
        let mut wait = |bytes, at_tip| {
            limiter.responded(now, bytes, at_tip);
            limiter.due().since(now)
        };
        assert_eq!(wait(100, true), 200 * MS);
        assert_eq!(wait(0, true), 400 * MS);
        assert_eq!(wait(0, true), 800 * MS);
        assert_eq!(wait(0, true), 1000 * MS);
        assert_eq!(wait(0, true), 1000 * MS);
        assert_eq!(wait(0, false), 200 * MS);
        assert_eq!(wait(0, true), 400 * MS);
    }

    #[test]
    fn large_responses_are_followed_at_the_rate_of_a_shard() {
        let (mut limiter, now) = rate_limiter(200 * MS);
        limiter.responded(now, 10 << 20, false);
        assert_eq!(limiter.due().since(now), 5000 * MS);
    }

    #[test]
    fn without_an_interval_only_idle_polls_wait() {
        let (mut limiter, now) = rate_limiter(Duration::ZERO);
        limiter.responded(now, 10 << 20, false);
        assert_eq!(limiter.due(), now);
        limiter.responded(now, 0, true);
        assert_eq!(limiter.due().since(now), MS);
    }

    #[test]
    fn throttling_stretches_the_interval_and_responses_shrink_it_slowly() {
        let (mut limiter, now) = rate_limiter(1000 * MS);
        let wait = |limiter: &mut PollRateLimiter| {
            limiter.responded(now, 100, false);
            limiter.due().since(now)
        };
        assert_eq!(wait(&mut limiter), 1000 * MS);
        (0..20).for_each(|_| limiter.throttled());
        assert!(wait(&mut limiter) > 4500 * MS);
        assert_eq!(limiter.interval, 5000 * MS - 5000 * MS / RECOVER);
        let mut responses = 0;
        while limiter.interval > 1000 * MS {
            wait(&mut limiter);
            responses += 1;
        }
        assert!((20..200).contains(&responses), "{responses}");
        assert_eq!(wait(&mut limiter), 1000 * MS);
    }

    #[test]
    fn refusals_back_off_by_growing_waits() {
        let (mut limiter, now) = rate_limiter(200 * MS);
        let mut last = Duration::ZERO;
        for attempt in 1..=4 {
            limiter.throttled();
            let wait = limiter.due().since(now);
            assert!(
                wait >= THROTTLED.ceiling(attempt) / 2 && wait > last,
                "{wait:?}"
            );
            last = THROTTLED.ceiling(attempt);
            assert!(wait <= last, "{wait:?}");
            last /= 2;
        }
    }
}
