use aqueduct_core::{Error, ErrorKind, Instant};

use super::form::Draft;
use super::lanes::Waiting;
use super::store::Ticket;
use super::strand::{Hold, Meta, StrandId};
use super::{Engine, LaneOf, Work, blocked, exhausted, unknown_if};

/// What became of an event that a request might take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in the request, waits elsewhere, or has failed.
    Yes,
    /// The request is full: the event stays where it was.
    Full,
}

impl Engine {
    /// The parked events of a key that may go, as many as fit.
    pub(super) fn take_run(
        &mut self,
        now: Instant,
        id: StrandId,
        draft: &mut Draft,
        lane_of: LaneOf<'_>,
    ) {
        if self.strands[id].hold != Hold::Runnable {
            return;
        }
        let mut taken = 0;
        let mut late = None;
        let rest = loop {
            let strand = &mut self.strands[id];
            let Some(&ticket) = strand.parked.front() else {
                break Hold::None;
            };
            let meta = self.store.meta(ticket);
            if meta.submitted + self.rules.deadline < now {
                strand.parked.pop_front();
                late = Some(ticket);
                break Hold::None;
            }
            if !draft.fits(meta.bytes, &self.rules) {
                draft.full = true;
                break Hold::Runnable;
            }
            if let Err(lane) = self.enter_lane(ticket, lane_of) {
                break Hold::Lane(lane);
            }
            let strand = &mut self.strands[id];
            strand.parked.pop_front();
            strand.in_flight += 1;
            taken += 1;
            draft.take(&mut self.store, ticket, Some(id));
        };
        if taken > 0 {
            self.strands[id].hold = Hold::InFlight(draft.id);
        } else {
            self.strands[id].hold = rest;
            match rest {
                Hold::Runnable => self.runnable.push_front(Work::Key(id)),
                Hold::Lane(lane) => self.wait_for_lane(lane, Waiting::Key(id)),
                _ => {}
            }
        }
        if let Some(ticket) = late {
            self.give_up_late(ticket);
        }
        self.tidy(id);
    }

    /// One event of a key from `ready`: into the request, or behind what its key waits for.
    #[inline]
    pub(super) fn take_keyed(
        &mut self,
        now: Instant,
        ticket: Ticket,
        draft: &mut Draft,
        lane_of: LaneOf<'_>,
    ) -> Taken {
        let key = self.store.event(ticket).and_then(|event| event.key_text());
        let Some(key) = key else {
            return self.take_free(now, ticket, draft, lane_of);
        };
        let id = self.strands.of(key);
        let meta = self.store.meta(ticket);
        let strand = &mut self.strands[id];
        if meta.seq < strand.block_below {
            if let Some((event, meta)) = self.store.take(ticket) {
                self.fail(meta, event, blocked());
            }
            return Taken::Yes;
        }
        let goes_along = strand.hold == Hold::InFlight(draft.id) && strand.parked.is_empty();
        if strand.hold != Hold::None && !goes_along {
            strand.parked.push_back(ticket);
            return Taken::Yes;
        }
        if meta.submitted + self.rules.deadline < now {
            self.give_up_late(ticket);
            return Taken::Yes;
        }
        if !draft.fits(meta.bytes, &self.rules) {
            draft.full = true;
            self.tidy(id);
            return Taken::Full;
        }
        let entered = self.enter_lane(ticket, lane_of);
        let strand = &mut self.strands[id];
        if let Err(lane) = entered {
            strand.parked.push_back(ticket);
            if strand.hold == Hold::None {
                strand.hold = Hold::Lane(lane);
                self.wait_for_lane(lane, Waiting::Key(id));
            }
            return Taken::Yes;
        }
        strand.hold = Hold::InFlight(draft.id);
        strand.in_flight += 1;
        draft.take(&mut self.store, ticket, Some(id));
        Taken::Yes
    }

    /// One event without a key.
    #[inline]
    pub(super) fn take_free(
        &mut self,
        now: Instant,
        ticket: Ticket,
        draft: &mut Draft,
        lane_of: LaneOf<'_>,
    ) -> Taken {
        let meta = self.store.meta(ticket);
        if meta.submitted + self.rules.deadline < now {
            if let Some((event, meta)) = self.store.take(ticket) {
                self.fail(meta, event, too_late(&meta));
            }
            return Taken::Yes;
        }
        if !draft.fits(meta.bytes, &self.rules) {
            draft.full = true;
            return Taken::Full;
        }
        match self.enter_lane(ticket, lane_of) {
            Ok(()) => draft.take(&mut self.store, ticket, None),
            Err(lane) => self.wait_for_lane(lane, Waiting::Event(ticket)),
        }
        Taken::Yes
    }

    /// Takes the event's place in the window of its lane, where that is paced.
    #[inline]
    fn enter_lane(
        &mut self,
        ticket: Ticket,
        lane_of: LaneOf<'_>,
    ) -> Result<(), aqueduct_core::Lane> {
        if self.lanes.is_empty() {
            return Ok(());
        }
        let Some(event) = self.store.event(ticket) else {
            return Ok(());
        };
        let paced = self.lanes.enter(lane_of(event))?;
        self.store.meta_mut(ticket).paced = paced;
        Ok(())
    }

    fn give_up_late(&mut self, ticket: Ticket) {
        if let Some((event, meta)) = self.store.take(ticket) {
            self.give_up(event, meta, too_late(&meta));
        }
    }
}

fn too_late(meta: &Meta) -> Error {
    let error = Error::new(
        ErrorKind::TimedOut,
        "the time to send it has passed before it could be sent",
    );
    unknown_if(meta.unknown, exhausted(&error, meta.attempts))
}
