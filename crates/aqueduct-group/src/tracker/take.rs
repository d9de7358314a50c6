use std::cmp::Reverse;

use aqueduct_core::{Instant, Parts, Position, StoredAttempts};

use super::machine::{Alone, Tracker};
use super::slots::{NONE, State};

/// Where a take puts what it hands out, and how many more it may.
struct Out<F> {
    room: usize,
    give: F,
}

impl Tracker {
    /// Gives what is deliverable now to `out`, up to `max`, in the order of the log; what had to
    /// wait for its key comes before what was not looked at yet. Answers how many those are.
    pub(crate) fn take(&mut self, max: usize, now: Instant, out: impl FnMut(Parts)) -> usize {
        let mut out = Out {
            room: max,
            give: out,
        };
        self.wake_due(now);
        if let Some(alone) = self.alone {
            if alone.durable && self.in_flight == 0 && max > 0 {
                self.hand_out(alone.at, now, &mut out);
            }
        } else {
            self.takes = self.takes.wrapping_add(1);
            self.take_in_order(now, &mut out);
        }
        max - out.room
    }

    /// Whether the next event runs alone and a commit of [`progress`](Self::progress), which marks
    /// it as started, must be durable before `take` hands it out. Ask only while a receiver waits:
    /// after a crash the mark counts as an attempt.
    pub(crate) fn mark_needed(&mut self, now: Instant) -> bool {
        if let Some(alone) = self.alone {
            return !alone.durable;
        }
        if self.isolated_until.is_none() || self.in_flight > 0 {
            return false;
        }
        self.wake_due(now);
        while self.freed.is_empty()
            && let Some(at) = self.line.get(self.cursor)
            && self.slots.at(at).before != NONE
        {
            self.cursor += 1;
        }
        let next = self.freed.front().copied();
        let Some(at) = next.or_else(|| self.line.get(self.cursor)) else {
            return false;
        };
        let slot = self.slots.at(at);
        if !self.is_cautious(slot.position) {
            return false;
        }
        let mark = StoredAttempts {
            position: slot.position,
            count: slot.failed.saturating_add(1),
            started: true,
        };
        if self.freed.pop_front().is_none() {
            self.cursor += 1;
        }
        self.alone = Some(Alone {
            at,
            mark,
            durable: false,
        });
        true
    }

    /// Takes back the choice of an event that was not handed out; the next commit says so.
    pub(crate) fn withdraw(&mut self) {
        if let Some(alone) = self
            .alone
            .take_if(|it| self.slots.at(it.at).state == State::Waiting)
        {
            self.freed.push_front(alone.at);
        }
    }

    fn is_cautious(&self, position: Position) -> bool {
        self.isolated_until.is_some_and(|until| position <= until)
    }

    /// Whether it may go without a mark or an announcement.
    fn is_open(&self, at: u32) -> bool {
        if self.isolated_until.is_none() && self.announce.is_none() {
            return true;
        }
        let position = self.slots.at(at).position;
        let announced = match self.announce {
            Some(announce) => announce.up_to.is_some_and(|up_to| position <= up_to),
            None => true,
        };
        announced && !self.is_cautious(position)
    }

    fn take_in_order(&mut self, now: Instant, out: &mut Out<impl FnMut(Parts)>) {
        while out.room > 0
            && let Some(&at) = self.freed.front()
        {
            if !self.is_open(at) {
                return;
            }
            self.freed.pop_front();
            self.hand_out_run(at, now, out);
        }
        while out.room > 0
            && let Some(at) = self.line.get(self.cursor)
        {
            let slot = self.slots.at(at);
            let goes = match slot.before {
                NONE => true,
                before => {
                    let before = self.slots.at(before);
                    let is_run = before.state == State::Out && before.take == self.takes;
                    is_run && !before.troubled && !slot.troubled
                }
            };
            if goes {
                if !self.is_open(at) {
                    return;
                }
                self.hand_out(at, now, out);
            }
            self.cursor += 1;
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
            let waits = slot.state == State::Waiting && slot.sequence < self.cursor;
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
        slot.take = self.takes;
        slot.first_out.get_or_insert(now);
        let (position, stored_at) = (slot.position, slot.stored_at);
        let (ticket, attempt) = (slot.ticket(at), slot.failed.saturating_add(1));
        let is_first = slot.before == NONE;
        self.in_flight += 1;
        if self.handed_out < Some(position) {
            self.handed_out = Some(position);
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

    fn wake_due(&mut self, now: Instant) {
        while let Some(Reverse((due, _, at))) = self.retries.peek().copied()
            && due <= now
        {
            self.retries.pop();
            let slot = self.slots.at_mut(at);
            slot.state = State::Waiting;
            if slot.before == NONE {
                self.freed.push_back(at);
            }
        }
    }
}
