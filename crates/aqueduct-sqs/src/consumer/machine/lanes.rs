use std::collections::BTreeSet;

use aqueduct_core::{Instant, Parts, Revocation, SmallStr};

use super::held::{Held, State};
use super::{Arrival, LONGEST, Machine};

/// The messages of one group of an ordered queue.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) members: BTreeSet<u64>,
    head: Option<u64>,
}

impl Machine {
    /// Takes up to `max` of those that can be handed out.
    pub(in crate::consumer) fn take(&mut self, max: usize, now: Instant) -> Vec<Parts> {
        let mut taken = Vec::new();
        if self.paused || self.draining {
            return taken;
        }
        while taken.len() < max {
            let Some(first) = self.ready.first().copied() else {
                break;
            };
            let room = max - taken.len();
            let run = self.run_from(first, room);
            for id in run {
                match self.held.get(&id) {
                    // Its time is over: it goes, and with it what is behind.
                    Some(held) if held.visible_at <= now => {
                        self.expire(id, now);
                        break;
                    }
                    Some(_) => taken.extend(self.hand_out(id)),
                    None => break,
                }
            }
        }
        taken
    }

    /// Consecutive messages that can go out together.
    fn run_from(&self, first: u64, room: usize) -> Vec<u64> {
        let lane = self.held.get(&first).and_then(|held| self.lane_of(held));
        let Some(lane) = lane.and_then(|name| self.lanes.get(&name)) else {
            return vec![first];
        };
        let state = |id: &u64| self.held.get(id).map(|held| held.state);
        lane.members
            .range(first..)
            .copied()
            .filter(|id| state(id) != Some(State::Acked))
            .take_while(|id| state(id) == Some(State::Ready))
            .take(room)
            .collect()
    }

    fn hand_out(&mut self, id: u64) -> Option<Parts> {
        let ticket = self.number();
        let held = self.held.get_mut(&id)?;
        held.state = State::Out(ticket);
        let mut parts = Parts::new(held.arrival.event.clone(), ticket);
        parts.attempt = held.runs.saturating_add(1);
        parts.stored_at = held.arrival.stored_at;
        parts.deadline = Some(held.received_at + LONGEST);
        self.tickets.insert(ticket, id);
        self.index(id);
        Some(parts)
    }

    pub(super) fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    pub(super) fn hold(&mut self, arrival: Arrival, received_at: Instant, runs: u32, state: State) {
        let id = self.number();
        self.known.insert(arrival.message.clone(), id);
        self.bytes += arrival.bytes;
        let held = Held {
            received_at,
            visible_at: received_at + self.rules.visibility,
            runs,
            state,
            extending: false,
            extend_after: None,
            wanted: None,
            timer: Instant::default(),
            arrival,
        };
        if let Some(lane) = self.lane_of(&held) {
            self.lanes.entry(lane).or_default().members.insert(id);
        }
        self.held.insert(id, held);
        self.index(id);
        self.set_timer(id);
    }

    /// Forgets a message, whatever became of it.
    pub(super) fn remove(&mut self, id: u64) -> Option<Held> {
        let held = self.held.remove(&id)?;
        self.timers.remove(&(held.timer, id));
        self.known.remove(&held.arrival.message);
        self.ready.remove(&id);
        self.bytes = self.bytes.saturating_sub(held.arrival.bytes);
        if let State::Out(ticket) = held.state {
            self.tickets.remove(&ticket);
        }
        if let Some(name) = self.lane_of(&held) {
            if let Some(lane) = self.lanes.get_mut(&name) {
                lane.members.remove(&id);
            }
            self.index_lane(&name);
        }
        Some(held)
    }

    /// Those of the same lane that come behind.
    pub(super) fn behind(&self, id: u64) -> Vec<u64> {
        let lane = self.held.get(&id).and_then(|held| self.lane_of(held));
        lane.and_then(|name| self.lanes.get(&name))
            .map(|lane| lane.members.range(id + 1..).copied().collect())
            .unwrap_or_default()
    }

    /// Takes a delivery back from whoever has it.
    pub(super) fn take_back(&mut self, id: u64, why: Revocation) {
        if let Some(held) = self.held.get_mut(&id)
            && let State::Out(ticket) = held.state
        {
            held.state = State::Ready;
            self.tickets.remove(&ticket);
            self.revoked.insert(ticket, why);
            self.changed_rights = true;
            self.index(id);
        }
    }

    /// Notes what a changed state means for handing out.
    pub(super) fn index(&mut self, id: u64) {
        let Some(held) = self.held.get(&id) else {
            return;
        };
        match self.lane_of(held) {
            Some(name) => self.index_lane(&name),
            None if held.state == State::Ready => {
                self.ready.insert(id);
            }
            None => {
                self.ready.remove(&id);
            }
        }
    }

    fn lane_of(&self, held: &Held) -> Option<SmallStr> {
        let arrival = &held.arrival;
        let name = arrival.group.as_ref().unwrap_or(&arrival.message);
        self.rules.ordered.then(|| name.clone())
    }

    fn index_lane(&mut self, name: &SmallStr) {
        let Some(lane) = self.lanes.get_mut(name) else {
            return;
        };
        let mut head = None;
        for id in &lane.members {
            match self.held.get(id).map(|held| held.state) {
                Some(State::Acked) | None => {}
                Some(State::Out(_)) => {
                    head = None;
                    break;
                }
                Some(State::Ready) if head.is_none() => head = Some((*id, true)),
                _ => head = head.or(Some((*id, false))),
            }
        }
        let head = head.and_then(|(id, ready)| ready.then_some(id));
        if let Some(old) = std::mem::replace(&mut lane.head, head) {
            self.ready.remove(&old);
        }
        self.ready.extend(head);
        if lane.members.is_empty() {
            self.lanes.remove(name);
        }
    }
}
