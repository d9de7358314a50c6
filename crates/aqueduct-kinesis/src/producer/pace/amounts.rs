use std::time::Duration;

use aqueduct_core::Instant;

use super::LIMIT;

/// What was sent in the last second, in slots.
#[derive(Debug)]
pub(super) struct Recent {
    slots: [[f64; 2]; SLOTS],
    pub(super) sum: [f64; 2],
    /// The slot that is being counted.
    now: u64,
    /// How many slots at the old end are not counted any more.
    early: usize,
}

/// A second and the slot that is being counted.
const SLOTS: usize = 51;
const SLOT_MILLIS: u64 = 20;

impl Default for Recent {
    fn default() -> Self {
        Self {
            slots: [[0.0; 2]; SLOTS],
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
            self.slots = [[0.0; 2]; SLOTS];
        }
        for slot in (self.now + 1..=now).take(SLOTS) {
            self.slots[slot as usize % SLOTS] = [0.0; 2];
        }
        self.now = now;
        self.add_up();
    }

    /// Counts that much less than a second.
    pub(super) fn shorten(&mut self, by: Duration) {
        let early = (by.as_millis() as u64 / SLOT_MILLIS) as usize;
        self.early = early.min(SLOTS / 2);
    }

    fn add_up(&mut self) {
        let counted = (SLOTS - self.early) as u64;
        let oldest = (self.now + 1).saturating_sub(counted);
        self.sum = [0.0; 2];
        for slot in oldest..=self.now {
            let [bytes, records] = self.slots[slot as usize % SLOTS];
            self.sum[0] += bytes;
            self.sum[1] += records;
        }
    }

    pub(super) fn spend(&mut self, amount: [f64; 2]) {
        let at = self.now as usize % SLOTS;
        for (of, amount) in amount.into_iter().enumerate() {
            self.slots[at][of] += amount;
            self.sum[of] += amount;
        }
    }
}

/// Bytes and records saved up at a rate.
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
