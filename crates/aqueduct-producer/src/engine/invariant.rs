//! The invariant of the machine: every event that waits has something that will come for it.

use std::collections::BTreeMap;

use super::Engine;
use super::key_queue::Hold;
use super::lanes::Waiting;
use super::pending::Work;
use super::store::Ticket;
use super::timers::Timer;

impl Engine {
    /// Describes where events wait.
    pub(super) fn describe(&self) -> String {
        format!(
            "backlog {}, runnable {:?}, timers {:?}, deadline {:?}, waiting since {:?}, requests {}",
            self.pending.backlog.len(),
            self.pending.runnable,
            self.timers,
            self.pending.deadlines.next(),
            self.pending.since(),
            self.requests.len(),
        )
    }

    /// Checks that each stored event is in the backlog, runnable, in the queue of its key, in a lane
    /// or under a timer, exactly once, and that each of these places is visited without a further
    /// call.
    pub(super) fn check(&self) {
        let mut places = BTreeMap::<Ticket, Vec<&'static str>>::new();
        let mut put = |ticket, place| places.entry(ticket).or_default().push(place);
        for ticket in self.pending.backlog.tickets() {
            put(ticket, "backlog");
        }
        for work in &self.pending.runnable {
            if let Work::Event(ticket) = work {
                put(*ticket, "runnable");
            }
        }
        for (_, timer) in self.timers.iter() {
            if let Timer::Event(ticket) = timer {
                put(ticket, "timer");
            }
        }
        for (_, state) in self.lanes.iter() {
            for waiting in &state.waiting {
                if let Waiting::Event(ticket) = waiting {
                    put(*ticket, "lane");
                }
            }
        }
        for (_, queue) in self.keys.iter() {
            for ticket in queue.parked.iter().chain(&queue.again) {
                put(*ticket, "key");
            }
        }
        let stored = self.pending.store.tickets();
        assert_eq!(places.keys().copied().collect::<Vec<_>>(), stored);
        assert!(places.values().all(|it| it.len() == 1), "{places:?}");
        self.check_keys();
        self.check_lanes();
        let waits = !stored.is_empty() || !self.pending.backlog.is_empty();
        assert!(
            !waits || self.pending.deadlines.next().is_some(),
            "no deadline is watched"
        );
    }

    fn check_keys(&self) {
        for (id, queue) in self.keys.iter() {
            if queue.parked.is_empty() {
                continue;
            }
            let visited = match queue.hold {
                Hold::None => false,
                Hold::Runnable => {
                    let mut works = self.pending.runnable.iter();
                    works.any(|work| matches!(work, Work::Key(it) if *it == id))
                }
                Hold::InFlight(request) => self.requests.iter().any(|it| it.id == request),
                Hold::Until(at) => {
                    let mut timers = self.timers.iter();
                    timers.any(|(when, it)| when >= at && matches!(it, Timer::Key(it) if it == id))
                }
                Hold::Lane(lane) => self.lanes.iter().any(|(it, state)| {
                    let mut waiting = state.waiting.iter();
                    it == lane && waiting.any(|it| matches!(it, Waiting::Key(it) if *it == id))
                }),
            };
            assert!(visited, "nothing comes for key {id}: {queue:?}");
        }
    }

    fn check_lanes(&self) {
        for (lane, state) in self.lanes.iter() {
            let carried = self.requests.iter().flat_map(|request| &request.metas);
            let carried = carried.filter(|meta| meta.limited == Some(lane)).count();
            assert!(state.in_flight <= carried, "places of {lane:?} are lost");
            if state.waiting.is_empty() {
                continue;
            }
            let paused = state.paused_until.is_some()
                && self
                    .timers
                    .iter()
                    .any(|(_, it)| matches!(it, Timer::Lane(it) if it == lane));
            let turn = self
                .pending
                .runnable
                .iter()
                .any(|it| matches!(it, Work::Lane(it) if *it == lane));
            assert!(paused || turn || carried > 0, "nothing comes for {lane:?}");
        }
    }
}
