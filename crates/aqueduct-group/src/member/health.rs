use std::time::Duration;

use aqueduct_core::Instant;

/// Failures shorter than this are not an outage: one failed call is retried well within it.
const GRACE: Duration = Duration::from_secs(1);

/// When calls began to fail, by kind: renewals may succeed while listings are denied.
#[derive(Debug, Default)]
pub(super) struct Health {
    listing: Option<Instant>,
    rows: Option<Instant>,
}

/// The subject of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Listing,
    Row,
}

impl Health {
    pub(super) fn succeeded(&mut self, call: Call) {
        *self.since(call) = None;
    }

    pub(super) fn failed(&mut self, call: Call, now: Instant) {
        self.since(call).get_or_insert(now);
    }

    /// Returns when calls began to fail; `None` while they succeed or failed only just now.
    pub(super) fn unreachable_since(&self, now: Instant) -> Option<Instant> {
        let since = [self.listing, self.rows].into_iter().flatten().min();
        since.filter(|since| now.since(*since) >= GRACE)
    }

    fn since(&mut self, call: Call) -> &mut Option<Instant> {
        match call {
            Call::Listing => &mut self.listing,
            Call::Row => &mut self.rows,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(millis))
    }

    #[test]
    fn one_failure_is_no_outage_and_one_that_lasts_is() {
        let mut health = Health::default();
        health.failed(Call::Listing, at(0));
        assert_eq!(health.unreachable_since(at(200)), None);
        health.succeeded(Call::Row);
        health.failed(Call::Listing, at(200));
        assert_eq!(health.unreachable_since(at(2_000)), Some(at(0)));
        health.succeeded(Call::Listing);
        assert_eq!(health.unreachable_since(at(3_000)), None);
    }
}
