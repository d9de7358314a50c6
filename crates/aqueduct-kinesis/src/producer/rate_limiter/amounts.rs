use std::time::Duration;

use aqueduct_core::Instant;

use super::LIMIT;

/// Sums up the amounts of the last second, in slots of 20 ms.
#[derive(Debug)]
pub(super) struct Recent {
    scheduled: [[f64; 2]; SLOTS],
    pub(super) sum: [f64; 2],
    /// The current slot.
    now: u64,
    /// The number of oldest slots that are not counted.
    early: usize,
}

/// One second and the current slot.
const SLOTS: usize = 51;
const SLOT_MILLIS: u64 = 20;

impl Default for Recent {
    fn default() -> Self {
        Self {
            scheduled: [[0.0; 2]; SLOTS],
            sum: [0.0; 2],
            now: 0,
            early: 0,
        }
    }
}

impl Recent {
    pub(super) fn roll(&mut self, now: Instant) {
        let now = now.elapsed_since_origin().as_millis() as u64 / SLOT_MILLIS;
        if now <= self.now {
            return;
        }
        if now - self.now >= SLOTS as u64 {
            self.scheduled = [[0.0; 2]; SLOTS];
        }
        for scheduled in (self.now + 1..=now).take(SLOTS) {
            self.scheduled[scheduled as usize % SLOTS] = [0.0; 2];
        }
        self.now = now;
        self.add_up();
    }

    /// Counts that much less than a second from now on.
    pub(super) fn shorten(&mut self, by: Duration) {
        let early = (by.as_millis() as u64 / SLOT_MILLIS) as usize;
        self.early = early.min(SLOTS / 2);
    }

    fn add_up(&mut self) {
        let counts = (SLOTS - self.early) as u64;
        let oldest = (self.now + 1).saturating_sub(counts);
        self.sum = [0.0; 2];
        for scheduled in oldest..=self.now {
            let [bytes, records] = self.scheduled[scheduled as usize % SLOTS];
            self.sum[0] += bytes;
            self.sum[1] += records;
        }
    }

    pub(super) fn spend(&mut self, amount: [f64; 2]) {
        let at = self.now as usize % SLOTS;
        for (of, amount) in amount.into_iter().enumerate() {
            self.scheduled[at][of] += amount;
            self.sum[of] += amount;
        }
    }
}

/// A token bucket of bytes and records.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    pub(super) left: [f64; 2],
    at: Instant,
}

impl Bucket {
    pub(super) fn empty(now: Instant) -> Self {
        Self {
            left: [0.0; 2],
            at: now,
        }
    }

    pub(super) fn refill(&mut self, now: Instant, share: f64, most: [f64; 2]) {
        let passed = now.since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        for of in 0..2 {
            let filled = self.left[of] + passed * LIMIT[of] * share;
            self.left[of] = filled.min(most[of].max(self.left[of]));
        }
    }

    pub(super) fn has(&self, amount: [f64; 2]) -> bool {
        (0..2).all(|of| self.left[of] >= amount[of])
    }

    pub(super) fn spend(&mut self, amount: [f64; 2]) {
        for (left, amount) in self.left.iter_mut().zip(amount) {
            *left -= amount;
        }
    }
}
