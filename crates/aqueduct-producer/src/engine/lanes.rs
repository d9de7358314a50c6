use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use aqueduct_core::{Instant, Lane};

use super::RequestId;
use super::key_queue::KeyId;
use super::store::Ticket;

/// The lanes that were throttled, limited until they have recovered. A lane that is not listed
/// is not limited and costs nothing.
///
/// Additive increase, multiplicative decrease, as in TCP: a throttle halves the number of
/// events that the lane may have in flight and pauses it; each request without one adds a
/// sixteenth of a full batch.
pub(super) struct Lanes {
    limited: BTreeMap<Lane, LaneState>,
    full: usize,
    /// The events that lanes stored and throttled of late, for lanes that throttled one.
    recent: BTreeMap<Lane, Recent>,
    /// Those over their limit in the request that is evaluated.
    over: Vec<Lane>,
}

/// The events of late: when there are `MEMORY` of them, both numbers are halved.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    stored: usize,
    throttled: usize,
}

const MEMORY: usize = 32;

/// The throttled events of late that may be refusals of single events, which hold back their keys alone.
const SINGLE: usize = 8;

pub(super) struct LaneState {
    pub(super) window: usize,
    pub(super) in_flight: usize,
    pub(super) paused_until: Option<Instant>,
    pub(super) waiting: VecDeque<Waiting>,
    /// When the lane was last used or throttled.
    used: Instant,
    throttles: u32,
    throttled_in: Option<RequestId>,
    widened_in: Option<RequestId>,
}

/// A key or event that waits for a lane.
#[derive(Clone, Copy, Debug)]
pub(super) enum Waiting {
    Key(KeyId),
    Event(Ticket),
}

impl Lanes {
    pub(super) fn new(full: usize) -> Self {
        Self {
            limited: BTreeMap::new(),
            full,
            recent: BTreeMap::new(),
            over: Vec::new(),
        }
    }

    /// Takes the events of a request that a lane stored or throttled. A lane is over its limit if it
    /// throttled more events of late than it stored, and, once it is limited, if it throttles any.
    pub(super) fn observe(&mut self, seen: impl IntoIterator<Item = (Lane, bool)>) {
        let mut counts: BTreeMap<Lane, Recent> = BTreeMap::new();
        for (lane, stored) in seen {
            let count = counts.entry(lane).or_default();
            count.stored += usize::from(stored);
            count.throttled += usize::from(!stored);
        }
        self.over.clear();
        for (lane, count) in counts {
            let is_limited = self.limited.contains_key(&lane);
            if is_limited && count.throttled > 0 {
                self.over.push(lane);
            }
            if count.throttled == 0 && !self.recent.contains_key(&lane) {
                continue;
            }
            let recent = self.recent.entry(lane).or_default();
            recent.stored += count.stored;
            recent.throttled += count.throttled;
            if !is_limited && recent.throttled > recent.stored.max(SINGLE) {
                self.over.push(lane);
                self.recent.remove(&lane);
                continue;
            }
            while recent.stored + recent.throttled >= MEMORY {
                recent.stored /= 2;
                recent.throttled /= 2;
            }
            if recent.throttled == 0 {
                self.recent.remove(&lane);
            }
        }
    }

    /// Returns whether no lane is limited, or was throttled of late.
    pub(super) fn is_quiet(&self) -> bool {
        self.limited.is_empty() && self.recent.is_empty()
    }

    /// Returns whether the lane is over its limit, as of the last observation.
    pub(super) fn is_over(&self, lane: Lane) -> bool {
        self.over.contains(&lane)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.limited.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.limited.len()
    }

    pub(super) fn get(&mut self, lane: Lane) -> Option<&mut LaneState> {
        self.limited.get_mut(&lane)
    }

    /// Takes a place for one event. Returns `Some` with the lane if the lane is limited, and `Err`
    /// if the event has to wait.
    pub(super) fn enter(&mut self, lane: Lane) -> Result<Option<Lane>, Lane> {
        let Some(state) = self.limited.get_mut(&lane) else {
            return Ok(None);
        };
        if state.is_open() {
            state.in_flight += 1;
            Ok(Some(lane))
        } else {
            Err(lane)
        }
    }

