//! A shard that is offered more than its limit, on a simulated clock.

use super::*;

/// A shard of the service: it counts by the second, from the first record on.
struct Service {
    limits: Option<[usize; 2]>,
    began: Duration,
    used: [usize; 2],
}

impl Service {
    fn new(limits: Option<[usize; 2]>) -> Self {
        Self {
            limits,
            began: Duration::ZERO,
            used: [0; 2],
        }
    }

    fn takes(&mut self, at: Duration, bytes: usize) -> bool {
        let Some(limits) = self.limits else {
            return true;
        };
        if at - self.began >= Duration::from_secs(1) {
            self.began = at;
            self.used = [0; 2];
        }
        let after = [self.used[0] + bytes, self.used[1] + 1];
        let fits = after[0] <= limits[0] && after[1] <= limits[1];
        if fits {
            self.used = after;
        }
        fits
    }
}

#[derive(Debug, Default)]
struct Counts {
    stored: usize,
    refused: usize,
    requests: usize,
}

/// Sends records of `size` for `seconds`, as many as the limiter allows; a response takes 5 ms.
fn offer(
    limiter: &mut ShardLimiter,
    service: &mut Service,
    from: u64,
    seconds: u64,
    size: usize,
) -> Counts {
    offer_with_stalls(limiter, service, from, seconds, size, &[0])
}

/// The same on a machine that stalls that many milliseconds before it goes on, in turn.
fn offer_with_stalls(
    limiter: &mut ShardLimiter,
    service: &mut Service,
    from: u64,
    seconds: u64,
    size: usize,
    stalls: &[u64],
) -> Counts {
    let mut stalls = stalls.iter().cycle();
    let mut counts = Counts::default();
    let mut clock = Duration::from_secs(from);
    let end = Duration::from_secs(from + seconds);
    while clock < end {
        clock += Duration::from_millis(*stalls.next().unwrap());
        let now = Instant::after_origin(clock);
        let mut request = 0;
        let mut until = None;
        while request < 500 && request * size < 4 << 20 {
            match limiter.take(now, size, request == 0) {
                Ok(()) => request += 1,
                Err(at) => {
                    until = Some(at);
                    break;
                }
            }
        }
        if request == 0 {
            clock = until
                .unwrap()
                .elapsed_since_origin()
                .max(clock + Duration::from_millis(1));
            continue;
        }
        counts.requests += 1;
        clock += Duration::from_millis(5);
        let now = Instant::after_origin(clock);
        let latency = Duration::from_millis(5);
        limiter.completed(now, [(request * size) as f64, request as f64], latency);
        let stored = (0..request).filter(|_| service.takes(clock, size)).count();
        if stored > 0 {
            limiter.stored(now, [(stored * size) as f64, stored as f64]);
        }
        if stored < request {
            let refused = request - stored;
            limiter.refused(now, Share { stored, refused });
        }
        counts.stored += stored;
        counts.refused += request - stored;
    }
    counts
}

const SHARD: [usize; 2] = [1 << 20, 1000];

fn new() -> ShardLimiter {
    ShardLimiter::new(Instant::after_origin(Duration::ZERO))
}

#[test]
fn a_limited_shard_is_used_well_and_refuses_little() {
    for (size, full) in [(25_000, 41.9), (120, 1000.0), (3000, 349.0), (262_144, 4.0)] {
        let counts = offer(&mut new(), &mut Service::new(Some(SHARD)), 0, 20, size);
        let rate = counts.stored as f64 / 20.0;
        assert!(
            rate >= 0.9 * full,
            "{size} bytes: {rate}/s of {full}/s: {counts:?}"
        );
        let share = counts.refused as f64 / counts.stored as f64;
        assert!(
            share <= 0.02,
            "{size} bytes: {share} are refused: {counts:?}"
        );
        assert!(counts.requests <= 20 * 70, "{size} bytes: {counts:?}");
    }
}

#[test]
fn a_machine_that_stalls_makes_up_for_it() {
    for (size, full) in [(25_000, 41.9), (120, 1000.0)] {
        let mut service = Service::new(Some(SHARD));
        let stalls = [3, 90, 0, 140, 12, 7, 60];
        let counts = offer_with_stalls(&mut new(), &mut service, 0, 20, size, &stalls);
        let rate = counts.stored as f64 / 20.0;
        assert!(
            rate >= 0.85 * full,
            "{size} bytes: {rate}/s of {full}/s: {counts:?}"
        );
        let share = counts.refused as f64 / counts.stored as f64;
        assert!(
            share <= 0.02,
            "{size} bytes: {share} are refused: {counts:?}"
        );
    }
}

