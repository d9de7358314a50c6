use std::collections::VecDeque;

use aqueduct_core::{Event, Instant, Position, Timestamp};

/// No slot, no key.
pub(super) const NONE: u32 = u32::MAX;

/// The state of an event that is not settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The slot holds no event.
    Free,
    /// Deliverable, once nothing before it is in the way.
    Waiting,
    /// With a receiver.
    Out,
    /// It failed or was deferred, and comes again at its time.
    Retry,
}

/// The state of one event from the reader to its settlement; the event itself lies beside it.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) position: Position,
    /// The position of the record before it: the ack floor, once all before it is settled.
    pub(super) previous: Position,
    pub(super) stored_at: Option<Timestamp>,
    pub(super) first_out: Option<Instant>,
    /// Its place in the line.
    pub(super) sequence: u64,
    pub(super) bytes: usize,
    pub(super) key: u32,
    /// The unsettled events of its key before and behind it.
    pub(super) before: u32,
    pub(super) behind: u32,
    /// Distinguishes this hand-out from earlier ones and from earlier uses of the slot.
    pub(super) round: u32,
    /// The take that handed it out last.
    pub(super) take: u32,
    pub(super) failed: u32,
    pub(super) state: State,
    /// It failed or was deferred before: it runs alone, and holds back those behind it.
    pub(super) troubled: bool,
}

impl Slot {
    pub(super) fn ticket(&self, at: u32) -> u64 {
        u64::from(self.round) << 32 | u64::from(at)
    }
}

/// The slots of all events that are not settled; freed ones are used again.
#[derive(Debug)]
pub(super) struct Slots {
    all: Vec<Slot>,
    /// Stored apart from the slots, so that work on these touches little memory. `None` while the
    /// first of its key, or an event without one, is with a receiver: nothing can supersede it
    /// there, and its settlement returns it.
    events: Vec<Option<Event>>,
    free: u32,
    held: usize,
}

impl Slots {
    pub(super) const fn new() -> Self {
        Self {
            all: Vec::new(),
            events: Vec::new(),
            free: NONE,
            held: 0,
        }
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Reserves room for that many more, so that no later push allocates.
    pub(super) fn reserve(&mut self, more: usize) {
        let more = (self.held + more).saturating_sub(self.all.len());
        self.all.reserve(more);
        self.events.reserve(more);
    }

    /// Keeps an event at the first position, read after the second one.
    #[inline(always)]
    pub(super) fn insert(
        &mut self,
        event: Event,
        [position, previous]: [Position; 2],
        stored_at: Option<Timestamp>,
        sequence: u64,
    ) -> u32 {
        self.held += 1;
        let mut slot = Slot {
            position,
            previous,
            stored_at,
            first_out: None,
            sequence,
            bytes: event.approximate_size(),
            key: NONE,
            before: NONE,
            behind: NONE,
            round: 0,
            take: 0,
            failed: 0,
            state: State::Waiting,
            troubled: false,
        };
        if self.free == NONE {
            self.all.push(slot);
            self.events.push(Some(event));
            return (self.all.len() - 1) as u32;
        }
        let at = self.free;
        let place = &mut self.all[at as usize];
        self.free = place.behind;
        slot.round = place.round;
        *place = slot;
        self.events[at as usize] = Some(event);
        at
    }

    #[inline]
    pub(super) fn event_mut(&mut self, at: u32) -> &mut Option<Event> {
        &mut self.events[at as usize]
    }

    #[inline]
    pub(super) fn remove(&mut self, at: u32) {
        let free = self.free;
        self.events[at as usize] = None;
        let slot = self.at_mut(at);
        slot.state = State::Free;
        slot.behind = free;
        self.free = at;
        self.held -= 1;
    }

    #[inline]
    pub(super) fn at(&self, at: u32) -> &Slot {
        &self.all[at as usize]
    }

    #[inline]
    pub(super) fn at_mut(&mut self, at: u32) -> &mut Slot {
        &mut self.all[at as usize]
    }

    /// Returns the slot handed out with that ticket, while it is with that receiver.
    #[inline]
    pub(super) fn out(&self, ticket: u64) -> Option<u32> {
        let at = ticket as u32;
        let slot = self.all.get(at as usize)?;
        (slot.state == State::Out && slot.round == (ticket >> 32) as u32).then_some(at)
    }
}

/// The events from the ack floor on, in the order of their positions: a slot each, or four bytes
/// for one that is settled while another before it is not.
#[derive(Debug)]
pub(super) struct Line {
    ring: VecDeque<u32>,
    base: u64,
}

impl Line {
    pub(super) const fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            base: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }

    pub(super) fn reserve(&mut self, more: usize) {
        self.ring.reserve(more);
    }

    /// Returns the sequence of the next event.
    pub(super) fn end(&self) -> u64 {
        self.base + self.ring.len() as u64
    }

    #[inline]
    pub(super) fn push(&mut self, at: u32) {
        self.ring.push_back(at);
    }

    #[inline]
    pub(super) fn get(&self, sequence: u64) -> Option<u32> {
        self.ring.get((sequence - self.base) as usize).copied()
    }

    pub(super) fn first(&self) -> Option<u32> {
        self.ring.front().copied()
    }

    /// Returns the unsettled slots, in order.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = u32> {
        self.ring.iter().copied().filter(|at| *at != NONE)
    }

    /// Notes that one is settled; returns whether the line begins further on now.
    #[inline]
    pub(super) fn settle(&mut self, sequence: u64) -> bool {
        if sequence != self.base {
            self.ring[(sequence - self.base) as usize] = NONE;
            return false;
        }
        self.ring.pop_front();
        self.base += 1;
        while self.ring.front() == Some(&NONE) {
            self.ring.pop_front();
            self.base += 1;
        }
        true
    }
}
