use std::time::Duration;

use aqueduct_core::Instant;

/// Lease writes that may come before their time: marks and announcements after a crash.
///
/// Each assignment starts with [`CRASH_WRITES`](crate::cost::CRASH_WRITES); one comes back per
/// commit interval. An event that keeps failing therefore costs no more in isolation mode than a
/// busy partition costs anyway.
#[derive(Debug)]
pub(super) struct Allowance {
    left: u32,
    /// When the next one comes back.
    next: Instant,
}

impl Allowance {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            left: crate::cost::CRASH_WRITES,
            next: now,
        }
    }

    /// Returns whether `writes` are allowed now.
    pub(super) fn allows(&mut self, writes: u32, every: Duration, now: Instant) -> bool {
        if self.left == crate::cost::CRASH_WRITES {
            self.next = now + every;
        }
        while now >= self.next && self.left < crate::cost::CRASH_WRITES {
            self.left += 1;
            self.next = self.next + every;
        }
        self.left >= writes
    }

    pub(super) fn spend(&mut self) {
        self.left = self.left.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cost::CRASH_WRITES;

    #[test]
    fn after_the_first_writes_one_comes_back_per_interval() {
        let every = Duration::from_secs(5);
        let at = |seconds| Instant::after_origin(Duration::from_secs(seconds));
        let mut allowance = Allowance::new(at(0));
        let mut writes = 0;
        for now in (0..3_600).map(at) {
            while allowance.allows(1, every, now) {
                allowance.spend();
                writes += 1;
            }
        }
        assert!(writes <= CRASH_WRITES + 3_600 / 5, "{writes}");
        assert!(writes >= 3_600 / 5, "{writes}");
    }
}
