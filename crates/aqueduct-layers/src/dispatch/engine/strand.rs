use std::collections::VecDeque;

use aqueduct_core::{Event, Lane, Moment};

use super::FlightId;
use super::calls::CallId;

/// What goes with an event on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub(super) call: CallId,
    pub(super) index: u32,
    /// Rises with each accepted event.
    pub(super) seq: u64,
    pub(super) submitted: Moment,
    pub(super) epoch: u64,
    pub(super) bytes: usize,
    /// How many tries have failed by its own fault, or nobody's.
    pub(super) attempts: u32,
    /// Whether a request has carried it.
    pub(super) tried: bool,
    /// Whether an earlier try may have stored it.
    pub(super) unknown: bool,
    /// The lane whose window counts it while it is in flight.
    pub(super) paced: Option<Lane>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) event: Event,
    pub(super) meta: Meta,
}

/// Everything about a key that is not at rest.
#[derive(Debug)]
pub(super) struct Strand {
    /// The events that wait for this key, in order, resends first.
    pub(super) parked: VecDeque<Entry>,
    pub(super) hold: Hold,
    /// How many of its events are in flight, all of them in one request.
    pub(super) in_flight: usize,
    /// Failed outcomes that no caller has seen yet.
    pub(super) undelivered: usize,
    /// Events accepted before this number fail as blocked when their turn comes.
    pub(super) block_below: u64,
    /// Set while a request is evaluated: what it stored of this key has ended with a failure.
    pub(super) gave_up: bool,
    /// Set while a request is evaluated: when what goes `again` may go.
    pub(super) resume: Option<Resume>,
    /// What goes back to the front of `parked` after the evaluation.
    pub(super) again: Vec<Entry>,
}

/// Why a strand's events wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hold {
    None,
    Runnable,
    InFlight(FlightId),
    Until(Moment),
    Lane(Lane),
}

/// When a resend may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resume {
    At(Moment),
    WithLane(Lane),
}

impl Strand {
    pub(super) fn new(hold: Hold) -> Self {
        Self {
            parked: VecDeque::new(),
            hold,
            in_flight: 0,
            undelivered: 0,
            block_below: 0,
            gave_up: false,
            resume: None,
            again: Vec::new(),
        }
    }
}
