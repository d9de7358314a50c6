use std::time::Duration;

use aqueduct_core::Instant;

/// The monotonic clock of a process: it began elsewhere, and runs faster or slower than the others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    offset: Duration,
    /// In millionths.
    rate: u64,
}

const MILLION: u64 = 1_000_000;

impl Clock {
    /// Off by up to one in a hundred.
    pub(super) fn drawn(random: u64) -> Self {
        Self {
            offset: Duration::from_secs(1 + random % 1_000),
            rate: MILLION - 10_000 + random / 1_000 % 20_001,
        }
    }

    /// Returns the time of the process at that time of the world.
    pub(super) fn local(self, now: Instant) -> Instant {
        let nanos = scaled(now, self.rate, MILLION);
        Instant::after_origin(self.offset + nanos)
    }

    /// Returns the first time of the world at which the process reads that time or a later one.
    pub(super) fn global(self, local: Instant) -> Instant {
        let since = local.elapsed_since_origin().saturating_sub(self.offset);
        let nanos = scaled(Instant::after_origin(since), MILLION, self.rate);
        Instant::after_origin(nanos + Duration::from_nanos(2))
    }
}

fn scaled(at: Instant, by: u64, of: u64) -> Duration {
    let nanos = at.elapsed_since_origin().as_nanos() * u128::from(by) / u128::from(of);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
