use std::collections::VecDeque;
use std::time::Duration;

use aqueduct_core::{Error, Instant};

use super::failures::Failures;

/// How long handled messages wait for others of their batch, while handlers run: a fraction of a
/// request's time.
const LINGER: Duration = Duration::from_millis(10);

/// The most requests at once.
const REQUESTS: usize = 8;

/// The handled messages that the service has to be told of.
#[derive(Debug, Default)]
pub(super) struct Acks {
    waiting: VecDeque<u64>,
    oldest: Option<Instant>,
    /// No request before, after a failure.
    after: Instant,
    under_way: usize,
    /// Send incomplete batches at once.
    hurry: bool,
    /// Handled messages whose lease ended first, since the last flush.
    lost: u64,
    pub(super) failures: Failures,
}

impl Acks {
    pub(super) fn push(&mut self, message: u64, now: Instant) {
        self.waiting.push_back(message);
        self.oldest.get_or_insert(now);
    }

    /// Queues a message again unless it is queued.
    pub(super) fn push_again(&mut self, message: u64, now: Instant) {
        if !self.waiting.contains(&message) {
            self.push(message, now);
        }
    }

    pub(super) fn hurry(&mut self, hurry: bool) {
        self.hurry = hurry;
    }

    /// Returns whether to send a batch now.
    pub(super) fn is_due(&self, batch: usize, are_out: bool, now: Instant) -> bool {
        let Some(oldest) = self.oldest else {
            return false;
        };
        let ripe = self.hurry || !are_out || self.waiting.len() >= batch || now >= oldest + LINGER;
        ripe && now >= self.after && self.under_way < REQUESTS
    }

    /// Returns when a batch is due.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.oldest
            .filter(|_| self.under_way < REQUESTS)
            .map(|oldest| (oldest + LINGER).max(self.after))
    }

    /// Takes the next message of a batch.
    pub(super) fn pop(&mut self) -> Option<u64> {
        let message = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.oldest = None;
        }
        message
    }

    pub(super) fn started(&mut self) {
        self.under_way += 1;
    }

    /// Notes the end of a request, with the error of an outcome that failed.
    pub(super) fn ended(&mut self, failure: Option<Error>, now: Instant) {
        self.under_way = self.under_way.saturating_sub(1);
        match failure {
            None => self.failures.succeeded(),
            Some(error) => {
                self.failures.failed(error, now);
                self.after = now + Duration::from_millis(50 << self.failures.count().min(6));
            }
        }
    }

    pub(super) fn lose(&mut self) {
        self.lost += 1;
    }

    /// Returns how many handled messages were lost since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way == 0
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ErrorKind;

    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::after_origin(Duration::from_millis(millis))
    }

    #[test]
    fn a_batch_waits_for_others_only_while_handlers_run() {
        let mut acks = Acks::default();
        acks.push(1, at(0));
        assert!(!acks.is_due(10, true, at(9)) && acks.is_due(10, true, at(10)));
        assert!(acks.is_due(10, false, at(0)));
        assert_eq!(acks.wake(), Some(at(10)));
        assert_eq!((acks.pop(), acks.pop()), (Some(1), None));
        acks.started();
        assert!(!acks.is_empty());
        acks.ended(Some(Error::new(ErrorKind::Denied, "no")), at(20));
        acks.push_again(1, at(20));
        acks.push_again(1, at(20));
        assert!(!acks.is_due(10, false, at(100)) && acks.is_due(10, false, at(120)));
        assert_eq!((acks.pop(), acks.pop()), (Some(1), None));
    }
}
