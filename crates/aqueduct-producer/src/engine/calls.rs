use std::task::Waker;

use aqueduct_core::{Event, Instant, Receipt, Result};

/// The calls that wait for outcomes, in reused slots.
#[derive(Default)]
pub(super) struct Calls {
    slots: Vec<Option<Call>>,
    free: Vec<CallId>,
}

pub(crate) type CallId = u32;

/// One call, with its outcomes by index, filled in as they come.
pub(super) struct Call {
    pub(super) outcomes: Vec<Result<Receipt>>,
    /// The failed events, given back with their index.
    pub(super) failed: Vec<(usize, Event)>,
    pub(super) remaining: usize,
    pub(super) submitted: Instant,
    pub(super) waker: Option<Waker>,
    /// Its caller has gone away.
    pub(super) abandoned: bool,
}

/// The result of a call.
pub(crate) struct Answer {
    /// One outcome per event, by index.
    pub(crate) outcomes: Vec<Result<Receipt>>,
    /// The failed events with their index.
    pub(crate) failed: Vec<(usize, Event)>,
}

impl Calls {
    /// Opens a call of `count` events.
    pub(super) fn open(&mut self, count: usize, now: Instant) -> CallId {
        // Every index is overwritten before it is read: `remaining` counts them down.
        let outcomes = (0..count).map(|_| Ok(Receipt::default())).collect();
        let call = Call {
            outcomes,
            failed: Vec::new(),
            remaining: count,
            submitted: now,
            waker: None,
            abandoned: false,
        };
        match self.free.pop() {
            Some(id) => {
                self.slots[id as usize] = Some(call);
                id
            }
            None => {
                self.slots.push(Some(call));
                (self.slots.len() - 1) as CallId
            }
        }
    }

    pub(super) fn get(&mut self, id: CallId) -> Option<&mut Call> {
        self.slots.get_mut(id as usize).and_then(Option::as_mut)
    }

    pub(super) fn remove(&mut self, id: CallId) -> Option<Call> {
        let call = self.slots.get_mut(id as usize).and_then(Option::take);
        if call.is_some() {
            self.free.push(id);
        }
        call
    }
}
