use aqueduct_core::{Error, ErrorKind, Moment, Text};

use super::form::Draft;
use super::lanes::Waiting;
use super::strand::{Entry, Hold, Meta, Strand};
use super::{Engine, LaneOf, Work, blocked, exhausted, unknown_if};

impl Engine {
    /// The parked events of a key that may go, as many as fit.
    pub(super) fn take_run(
        &mut self,
        now: Moment,
        key: Text,
        draft: &mut Draft,
        lane_of: LaneOf<'_>,
    ) {
        let Some(strand) = self.keys.get_mut(&key) else {
            return;
        };
        if strand.hold != Hold::Runnable {
            return;
        }
        let mut taken = 0;
        loop {
            let Some(strand) = self.keys.get_mut(&key) else {
                return;
            };
            let Some(mut entry) = strand.parked.pop_front() else {
                strand.hold = if taken > 0 {
                    Hold::InFlight(draft.id)
                } else {
                    Hold::None
                };
                break;
            };
            if entry.meta.submitted + self.rules.deadline < now {
                strand.hold = if taken > 0 {
                    Hold::InFlight(draft.id)
                } else {
                    Hold::None
                };
                let error = too_late(&entry.meta);
                self.give_up(entry, error);
                break;
            }
            if !draft.fits(entry.meta.bytes, &self.rules) {
                if let Some(strand) = self.keys.get_mut(&key) {
                    strand.parked.push_front(entry);
                    if taken > 0 {
                        strand.hold = Hold::InFlight(draft.id);
                    } else {
                        strand.hold = Hold::Runnable;
                        self.runnable.push_front(Work::Key(key.clone()));
                    }
                }
                draft.full = true;
                break;
            }
            if !self.lanes.is_empty() {
                match self.lanes.enter(lane_of(&entry.event)) {
                    Ok(paced) => entry.meta.paced = paced,
                    Err(lane) => {
                        strand.parked.push_front(entry);
                        if taken > 0 {
                            strand.hold = Hold::InFlight(draft.id);
                        } else {
                            strand.hold = Hold::Lane(lane);
                            self.wait_for_lane(lane, Waiting::Key(key.clone()));
                        }
                        break;
                    }
                }
            }
            strand.in_flight += 1;
            taken += 1;
            draft.push(entry);
        }
        self.tidy(&key);
    }

    /// One event of a key from `ready`: into the request, or behind what its key waits for.
    #[inline]
    pub(super) fn take_keyed(
        &mut self,
        now: Moment,
        mut entry: Entry,
        draft: &mut Draft,
        lane_of: LaneOf<'_>,
    ) -> Option<Entry> {
        let Some(key) = entry.event.key_text().cloned() else {
            return self.take_free(now, entry, draft, lane_of);
        };
        if let Some(strand) = self.keys.get_mut(&key) {
            if entry.meta.seq < strand.block_below {
                self.fail(entry.meta, entry.event, blocked());
                return None;
            }
            let goes_along = strand.hold == Hold::InFlight(draft.id) && strand.parked.is_empty();
            if strand.hold != Hold::None && !goes_along {
                strand.parked.push_back(entry);
                return None;
            }
        }
        if entry.meta.submitted + self.rules.deadline < now {
            let error = too_late(&entry.meta);
            self.give_up(entry, error);
            return None;
        }
        if !draft.fits(entry.meta.bytes, &self.rules) {
            draft.full = true;
            return Some(entry);
        }
        let id = draft.id;
        if !self.lanes.is_empty() {
            match self.lanes.enter(lane_of(&entry.event)) {
                Ok(paced) => entry.meta.paced = paced,
                Err(lane) => {
                    let strand = self
                        .keys
                        .entry(key.clone())
                        .or_insert_with(|| Strand::new(Hold::None));
                    strand.parked.push_back(entry);
                    if strand.hold == Hold::None {
                        strand.hold = Hold::Lane(lane);
                        self.wait_for_lane(lane, Waiting::Key(key));
                    }
                    return None;
                }
            }
        }
        let strand = self
            .keys
            .entry(key)
            .or_insert_with(|| Strand::new(Hold::InFlight(id)));
        strand.hold = Hold::InFlight(id);
        strand.in_flight += 1;
        draft.push(entry);
        None
    }

    /// One event without a key.
    #[inline]
    pub(super) fn take_free(
        &mut self,
        now: Moment,
        mut entry: Entry,
        draft: &mut Draft,
        lane_of: LaneOf<'_>,
    ) -> Option<Entry> {
        if entry.meta.submitted + self.rules.deadline < now {
            let error = too_late(&entry.meta);
            self.fail(entry.meta, entry.event, error);
            return None;
        }
        if !draft.fits(entry.meta.bytes, &self.rules) {
            draft.full = true;
            return Some(entry);
        }
        if !self.lanes.is_empty() {
            match self.lanes.enter(lane_of(&entry.event)) {
                Ok(paced) => entry.meta.paced = paced,
                Err(lane) => {
                    self.wait_for_lane(lane, Waiting::Entry(Box::new(entry)));
                    return None;
                }
            }
        }
        draft.push(entry);
        None
    }
}

fn too_late(meta: &Meta) -> Error {
    let error = Error::new(
        ErrorKind::TimedOut,
        "the time to send it has passed before it could be sent",
    );
    unknown_if(meta.unknown, exhausted(&error, meta.attempts))
}
