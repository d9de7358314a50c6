use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use event_listener::{Event as Signal, EventListener};

use crate::driver::lock;

/// Lets one event of a process run alone.
///
/// After crashes a group runs suspected events alone, so that a death counts against the right one.
/// Handlers of other groups and streams in the process would make that a guess: give every group of
/// a process the same gate. While one member holds it, the others hand out nothing.
#[derive(Debug, Default)]
pub struct IsolationGate {
    held: AtomicBool,
    state: Mutex<State>,
    changed: Signal,
}

#[derive(Debug, Default)]
struct State {
    holder: Option<u64>,
    /// Rises each time the gate is taken.
    turn: u64,
    ids: u64,
    /// The last turn for which each member reported that no delivery of it is out.
    quiet: BTreeMap<u64, u64>,
}

/// The place of one member at a gate; leaves it when dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    gate: Arc<IsolationGate>,
    id: u64,
}

impl IsolationGate {
    /// Creates a gate that no member holds.
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn join(self: &Arc<Self>) -> Seat {
        let mut state = lock(&self.state);
        state.ids += 1;
        let id = state.ids;
        state.quiet.insert(id, 0);
        let gate = self.clone();
        Seat { gate, id }
    }

    fn set_holder(&self, state: &mut State, holder: Option<u64>) {
        state.holder = holder;
        state.turn += u64::from(holder.is_some());
        self.held.store(holder.is_some(), Ordering::SeqCst);
        self.changed.notify(usize::MAX);
    }
}

impl Seat {
    /// Asks for the gate; returns whether this member holds it and every other one is quiet.
    pub(crate) fn request(&self) -> bool {
        let mut state = lock(&self.gate.state);
        match state.holder {
            None => self.gate.set_holder(&mut state, Some(self.id)),
            Some(holder) if holder != self.id => return false,
            Some(_) => {}
        }
        let turn = state.turn;
        let mut others = state.quiet.iter().filter(|(id, _)| **id != self.id);
        others.all(|(_, quiet)| *quiet == turn)
    }

    pub(crate) fn release(&self) {
        let mut state = lock(&self.gate.state);
        if state.holder == Some(self.id) {
            self.gate.set_holder(&mut state, None);
        }
    }

    /// Returns whether any member holds the gate. Look after taking the lock of what is handed out:
    /// then no event is handed out after the member has reported that it is quiet.
    pub(crate) fn is_held(&self) -> bool {
        self.gate.held.load(Ordering::SeqCst)
    }

    /// Returns whether another member holds the gate and waits for this one.
    pub(crate) fn is_waited_for(&self) -> bool {
        if !self.is_held() {
            return false;
        }
        let state = lock(&self.gate.state);
        let by_other = state.holder.is_some_and(|holder| holder != self.id);
        by_other && state.quiet.get(&self.id) != Some(&state.turn)
    }

    /// Reports that no delivery of this member is out.
    pub(crate) fn be_quiet(&self) {
        let mut state = lock(&self.gate.state);
        let turn = state.turn;
        state.quiet.insert(self.id, turn);
        drop(state);
        self.gate.changed.notify(usize::MAX);
    }

    /// Wakes when the gate changes hands, or a member became quiet.
    pub(crate) fn changed(&self) -> EventListener {
        self.gate.changed.listen()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = lock(&self.gate.state);
        state.quiet.remove(&self.id);
        if state.holder == Some(self.id) {
            self.gate.set_holder(&mut state, None);
        }
        drop(state);
        // The holder may have waited only for this member.
        self.gate.changed.notify(usize::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_member_at_a_time_once_the_others_are_quiet() {
        let gate = Arc::new(IsolationGate::new());
        let (one, other) = (gate.join(), gate.join());
        assert!(!one.request() && one.is_held());
        assert!(!other.request() && other.is_waited_for());
        other.be_quiet();
        assert!(one.request() && !other.is_waited_for());
        one.release();
        assert!(!one.is_held() && !other.request());
        assert!(one.is_waited_for(), "quiet once is not quiet for ever");
    }

    #[test]
    fn a_member_that_is_gone_neither_holds_nor_delays() {
        let gate = Arc::new(IsolationGate::new());
        let (one, other) = (gate.join(), gate.join());
        assert!(!one.request());
        drop(other);
        assert!(one.request());
        let next = gate.join();
        drop(one);
        assert!(!next.is_held() && next.request());
    }
}
