use std::cmp::Reverse;

use aqueduct_core::{Instant, Parts};

use super::guard::{Suspects, Trial};
use super::machine::Tracker;
use super::slots::{NONE, State};

/// The output of a take, and how many more events it may hand out.
struct Out<F> {
    room: usize,
    give: F,
}

impl Tracker {
    /// Gives up to `max` deliverable events to `out`, in the order of the log; those that had to
    /// wait for their key come before those not visited yet. Returns their number.
    pub(crate) fn take(&mut self, max: usize, now: Instant, out: impl FnMut(Parts)) -> usize {
        let mut out = Out {
            room: max,
            give: out,
        };
        self.wake_due(now);
        match self.guard.trial {
            Some(Trial {
                suspects: Suspects::One(at),
                durable,
                ..
            }) => {
                if durable && self.load.in_flight == 0 && max > 0 {
                    self.hand_out(at, now, &mut out);
                }
            }
            _ => {
                self.ready.takes = self.ready.takes.wrapping_add(1);
                self.take_in_order(now, &mut out);
            }
        }
        max - out.room
    }

    /// Returns whether the restrictions after a crash allow handing out the event.
    fn is_open(&self, at: u32) -> bool {
        if !self.guard.is_up() {
            return true;
        }
        let slot = self.slots.at(at);
        self.guard.lets_out(slot.position, slot.troubled)
    }

    /// Returns the event that is next in order, past those that wait for another of their key.
    pub(super) fn peek(&mut self) -> Option<u32> {
        while self.ready.freed.is_empty()
            && let Some(at) = self.line.get(self.ready.cursor)
            && self.slots.at(at).before != NONE
        {
            self.ready.cursor += 1;
        }
        let freed = self.ready.freed.front().copied();
        freed.or_else(|| self.line.get(self.ready.cursor))
    }

    fn take_in_order(&mut self, now: Instant, out: &mut Out<impl FnMut(Parts)>) {
        while out.room > 0
            && let Some(&at) = self.ready.freed.front()
        {
            if !self.is_open(at) {
                return;
            }
            self.ready.freed.pop_front();
            self.hand_out_run(at, now, out);
        }
        while out.room > 0
            && let Some(at) = self.line.get(self.ready.cursor)
        {
            let slot = self.slots.at(at);
            let goes = match slot.before {
                NONE => true,
                before => {
                    let before = self.slots.at(before);
                    let is_run = before.state == State::Out && before.take == self.ready.takes;
                    is_run && !before.troubled && !slot.troubled
                }
            };
            if goes {
                if !self.is_open(at) {
                    return;
                }
                self.hand_out(at, now, out);
            }
            self.ready.cursor += 1;
        }
    }

    fn hand_out_run(&mut self, at: u32, now: Instant, out: &mut Out<impl FnMut(Parts)>) {
        self.hand_out(at, now, out);
        let first = self.slots.at(at);
        if first.troubled {
            return;
        }
        let mut next = first.behind;
        while next != NONE && out.room > 0 {
            let slot = self.slots.at(next);
            let waits = slot.state == State::Waiting && slot.sequence < self.ready.cursor;
            if !waits || slot.troubled || !self.is_open(next) {
                return;
            }
            let at = next;
            next = slot.behind;
            self.hand_out(at, now, out);
        }
    }

    #[inline]
    fn hand_out(&mut self, at: u32, now: Instant, out: &mut Out<impl FnMut(Parts)>) {
        let slot = self.slots.at_mut(at);
        slot.state = State::Out;
        slot.round = slot.round.wrapping_add(1);
        slot.take = self.ready.takes;
        slot.first_out.get_or_insert(now);
        let (position, stored_at) = (slot.position, slot.stored_at);
        let (ticket, attempt) = (slot.ticket(at), slot.failed.saturating_add(1));
        let is_first = slot.before == NONE;
        self.load.in_flight += 1;
        if self.floor.handed_out < Some(position) {
            self.floor.handed_out = Some(position);
        }
        let event = self.slots.event_mut(at);
        let event = if is_first {
            event.take()
        } else {
            event.clone()
        };
        if let Some(event) = event {
            let mut parts = Parts::new(event, ticket);
            parts.position = Some(position);
            parts.attempt = attempt;
            parts.stored_at = stored_at;
            out.room -= 1;
            (out.give)(parts);
        }
    }

    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some(Reverse((due, _, at))) = self.ready.retries.peek().copied()
            && due <= now
        {
            self.ready.retries.pop();
            let slot = self.slots.at_mut(at);
            slot.state = State::Waiting;
            if slot.before == NONE {
                self.ready.freed.push_back(at);
            }
        }
    }
}
