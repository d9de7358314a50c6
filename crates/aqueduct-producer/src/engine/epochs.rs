use std::collections::VecDeque;
use std::task::Waker;

/// Counts outstanding events by the flush that has to wait for them.
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

    pub(super) fn leave(&mut self, epoch: u64, wakes: &mut Vec<Waker>) {
        self.leave_many(epoch, 1, wakes);
    }

    pub(super) fn leave_many(&mut self, epoch: u64, leaving: usize, wakes: &mut Vec<Waker>) {
        let Some(at) = epoch.checked_sub(self.first) else {
            return;
        };
        if let Some(count) = self.outstanding.get_mut(at as usize) {
            *count = count.saturating_sub(leaving);
        }
        // The last one stays: it is still being entered.
        while self.outstanding.len() > 1 && self.outstanding[0] == 0 {
            self.outstanding.pop_front();
            self.first += 1;
        }
        if !self.waiters.is_empty() {
            wakes.append(&mut self.waiters);
        }
    }

    pub(super) fn seal(&mut self) -> u64 {
        if self.outstanding.is_empty() {
            self.outstanding.push_back(0);
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
        self.waiters.push(waker.clone());
        false
    }

    /// Whether a flush waits for something.
    pub(super) fn is_awaited(&self) -> bool {
        self.outstanding.len() > 1
    }
}
