use std::collections::VecDeque;
use std::task::Waker;

/// Counts the events without an outcome by the flush that waits for them.
#[derive(Default)]
pub(super) struct Epochs {
    first: u64,
    outstanding: VecDeque<usize>,
    waiters: Vec<Waker>,
}

impl Epochs {
    pub(super) fn enter(&mut self) -> u64 {
        self.enter_many(1)
    }

    pub(super) fn enter_many(&mut self, count: usize) -> u64 {
        if self.outstanding.is_empty() {
            self.outstanding.push_back(0);
        }
        let last = self.outstanding.len() - 1;
        self.outstanding[last] += count;
        self.first + last as u64
    }

    pub(super) fn leave(&mut self, epoch: u64, leaving: usize, wakes: &mut Vec<Waker>) {
        let Some(at) = epoch.checked_sub(self.first) else {
            return;
        };
        if let Some(count) = self.outstanding.get_mut(at as usize) {
            *count = count.saturating_sub(leaving);
        }
        // The last epoch stays: events still enter it.
        while self.outstanding.len() > 1 && self.outstanding[0] == 0 {
            self.outstanding.pop_front();
            self.first += 1;
        }
        if !self.waiters.is_empty() {
            wakes.append(&mut self.waiters);
        }
    }

    /// Ends the current epoch and returns it. Nothing new is sealed while no event came since the
    /// last time, so that flushes begun in a loop cost nothing.
    pub(super) fn seal(&mut self) -> u64 {
        if self.outstanding.is_empty() {
            self.outstanding.push_back(0);
        }
        let sealed = self.outstanding.len() as u64 - 1;
        if sealed > 0 && self.outstanding.back() == Some(&0) {
            return self.first + sealed - 1;
        }
        let epoch = self.first + self.outstanding.len() as u64 - 1;
        self.outstanding.push_back(0);
        if self.outstanding[0] == 0 {
            self.outstanding.pop_front();
            self.first += 1;
        }
        epoch
    }

    pub(super) fn poll(&mut self, epoch: u64, waker: &Waker) -> bool {
        if epoch < self.first {
            return true;
        }
        // A flush that is polled again, as in a `select!` loop, waits once.
        if !self.waiters.iter().any(|known| known.will_wake(waker)) {
            self.waiters.push(waker.clone());
        }
        false
    }

    /// Returns whether a flush waits for an event.
    pub(super) fn is_awaited(&self) -> bool {
        self.outstanding.len() > 1
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Wake;

    use super::*;

    struct Noop;

    impl Wake for Noop {
        fn wake(self: Arc<Self>) {}
    }

    #[test]
    fn a_flush_polled_or_begun_again_waits_once() {
        let mut epochs = Epochs::default();
        let epoch = epochs.enter();
        let flush = epochs.seal();
        let waker = Waker::from(Arc::new(Noop));
        for _ in 0..1000 {
            let again = epochs.seal();
            assert!(!epochs.poll(again, &waker));
            assert!(!epochs.poll(flush, &waker));
        }
        assert_eq!((epochs.waiters.len(), epochs.outstanding.len()), (1, 2));
        let mut wakes = Vec::new();
        epochs.leave(epoch, 1, &mut wakes);
        assert_eq!(wakes.len(), 1);
        assert!(epochs.poll(flush, Waker::noop()) && !epochs.is_awaited());
    }

    #[test]
    fn a_flush_waits_for_what_was_accepted_before_it_alone() {
        let mut epochs = Epochs::default();
        let before = epochs.enter();
        let flush = epochs.seal();
        let after = epochs.enter();
        assert_ne!(before, after);
        let mut wakes = Vec::new();
        epochs.leave(after, 1, &mut wakes);
        assert!(!epochs.poll(flush, Waker::noop()));
        epochs.leave(before, 1, &mut wakes);
        assert!(epochs.poll(flush, Waker::noop()));
    }
}
