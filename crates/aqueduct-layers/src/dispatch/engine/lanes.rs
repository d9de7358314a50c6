use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aqueduct_core::{Instant, Lane};

use super::FlightId;
use super::store::Ticket;
use super::strand::StrandId;

/// The lanes that were throttled and are paced until they have recovered. A lane that is not here
/// flows freely, and costs nothing.
///
/// Additive increase, multiplicative decrease, as TCP does it: a throttle halves the number of
/// events that the lane may have in flight and pauses it; each request without one widens it by a
/// sixteenth of a full batch.
pub(super) struct Lanes {
    paced: BTreeMap<Lane, Pace>,
    full: usize,
}

pub(super) struct Pace {
    pub(super) window: usize,
    pub(super) in_flight: usize,
    pub(super) paused_until: Option<Instant>,
    pub(super) waiting: VecDeque<Waiting>,
    throttles: u32,
    throttled_in: Option<FlightId>,
    widened_in: Option<FlightId>,
}

/// What waits for a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Key(StrandId),
    Event(Ticket),
}

impl Lanes {
    pub(super) fn new(full: usize) -> Self {
        Self {
            paced: BTreeMap::new(),
            full,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.paced.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.paced.len()
    }

    pub(super) fn get(&mut self, lane: Lane) -> Option<&mut Pace> {
        self.paced.get_mut(&lane)
    }

    /// Takes room for one event in flight: `Some` with the lane to note where it is paced, `Err`
    /// where it has to wait.
    pub(super) fn enter(&mut self, lane: Lane) -> Result<Option<Lane>, Lane> {
        let Some(pace) = self.paced.get_mut(&lane) else {
            return Ok(None);
        };
        if pace.is_open() {
            pace.in_flight += 1;
            Ok(Some(lane))
        } else {
            Err(lane)
        }
    }

    /// An event is no longer in flight.
    pub(super) fn leave(&mut self, lane: Lane) {
        if let Some(pace) = self.paced.get_mut(&lane) {
            pace.in_flight = pace.in_flight.saturating_sub(1);
        }
    }

    /// A throttle in `flight`. Answers how often in a row, once for each flight.
    pub(super) fn throttled(&mut self, lane: Lane, flight: FlightId) -> Option<u32> {
        let full = self.full;
        let pace = self.paced.entry(lane).or_insert_with(|| Pace::new(full));
        if pace.throttled_in == Some(flight) {
            return None;
        }
        pace.throttled_in = Some(flight);
        pace.window = (pace.window / 2).max(1);
        pace.throttles = pace.throttles.saturating_add(1);
        Some(pace.throttles)
    }

    /// Pauses the lane for that long; answers until when, where that is later than before.
    pub(super) fn pause(&mut self, lane: Lane, now: Instant, pause: Duration) -> Option<Instant> {
        let pace = self.paced.get_mut(&lane)?;
        let until = now + pause;
        if pace.paused_until.is_some_and(|earlier| earlier >= until) {
            return None;
        }
        pace.paused_until = Some(until);
        Some(until)
    }

    /// A request of this lane went through. Answers whether the lane has recovered.
    pub(super) fn stored(&mut self, lane: Lane, flight: FlightId) -> bool {
        let Some(pace) = self.paced.get_mut(&lane) else {
            return false;
        };
        if pace.throttled_in == Some(flight) || pace.widened_in == Some(flight) {
            return false;
        }
        pace.widened_in = Some(flight);
        pace.throttles = 0;
        pace.window += (self.full / 16).max(1);
        pace.window >= self.full && pace.paused_until.is_none()
    }

    /// Stops pacing the lane; what waited for it may go.
    pub(super) fn recover(&mut self, lane: Lane) -> VecDeque<Waiting> {
        let pace = self.paced.remove(&lane);
        pace.map(|pace| pace.waiting).unwrap_or_default()
    }

    /// Everything that waits, for a producer that is closed.
    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        let paced = std::mem::take(&mut self.paced);
        paced.into_values().flat_map(|pace| pace.waiting).collect()
    }
}

impl Pace {
    fn new(full: usize) -> Self {
        Self {
            window: full,
            in_flight: 0,
            paused_until: None,
            waiting: VecDeque::new(),
            throttles: 0,
            throttled_in: None,
            widened_in: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.paused_until.is_none() && self.in_flight < self.window
    }
}
