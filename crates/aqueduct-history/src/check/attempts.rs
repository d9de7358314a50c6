use std::collections::{BTreeMap, BTreeSet};

use super::Checker;
use super::owners::Row;
use crate::{HistoryLine, Kind, Text};

/// A write may be composed this long before it is stored, in microseconds: the limit of a call to the store.
const UNDER_WAY: u64 = 10_000_000;

/// No event runs alone so soon after its partition was taken, in microseconds: a process that is killed from
/// outside again and again, faster than that, blames none. The clocks of processes are off a little.
const AT_THE_START: u64 = 900_000;

/// Deaths, and take-overs, that may count against one event although it did not fail. Only facts about
/// processes and handlers lead here: the marks in leases are what is judged.
#[derive(Default)]
pub(super) struct Excuses {
    processes: BTreeMap<Text, Process>,
    tokens: BTreeMap<Text, Vec<Token>>,
}

#[derive(Default)]
struct Process {
    running: BTreeSet<Text>,
    /// The events that ran when it died.
    died: Option<Death>,
}

struct Death {
    at: u64,
    running: BTreeSet<Text>,
    by_handler: bool,
}

/// One take-over without release, while no handler of the event ran.
struct Token {
    owner: Text,
    /// Only an event that ended in the owner after this time may use it; `None`: any.
    since: Option<u64>,
}

impl Excuses {
    pub(super) fn starts(&mut self, process: &Text, event: &Text) {
        let process = self.processes.entry(process.clone()).or_default();
        process.running.insert(event.clone());
    }

    pub(super) fn ends(&mut self, process: &Text, event: &Text) {
        if let Some(process) = self.processes.get_mut(process) {
            process.running.remove(event);
        }
    }

    pub(super) fn is_dead(&self, process: Option<&Text>) -> bool {
        let process = process.and_then(|it| self.processes.get(it));
        process.is_some_and(|it| it.died.is_some())
    }

    /// Returns the events that ran.
    pub(super) fn dies(&mut self, process: &Text, at: u64, by_handler: bool) -> Vec<Text> {
        let process = self.processes.entry(process.clone()).or_default();
        let running = std::mem::take(&mut process.running);
        let all = running.iter().cloned().collect();
        process.died = Some(Death {
            at,
            running,
            by_handler,
        });
        all
    }
}

impl Checker {
    /// Notes that a partition was taken from an owner that did not release it.
    pub(super) fn taken_over(&mut self, partition: &Text, before: &Row) {
        let Some(owner) = &before.owner else { return };
        let process = self.excuses.processes.entry(owner.clone()).or_default();
        let (running, by_handler, until) = match &process.died {
            Some(death) => (&death.running, death.by_handler, death.at),
            None => (&process.running, false, u64::MAX),
        };
        if until.saturating_sub(before.taken) < AT_THE_START {
            return;
        }
        let only = running.first().filter(|_| running.len() == 1).cloned();
        let idle = running.is_empty();
        if let Some(event) = only {
            let event = self.events.get(&event);
            if event.partition.as_ref() == Some(partition) && !by_handler {
                event.counts.excused += 1;
                return;
            }
        }
        let since = (!idle).then(|| before.written.saturating_sub(UNDER_WAY));
        let tokens = self.excuses.tokens.entry(partition.clone()).or_default();
        tokens.push(Token {
            owner: owner.clone(),
            since,
        });
    }

    /// Checks that every counted attempt is explained.
    pub(super) fn explains(&mut self, record: &HistoryLine) {
        let (Some(id), Some(attempt)) = (&record.event, record.attempt) else {
            return;
        };
        while attempt > self.events.get(id).counts.total() + 1 {
            if self.was_near(id) {
                continue;
            }
            let counts = &mut self.events.get(id).counts;
            let message = format!(
                "{id}: attempt {attempt} after {} failures, {} kills by its handler and {} while it alone ran",
                counts.failures,
                counts.killed,
                counts.excused + counts.near
            );
            // Said once.
            counts.near += attempt - 1 - counts.total();
            self.findings.add(Kind::AttemptWithoutFailure, message);
        }
    }

    /// Uses up a take-over that came so close to a run of the event that no engine can tell.
    fn was_near(&mut self, id: &Text) -> bool {
        let event = self.events.get(id);
        let tokens = event.partition.as_ref();
        let Some(tokens) = tokens.and_then(|it| self.excuses.tokens.get_mut(it)) else {
            return false;
        };
        let fits = |token: &Token| {
            let ended = event.runs.ended.get(&token.owner);
            token
                .since
                .is_none_or(|since| ended.is_some_and(|it| *it >= since))
        };
        let Some(at) = tokens.iter().position(fits) else {
            return false;
        };
        tokens.remove(at);
        event.counts.near += 1;
        true
    }

    pub(super) fn dead_letter(&mut self, record: &HistoryLine) {
        let Some(id) = &record.event else { return };
        if record.phase != crate::Phase::Ok {
            return;
        }
        self.dead_letters += 1;
        let needed = match record.why.as_deref() {
            // Its handler refused it.
            Some("rejected") => Some(1),
            _ => self.rules.attempts,
        };
        let few = |counts: &super::events::Counts| {
            // One death may come so close to a run that no engine can tell: a mark is durable before its
            // handler starts, and until a write takes it back.
            let sure = counts.failures + counts.killed + counts.excused;
            sure == 0 || needed.is_some_and(|needed| sure + counts.near.min(1) < needed)
        };
        if few(&self.events.get(id).counts) {
            self.was_near(id);
        }
        let event = self.events.get(id);
        event.settled = true;
        let counts = &event.counts;
        if few(counts) {
            let message = format!(
                "{id}: {} failures, {} kills by its handler, {} kills from outside while it alone ran",
                counts.failures, counts.killed, counts.excused
            );
            self.findings.add(Kind::DeadLetteredInnocent, message);
        }
    }
}
