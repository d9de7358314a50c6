use std::task::Waker;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind};

use super::calls::Calls;
use super::closed;
use super::epochs::Epochs;
use super::lost::Lost;
use super::permits::{Permits, WaiterId};

/// The state of callers: their calls, their permits in the buffer, their flushes.
pub(super) struct Callers {
    pub(super) calls: Calls,
    pub(super) permits: Permits,
    pub(super) epochs: Epochs,
    /// The failures that no caller waits for, kept for `flush`.
    pub(super) lost: Lost,
    pub(super) wakes: Vec<Waker>,
    pub(super) stats: Stats,
    closed: bool,
}

/// Counts what happened since it was last read, for metrics.
#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) sent: u64,
    pub(crate) retried: u64,
    pub(crate) throttled: u64,
    pub(crate) failed: Vec<ErrorKind>,
    /// From acceptance to the last outcome, for each call that ended.
    pub(crate) latencies: Vec<Duration>,
}

impl Callers {
    pub(super) fn new(permits: Permits) -> Self {
        Self {
            calls: Calls::default(),
            permits,
            epochs: Epochs::default(),
            lost: Lost::default(),
            wakes: Vec::new(),
            stats: Stats::default(),
            closed: false,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes permits, or a place in the line.
    pub(super) fn reserve(
        &mut self,
        events: usize,
        bytes: usize,
    ) -> Result<Option<WaiterId>, Error> {
        if self.closed {
            return Err(closed());
        }
        Ok(self.permits.take(events, bytes))
    }

    /// Returns whether the waiter has its permits. After an error, or `true`, it has left the line.
    pub(super) fn poll_reserve(&mut self, id: WaiterId, waker: &Waker) -> Result<bool, Error> {
        if self.closed {
            self.cancel_reserve(id);
            return Err(closed());
        }
        Ok(self.permits.poll(id, waker))
    }

    pub(super) fn cancel_reserve(&mut self, id: WaiterId) {
        self.permits.leave(id, &mut self.wakes);
    }

    /// Returns the permits of events whose outcomes are known, or that were not accepted.
    pub(super) fn free(&mut self, events: usize, bytes: usize) {
        self.permits.free(events, bytes, &mut self.wakes);
    }

    /// Notes that events of that epoch have their outcomes.
    pub(super) fn leave(&mut self, epoch: u64, events: usize) {
        self.epochs.leave(epoch, events, &mut self.wakes);
    }

    /// Accepts nothing more; those in the line learn of it.
    pub(super) fn close(&mut self) {
        self.closed = true;
        self.permits.wake_all(&mut self.wakes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_refuses_those_in_the_line_and_those_that_come() {
        let mut callers = Callers::new(Permits::new(1, 100));
        assert!(matches!(callers.reserve(1, 1), Ok(None)));
        let waiter = callers.reserve(1, 1).unwrap().unwrap();
        assert!(!callers.poll_reserve(waiter, Waker::noop()).unwrap());
        callers.close();
        assert_eq!(callers.wakes.len(), 1);
        let refused = callers.poll_reserve(waiter, Waker::noop()).unwrap_err();
        assert!(refused.is(ErrorKind::Closed));
        assert!(callers.reserve(1, 1).is_err());
        callers.free(1, 1);
        assert_eq!(callers.permits.events(), 0);
    }
}
