use std::time::Duration;

use aqueduct_core::{Error, Instant, Retry};

/// How long failures that can be retried last before they are returned to the application: longer
/// than a failover of the service, shorter than a person waits.
const LASTING: Duration = Duration::from_secs(10);

/// The failures of one operation since it last succeeded.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    count: u32,
    since: Option<Instant>,
    last: Option<Error>,
    /// The last failure was not returned to the application yet.
    unreported: bool,
    /// No warning before.
    quiet_until: Instant,
}

impl Failures {
    pub(super) fn succeeded(&mut self) {
        *self = Self {
            quiet_until: self.quiet_until,
            ..Self::default()
        };
    }

    pub(super) fn failed(&mut self, error: Error, now: Instant) {
        self.count = self.count.saturating_add(1);
        self.since.get_or_insert(now);
        self.unreported = true;
        self.last = Some(error);
    }

    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Returns the last error if retrying does not mend it, or has not for a while.
    pub(super) fn lasting(&self, now: Instant) -> Option<&Error> {
        let last = self.last.as_ref()?;
        let long = self.since.is_some_and(|since| now >= since + LASTING);
        let hint = matches!(last.retry(), Retry::After(hint) if hint >= LASTING);
        (long || hint || !last.is_retryable()).then_some(last)
    }

    /// Returns each lasting failure once.
    pub(super) fn take_lasting(&mut self, now: Instant) -> Option<Error> {
        if !self.unreported {
            return None;
        }
        let error = self.lasting(now)?.clone();
        self.unreported = false;
        Some(error)
    }

    /// Returns whether to warn: at the first failure and once a minute.
    pub(super) fn take_warning(&mut self, now: Instant) -> bool {
        let due = self.last.is_some() && now >= self.quiet_until;
        if due {
            self.quiet_until = now + Duration::from_secs(60);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::after_origin(Duration::from_secs(seconds))
    }

    #[test]
    fn a_short_failure_stays_inside_and_a_lasting_one_is_returned() {
        let mut failures = Failures::default();
        let short = || Error::new(ErrorKind::Unavailable, "busy");
        failures.failed(short(), at(1));
        assert!(failures.take_warning(at(1)) && !failures.take_warning(at(2)));
        assert!(failures.take_lasting(at(2)).is_none());
        failures.failed(short(), at(12));
        assert!(failures.take_lasting(at(12)).is_some());
        assert!(failures.take_lasting(at(13)).is_none(), "each once");
        assert_eq!(failures.since(), Some(at(1)));
        failures.succeeded();
        assert_eq!((failures.since(), failures.count()), (None, 0));
        failures.failed(Error::new(ErrorKind::Denied, "no"), at(14));
        assert!(failures.take_lasting(at(14)).is_some());
    }
}
