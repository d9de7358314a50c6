use aqueduct_core::{Instant, PartitionId};

use crate::member::{Command, Input};

/// A scheduled action.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few of them live at a time")]
pub(super) enum Action {
    Wake(usize),
    Answer(usize, Input),
    Store(usize, Command, Answer),
    Fetch(usize, PartitionId, u64),
    Due(usize, PartitionId, u64),
    Finish(usize, u64),
    Produce,
    Reshard,
    Crash(usize),
    /// Kill all processes, and repeat it that often.
    Storm(usize),
    Stall,
    Restart,
    /// Some member leaves.
    Leave,
    /// A member comes, and leaves soon.
    Visit,
    /// That member leaves.
    End(usize),
    Outage(bool),
    /// Some process cannot reach the store.
    Cut,
    Flush,
    Look,
}

/// How the response of a store call arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// At the latest then, where it is late.
    Comes {
        by: Instant,
    },
    Lost,
}

pub(super) struct Scheduled {
    pub(super) at: Instant,
    pub(super) order: u64,
    pub(super) action: Action,
}

/// The trace of a run: a number, and text if it is to be printed.
pub(super) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    pub(super) fn new(print: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn step(&mut self, now: Instant, action: &Action) {
        if self.print {
            eprintln!("{:>12?} {action:?}", now.elapsed_since_origin());
        }
        let (kind, at) = match action {
            Action::Wake(at) => (1, *at),
            Action::Answer(at, _) => (2, *at),
            Action::Store(at, ..) => (3, *at),
            Action::Fetch(at, ..) => (4, *at),
            Action::Due(at, ..) => (5, *at),
            Action::Finish(at, _) => (6, *at),
            _ => (7, 0),
        };
        let now = now.elapsed_since_origin().as_micros() as u64;
        for word in [now, kind, at as u64] {
            self.hash = (self.hash ^ word).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}