    /// Returns the place of an event that is no longer in flight.
    pub(super) fn leave(&mut self, lane: Lane) {
        if let Some(state) = self.limited.get_mut(&lane) {
            state.in_flight = state.in_flight.saturating_sub(1);
        }
    }

    /// Notes a throttle in `request`. Returns the number of throttles in a row, once per request.
    pub(super) fn throttled(&mut self, lane: Lane, request: RequestId) -> Option<u32> {
        let full = self.full;
        let state = self
            .limited
            .entry(lane)
            .or_insert_with(|| LaneState::new(full));
        if state.throttled_in == Some(request) {
            return None;
        }
        state.throttled_in = Some(request);
        state.window = (state.window / 2).max(1);
        state.throttles = state.throttles.saturating_add(1);
        Some(state.throttles)
    }

    /// Pauses the lane. Returns the end of the pause if it is later than before.
    pub(super) fn pause(&mut self, lane: Lane, now: Instant, pause: Duration) -> Option<Instant> {
        let state = self.limited.get_mut(&lane)?;
        let until = now + pause;
        if state.paused_until.is_some_and(|earlier| earlier >= until) {
            return None;
        }
        state.paused_until = Some(until);
        Some(until)
    }

    /// Notes a request that went through. Returns whether the lane has recovered.
    pub(super) fn stored(&mut self, lane: Lane, request: RequestId) -> bool {
        let Some(state) = self.limited.get_mut(&lane) else {
            return false;
        };
        if state.throttled_in == Some(request) || state.widened_in == Some(request) {
            return false;
        }
        state.widened_in = Some(request);
        state.throttles = 0;
        state.window += (self.full / 16).max(1);
        state.window >= self.full && state.paused_until.is_none()
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = (Lane, &LaneState)> {
        self.limited.iter().map(|(lane, state)| (*lane, state))
    }

    /// Notes that the lane is in use.
    pub(super) fn touch(&mut self, lane: Lane, now: Instant) {
        if let Some(state) = self.limited.get_mut(&lane) {
            state.used = now;
        }
    }

    /// Forgets a lane that was not used for `idle`: its shard may be closed, and a lane that is kept
    /// for ever would slow down all the others. Returns when to look again if it stays.
    pub(super) fn forget_idle(
        &mut self,
        lane: Lane,
        now: Instant,
        idle: Duration,
    ) -> Option<Instant> {
        let state = self.limited.get(&lane)?;
        let at_rest =
            state.in_flight == 0 && state.waiting.is_empty() && state.paused_until.is_none();
        if at_rest && state.used + idle <= now {
            self.limited.remove(&lane);
            return None;
        }
        Some((state.used + idle).max(now + idle / 2))
    }

    /// Stops limiting the lane, and returns what waited for it.
    pub(super) fn recover(&mut self, lane: Lane) -> VecDeque<Waiting> {
        let state = self.limited.remove(&lane);
        state.map(|state| state.waiting).unwrap_or_default()
    }

    /// Takes out the events without a key that wait for a lane and are due.
    pub(super) fn take_waiting(&mut self, due: impl Fn(Ticket) -> bool, taken: &mut Vec<Ticket>) {
        for state in self.limited.values_mut() {
            state.waiting.retain(|waiting| match waiting {
                Waiting::Event(ticket) if due(*ticket) => {
                    taken.push(*ticket);
                    false
                }
                _ => true,
            });
        }
    }

    /// Removes everything that waits, for a producer that is closed.
    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        let limited = std::mem::take(&mut self.limited);
        limited
            .into_values()
            .flat_map(|state| state.waiting)
            .collect()
    }
}

impl LaneState {
    fn new(full: usize) -> Self {
        Self {
            window: full,
            in_flight: 0,
            paused_until: None,
            waiting: VecDeque::new(),
            used: Instant::default(),
            throttles: 0,
            throttled_in: None,
            widened_in: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.paused_until.is_none() && self.in_flight < self.window
    }
}
