use std::collections::VecDeque;
use std::task::Waker;

/// The permits of the bounded buffer, first come, first served. (Rule 10)
pub(super) struct Permits {
    max_events: usize,
    max_bytes: usize,
    events: usize,
    bytes: usize,
    waiters: VecDeque<Waiter>,
    next: WaiterId,
}

pub(crate) type WaiterId = u64;

struct Waiter {
    id: WaiterId,
    events: usize,
    bytes: usize,
    waker: Option<Waker>,
    granted: bool,
}

impl Permits {
    pub(super) fn new(max_events: usize, max_bytes: usize) -> Self {
        Self {
            max_events,
            max_bytes,
            events: 0,
            bytes: 0,
            waiters: VecDeque::new(),
            next: 0,
        }
    }

    pub(super) fn events(&self) -> usize {
        self.events
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes permits at once if there are enough and no caller waits; else takes a place in the line.
    pub(super) fn take(&mut self, events: usize, bytes: usize) -> Option<WaiterId> {
        if self.waiters.is_empty() && self.fits(events, bytes) {
            self.events += events;
            self.bytes += bytes;
            return None;
        }
        let id = self.next;
        self.next += 1;
        self.waiters.push_back(Waiter {
            id,
            events,
            bytes,
            waker: None,
            granted: false,
        });
        Some(id)
    }

    /// Takes permits for bytes even if there are not enough.
    pub(super) fn overdraw(&mut self, bytes: usize) {
        self.bytes += bytes;
    }

    /// Returns permits and grants them to waiting callers, in their order.
    pub(super) fn free(&mut self, events: usize, bytes: usize, wakes: &mut Vec<Waker>) {
        self.events = self.events.saturating_sub(events);
        self.bytes = self.bytes.saturating_sub(bytes);
        self.grant(wakes);
    }

    /// Returns whether the waiter has its permits; it has left the line then.
    pub(super) fn poll(&mut self, id: WaiterId, waker: &Waker) -> bool {
        let Some(at) = self.place(id) else {
            return true;
        };
        if self.waiters[at].granted {
            self.waiters.remove(at);
            return true;
        }
        self.waiters[at].waker = Some(waker.clone());
        false
    }

    /// Leaves the line and returns permits granted meanwhile.
    pub(super) fn leave(&mut self, id: WaiterId, wakes: &mut Vec<Waker>) {
        let Some(at) = self.place(id) else { return };
        let Some(waiter) = self.waiters.remove(at) else {
            return;
        };
        if waiter.granted {
            self.free(waiter.events, waiter.bytes, wakes);
        } else {
            self.grant(wakes);
        }
    }

    /// Wakes all waiters, which then see that the producer is closed.
    pub(super) fn wake_all(&mut self, wakes: &mut Vec<Waker>) {
        wakes.extend(self.waiters.iter_mut().filter_map(|it| it.waker.take()));
    }

    fn place(&self, id: WaiterId) -> Option<usize> {
        self.waiters.iter().position(|waiter| waiter.id == id)
    }

    fn fits(&self, events: usize, bytes: usize) -> bool {
        // An event larger than the whole buffer is let in alone: it would wait for ever otherwise.
        let alone = self.events == 0;
        alone || (self.events + events <= self.max_events && self.bytes + bytes <= self.max_bytes)
    }

    fn grant(&mut self, wakes: &mut Vec<Waker>) {
        for at in 0..self.waiters.len() {
            if self.waiters[at].granted {
                continue;
            }
            let (events, bytes) = (self.waiters[at].events, self.waiters[at].bytes);
            if !self.fits(events, bytes) {
                return;
            }
            self.events += events;
            self.bytes += bytes;
            let waiter = &mut self.waiters[at];
            waiter.granted = true;
            wakes.extend(waiter.waker.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_granted_in_the_order_of_asking() {
        let mut wakes = Vec::new();
        let mut permits = Permits::new(10, 1000);
        assert_eq!(permits.take(8, 0), None);
        let large = permits.take(5, 0).unwrap();
        let small = permits.take(1, 0).unwrap();
        let waker = Waker::noop();
        assert!(!permits.poll(small, waker), "a small one must not overtake");
        permits.free(3, 0, &mut wakes);
        assert!(permits.poll(large, waker));
        assert!(!permits.poll(small, waker));
        permits.free(8, 0, &mut wakes);
        assert!(permits.poll(small, waker));
        assert_eq!(permits.events(), 3);
    }

    #[test]
    fn a_waiter_that_leaves_gives_its_grant_back() {
        let mut wakes = Vec::new();
        let mut permits = Permits::new(2, 1000);
        assert_eq!(permits.take(2, 10), None);
        let first = permits.take(2, 10).unwrap();
        let second = permits.take(1, 10).unwrap();
        permits.free(2, 10, &mut wakes);
        permits.leave(first, &mut wakes);
        assert!(permits.poll(second, Waker::noop()));
        assert_eq!((permits.events(), permits.bytes()), (1, 10));
    }

    #[test]
    fn what_is_larger_than_the_buffer_goes_in_alone() {
        let mut permits = Permits::new(10, 100);
        assert_eq!(permits.take(1, 5000), None);
        assert!(permits.take(1, 1).is_some());
    }
}