#[test]
fn a_shard_that_takes_more_is_not_slowed() {
    for size in [25_000, 120] {
        let mut limiter = new();
        let counts = offer(&mut limiter, &mut Service::new(None), 0, 2, size);
        assert_eq!(limiter.state, State::Free);
        assert_eq!(counts.refused, 0);
        // 500 records or 4 MiB in 5 ms, but for the first moments.
        let full = 2.0 * 200.0 * f64::min(500.0, (4 << 20) as f64 / size as f64);
        assert!(counts.stored as f64 > 0.8 * full, "{counts:?} of {full}");
    }
}

#[test]
fn a_limit_that_goes_away_is_noticed_and_one_that_comes_back_too() {
    let mut limiter = new();
    offer(&mut limiter, &mut Service::new(Some(SHARD)), 0, 5, 120);
    assert_eq!(limiter.state, State::Limited);
    offer(&mut limiter, &mut Service::new(None), 5, 60, 120);
    assert_eq!(limiter.state, State::Free);
    let mut service = Service::new(Some(SHARD));
    service.began = Duration::from_secs(65);
    let counts = offer(&mut limiter, &mut service, 65, 20, 120);
    assert_eq!(limiter.state, State::Limited);
    assert!(counts.refused <= counts.stored / 20, "{counts:?}");
}

#[test]
fn a_shard_that_others_use_too_gets_what_is_left() {
    let left = [SHARD[0] / 3, SHARD[1] / 3];
    let counts = offer(&mut new(), &mut Service::new(Some(left)), 0, 60, 120);
    let rate = counts.stored as f64 / 60.0;
    assert!(rate > 0.6 * left[1] as f64, "{rate}/s: {counts:?}");
    assert!(counts.refused <= counts.stored / 5, "{counts:?}");
}

#[test]
fn a_refusal_pauses_its_shard_alone_and_counts_once() {
    let rate_limiter = RateLimiter::new(true);
    let now = Instant::after_origin(Duration::from_secs(10));
    let map = crate::shards::tests::halves();
    rate_limiter.update_shards(&map, now);
    assert!(rate_limiter.takes_anywhere(now, 1000, 10));
    let all = Share {
        stored: 0,
        refused: 10,
    };
    let until = rate_limiter.refused(map.open()[0].lane, now, all);
    assert_eq!(until, now + PAUSE);
    assert_eq!(rate_limiter.refused(map.open()[0].lane, now, all), until);
    assert!(!rate_limiter.takes_anywhere(now, 1000, 10));
    let mut shard_limiters = rate_limiter.shard_limiters().unwrap();
    let hot = shard_limiters.get(map.open()[0].lane).unwrap();
    assert_eq!(hot.take(now, 100, true), Err(until));
    let cold = shard_limiters.get(map.open()[1].lane).unwrap();
    assert_eq!(cold.take(now, 100, true), Ok(()));
}

/// One record in five, at a third of the limit: its key waits, and the shard does not.
#[test]
fn refusals_far_from_the_limit_leave_the_shard_as_it_is() {
    let mut limiter = new();
    for tick in 0..1000 {
        let now = Instant::after_origin(Duration::from_millis(tick * 20));
        let request = 7;
        for record in 0..request {
            assert_eq!(limiter.take(now, 1000, record == 0), Ok(()));
        }
        let refused = tick as usize % 3;
        let stored = request - refused;
        let later = now + Duration::from_millis(5);
        limiter.completed(later, [7000.0, 7.0], Duration::from_millis(5));
        limiter.stored(later, [stored as f64 * 1000.0, stored as f64]);
        if refused > 0 {
            assert_eq!(limiter.refused(later, Share { stored, refused }), later);
        }
    }
    assert_eq!(limiter.state, State::Watched);
}

#[test]
fn a_disabled_limiter_counts_nothing() {
    let rate_limiter = RateLimiter::new(false);
    let now = Instant::after_origin(Duration::from_secs(10));
    assert_eq!(rate_limiter.refused(1, now, Share::default()), now);
    assert!(rate_limiter.is_unlimited() && rate_limiter.shard_limiters().is_none());
    assert!(rate_limiter.takes_anywhere(now, 100 << 20, 100_000));
}
