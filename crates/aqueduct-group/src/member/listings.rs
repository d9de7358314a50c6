use std::time::Duration;

use aqueduct_core::Instant;

use super::Rng;
use super::health::{Call, Health};

/// When partitions and leases are listed.
#[derive(Debug)]
pub(super) struct Listings {
    /// When the listing in progress was sent.
    pub(super) under_way: Option<Instant>,
    pub(super) next: Instant,
    /// When the last listing succeeded.
    pub(super) last: Option<Instant>,
    pub(super) failures: u32,
    pub(super) health: Health,
}

impl Listings {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            under_way: None,
            next: now,
            last: None,
            failures: 0,
            health: Health::default(),
        }
    }

    /// Returns whether a listing is due, and notes it as sent.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let due = self.under_way.is_none() && now >= self.next;
        if due {
            self.under_way = Some(now);
        }
        due
    }

    /// Notes a failed listing: again after a back-off, within a quarter of a lease ttl.
    pub(super) fn failed(&mut self, ttl: Duration, now: Instant, rng: &mut Rng) {
        self.health.failed(Call::Listing, now);
        let ceiling = Duration::from_millis(200)
            .saturating_mul(1 << self.failures.min(16))
            .min(ttl / 4);
        self.failures += 1;
        self.next = now + rng.percent_of(ceiling, 50, 100);
    }

    /// Notes a listing: again after half a lease ttl, with jitter (rule 6). Returns for how long
    /// this member may not have reached the store.
    pub(super) fn succeeded(&mut self, ttl: Duration, now: Instant, rng: &mut Rng) -> Duration {
        // A failed listing may have been out of reach since the one before it.
        let blind = self.last.map_or(Duration::ZERO, |last| now.since(last));
        let outage = match self.failures > 0 || blind > ttl * 3 / 4 {
            true => blind,
            false => Duration::ZERO,
        };
        self.health.succeeded(Call::Listing);
        self.failures = 0;
        self.last = Some(now);
        self.next = now + rng.percent_of(ttl / 2, 80, 120);
        outage
    }

    /// Lists again soon, though not in a loop.
    pub(super) fn hurry(&mut self, now: Instant) {
        let soonest = self
            .last
            .map_or(now, |last| last + Duration::from_millis(200));
        self.next = self.next.min(soonest.max(now));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(30);

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn an_outage_lasts_from_the_last_listing_that_succeeded() {
        let mut rng = Rng::new(1);
        let mut listings = Listings::new(at(0));
        assert!(listings.begin(at(0)) && !listings.begin(at(0)));
        listings.under_way = None;
        assert_eq!(listings.succeeded(TTL, at(0), &mut rng), Duration::ZERO);
        assert_eq!(listings.succeeded(TTL, at(15), &mut rng), Duration::ZERO);
        listings.failed(TTL, at(30), &mut rng);
        assert!(listings.next < at(31), "tried again soon");
        assert_eq!(
            listings.succeeded(TTL, at(31), &mut rng),
            Duration::from_secs(16)
        );
        assert_eq!(
            listings.succeeded(TTL, at(60), &mut rng),
            Duration::from_secs(29),
            "a process that stood still has not looked"
        );
    }

    #[test]
    fn hurrying_never_lists_in_a_loop() {
        let mut listings = Listings::new(at(0));
        listings.succeeded(TTL, at(10), &mut Rng::new(1));
        listings.hurry(at(10));
        assert_eq!(listings.next, at(10) + Duration::from_millis(200));
    }
}
