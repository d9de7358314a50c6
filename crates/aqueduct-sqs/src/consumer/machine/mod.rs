//! What a consumer knows and decides, without I/O: whoever drives it tells what happened and
//! when, and does what [`Machine::poll`] answers.

mod fetching;
mod held;
mod lanes;
mod memory;
mod settling;
mod timing;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use aqueduct_core::{Error, Instant, Revocation, SmallStr};

use self::fetching::Fetching;
pub(super) use self::held::Arrival;
use self::held::{Held, State};
use self::lanes::Lane;
use self::memory::Memory;
pub(super) use self::settling::Again;

/// The most messages of one request.
const BATCH: usize = 10;

/// The longest that the service hides a message after its receipt, less a margin.
const LONGEST: Duration = Duration::from_secs(12 * 3600 - 1);

/// How long handled messages wait for others to be deleted with, while there is work: a fraction
/// of a request's time.
const LINGER: Duration = Duration::from_millis(10);

/// The most deletions under way at once.
const DELETIONS: usize = 8;

/// What the machine is to keep to.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) ordered: bool,
    pub(super) visibility: Duration,
    pub(super) hold: Duration,
    pub(super) receivers: usize,
    pub(super) max_unsettled: usize,
    pub(super) max_unsettled_bytes: usize,
    pub(super) count_receipts: bool,
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// Receive up to that many.
    Receive { max: usize },
    /// Delete those.
    Delete { messages: Vec<(u64, SmallStr)> },
    /// Hide those for that long, to keep them.
    Extend {
        messages: Vec<(u64, SmallStr, Duration)>,
    },
    /// Hide those for that long, and forget them.
    Return { messages: Vec<(SmallStr, Duration)> },
}

/// See the module.
pub(super) struct Machine {
    rules: Rules,
    held: BTreeMap<u64, Held>,
    /// By the service's id.
    known: BTreeMap<SmallStr, u64>,
    lanes: BTreeMap<SmallStr, Lane>,
    /// What can be handed out: of an ordered queue the first of each free lane.
    ready: BTreeSet<u64>,
    /// When each is looked at next.
    timers: BTreeSet<(Instant, u64)>,
    tickets: BTreeMap<u64, u64>,
    revoked: BTreeMap<u64, Revocation>,
    changed_rights: bool,
    returns: VecDeque<(SmallStr, Duration)>,
    returning: usize,
    deletes: VecDeque<u64>,
    oldest_delete: Option<Instant>,
    deletes_wait: Instant,
    failed_deletes: u32,
    deleting: usize,
    lost_acks: u64,
    fetching: Fetching,
    memory: Memory,
    bytes: usize,
    next: u64,
    paused: bool,
    draining: bool,
    closed: bool,
    hurry: bool,
    /// Messages whose time ran out, that came again, and that went back unhandled: for metrics.
    pub(super) expired: u64,
    pub(super) repeated: u64,
    pub(super) returned: u64,
}

impl Machine {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            held: BTreeMap::new(),
            known: BTreeMap::new(),
            lanes: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            tickets: BTreeMap::new(),
            revoked: BTreeMap::new(),
            changed_rights: false,
            returns: VecDeque::new(),
            returning: 0,
            deletes: VecDeque::new(),
            oldest_delete: None,
            deletes_wait: Instant::default(),
            failed_deletes: 0,
            deleting: 0,
            lost_acks: 0,
            fetching: Fetching::default(),
            memory: Memory::default(),
            bytes: 0,
            next: 1,
            paused: false,
            draining: false,
            closed: false,
            hurry: false,
            expired: 0,
            repeated: 0,
            returned: 0,
        }
    }

    /// What is to be done now.
    pub(super) fn poll(&mut self, now: Instant) -> Vec<Command> {
        let mut commands = Vec::new();
        let due = self.fire(now);
        for messages in due.chunks(BATCH) {
            commands.push(Command::Extend {
                messages: messages.to_vec(),
            });
        }
        while !self.returns.is_empty() {
            let count = self.returns.len().min(BATCH);
            let messages = self.returns.drain(..count).collect();
            self.returning += 1;
            commands.push(Command::Return { messages });
        }
        while let Some(messages) = self.next_delete(now) {
            commands.push(Command::Delete { messages });
        }
        while let Some(max) = self.next_receive(now) {
            commands.push(Command::Receive { max });
        }
        commands
    }

    /// When to poll again, where nothing happens before.
    pub(super) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let delete = self
            .oldest_delete
            .filter(|_| self.deleting < DELETIONS)
            .map(|at| (at + LINGER).max(self.deletes_wait));
        let fetch = self.fetch_wake(now);
        [timer, delete, fetch].into_iter().flatten().min()
    }

    /// Whether the rights of some deliveries changed since the last question.
    pub(super) fn take_changed_rights(&mut self) -> bool {
        std::mem::take(&mut self.changed_rights)
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    pub(super) fn pause(&mut self, paused: bool) {
        self.paused = paused;
    }

    /// Stops fetching, and gives back what is not out.
    pub(super) fn drain(&mut self, now: Instant) {
        self.draining = true;
        self.hurry = true;
        let unhandled: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| matches!(held.state, State::Ready | State::Waiting(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in unhandled {
            self.give_back(id, now);
        }
    }

    /// Drains, and takes back what is out.
    pub(super) fn close(&mut self, now: Instant) {
        self.closed = true;
        self.drain(now);
        let out: Vec<u64> = self
            .held
            .iter()
            .filter(|(_, held)| matches!(held.state, State::Out(_)))
            .map(|(id, _)| *id)
            .collect();
        for id in out {
            self.take_back(id, Revocation::Shutdown);
            self.give_back(id, now);
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether everything that is to reach the service has.
    pub(super) fn is_flushed(&self) -> bool {
        self.deletes.is_empty() && self.deleting == 0
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_flushed() && self.returns.is_empty() && self.returning == 0
    }

    /// Deletes without waiting for more, until the next flush is over.
    pub(super) fn hurry(&mut self, hurry: bool) {
        self.hurry = hurry || self.draining;
    }

    /// How many handled messages could not be deleted in time, so far.
    pub(super) fn lost_acks(&self) -> u64 {
        self.lost_acks
    }

    pub(super) fn returned_now(&mut self) {
        self.returning = self.returning.saturating_sub(1);
    }

    pub(super) fn unreachable_since(&self) -> Option<Instant> {
        self.fetching.unreachable_since
    }

    /// A failure of receiving that trying again does not mend, once.
    pub(super) fn take_failure(&mut self) -> Option<Error> {
        self.fetching.failure.take()
    }
}
