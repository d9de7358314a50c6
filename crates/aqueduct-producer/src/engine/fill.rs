use aqueduct_core::Instant;

use super::batch::Batch;
use super::deadline::too_late;
use super::key_queue::{Hold, KeyId};
use super::lanes::Waiting;
use super::pending::Work;
use super::store::Ticket;
use super::{Engine, LaneOf};

/// The result of offering an event to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// The event is in the batch, waits elsewhere, or has failed.
    Yes,
    /// The batch is full: the event stays where it was.
    Full,
}

impl Engine {
    /// Adds the waiting events of a key, as many as fit.
    pub(super) fn take_key(
        &mut self,
        now: Instant,
        id: KeyId,
        batch: &mut Batch,
        lane_of: LaneOf<'_>,
    ) {
        if self.keys[id].hold != Hold::Runnable {
            return;
        }
        let mut taken = 0;
        let mut late = None;
        let rest = loop {
            let queue = &mut self.keys[id];
            let Some(&ticket) = queue.parked.front() else {
                break Hold::None;
            };
            let meta = self.pending.store.meta(ticket);
            if meta.submitted + self.rules.deadline < now {
                queue.parked.pop_front();
                late = Some(ticket);
                break Hold::None;
            }
            if !batch.fits(meta.bytes, &self.rules) {
                batch.full = true;
                break Hold::Runnable;
            }
            if let Err(lane) = self.enter_lane(ticket, lane_of) {
                break Hold::Lane(lane);
            }
            let queue = &mut self.keys[id];
            queue.parked.pop_front();
            queue.in_flight += 1;
            taken += 1;
            batch.take(&mut self.pending.store, ticket, Some(id));
        };
        if taken > 0 {
            self.keys[id].hold = Hold::InFlight(batch.id);
        } else {
            self.keys[id].hold = rest;
            match rest {
                Hold::Runnable => self.pending.runnable.push_front(Work::Key(id)),
                Hold::Lane(lane) => self.wait_for_lane(lane, Waiting::Key(id)),
                _ => {}
            }
        }
        if let Some(ticket) = late {
            self.give_up_late(ticket);
        }
        self.tidy(id);
    }

    /// Adds an event of the backlog with a key, or puts it into the queue of its key.
    #[inline]
    pub(super) fn take_keyed(
        &mut self,
        now: Instant,
        ticket: Ticket,
        batch: &mut Batch,
        lane_of: LaneOf<'_>,
    ) -> Taken {
        let key = self
            .pending
            .store
            .event(ticket)
            .and_then(|event| event.key_text());
        let Some(key) = key else {
            return self.take_free(now, ticket, batch, lane_of);
        };
        let id = self.keys.of(key);
        let meta = self.pending.store.meta(ticket);
        let queue = &mut self.keys[id];
        if meta.seq < queue.block_below {
            self.fail_blocked(ticket);
            return Taken::Yes;
        }
        let goes_along = queue.hold == Hold::InFlight(batch.id) && queue.parked.is_empty();
        if queue.hold != Hold::None && !goes_along {
            queue.parked.push_back(ticket);
            return Taken::Yes;
        }
        if meta.submitted + self.rules.deadline < now {
            self.give_up_late(ticket);
            return Taken::Yes;
        }
        if !batch.fits(meta.bytes, &self.rules) {
            batch.full = true;
            self.tidy(id);
            return Taken::Full;
        }
        let entered = self.enter_lane(ticket, lane_of);
        let queue = &mut self.keys[id];
        if let Err(lane) = entered {
            queue.parked.push_back(ticket);
            if queue.hold == Hold::None {
                queue.hold = Hold::Lane(lane);
                self.wait_for_lane(lane, Waiting::Key(id));
            }
            return Taken::Yes;
        }
        queue.hold = Hold::InFlight(batch.id);
        queue.in_flight += 1;
        batch.take(&mut self.pending.store, ticket, Some(id));
        Taken::Yes
    }

    /// Adds an event without a key.
    #[inline]
    pub(super) fn take_free(
        &mut self,
        now: Instant,
        ticket: Ticket,
        batch: &mut Batch,
        lane_of: LaneOf<'_>,
    ) -> Taken {
        let meta = self.pending.store.meta(ticket);
        if meta.submitted + self.rules.deadline < now {
            if let Some((event, meta)) = self.pending.store.take(ticket) {
                self.fail(meta, event, too_late(&meta));
            }
            return Taken::Yes;
        }
        if !batch.fits(meta.bytes, &self.rules) {
            batch.full = true;
            return Taken::Full;
        }
        match self.enter_lane(ticket, lane_of) {
            Ok(()) => batch.take(&mut self.pending.store, ticket, None),
            Err(lane) => self.wait_for_lane(lane, Waiting::Event(ticket)),
        }
        Taken::Yes
    }

    /// Takes a place in the window of the event's lane, if the lane is limited.
    #[inline]
    fn enter_lane(
        &mut self,
        ticket: Ticket,
        lane_of: LaneOf<'_>,
    ) -> Result<(), aqueduct_core::Lane> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let Some(event) = self.pending.store.event(ticket) else {
            return Ok(());
        };
        let limited = self.lanes.enter(lane_of(event))?;
        self.pending.store.meta_mut(ticket).limited = limited;
        Ok(())
    }
}
