//! The checker: one pass over the records, and a last look at the end.

mod attempts;
mod calls;
mod events;
mod handlers;
mod owners;

use std::fmt;

use serde::Serialize;

use self::attempts::Excuses;
use self::calls::Calls;
use self::events::Events;
use self::owners::Owners;
use crate::{Finding, HistoryLine, Kind, Op, Phase, Text};

/// The findings are cut here: the first ones say what went wrong.
const MOST: usize = 100;

/// The findings of the checker in a history.
#[derive(Clone, Debug, Serialize)]
#[must_use]
pub struct Judgement {
    /// Lines of the history.
    pub records: usize,
    /// Events that it names.
    pub events: usize,
    /// Starts of handlers.
    pub starts: u64,
    /// Events put into the dead letters.
    pub dead_letters: u64,
    /// Processes that died.
    pub kills: u64,
    /// The broken rules, first to last, at most a hundred.
    pub findings: Vec<Finding>,
}

/// Judges a whole history. [`read`](crate::read) refuses those that are cut.
pub fn check(records: &[HistoryLine]) -> Judgement {
    let mut checker = Checker::default();
    for (at, record) in records.iter().enumerate() {
        checker.findings.line = at + 1;
        checker.findings.time = record.time;
        checker.step(record);
    }
    checker.at_the_end(records.last());
    Judgement {
        records: records.len(),
        events: checker.events.len(),
        starts: checker.starts,
        dead_letters: checker.dead_letters,
        kills: checker.kills,
        findings: checker.findings.all,
    }
}

#[derive(Default)]
struct Checker {
    events: Events,
    owners: Owners,
    excuses: Excuses,
    calls: Calls,
    findings: Findings,
    starts: u64,
    dead_letters: u64,
    kills: u64,
    rules: Rules,
}

/// The rules that the first line names.
#[derive(Default)]
struct Rules {
    attempts: Option<u32>,
    effects_once: bool,
    without_acks: bool,
}

/// The findings so far, and the line that is looked at.
#[derive(Default)]
struct Findings {
    all: Vec<Finding>,
    line: usize,
    time: u64,
}

impl Findings {
    fn add(&mut self, kind: Kind, message: impl Into<String>) {
        if self.all.len() < MOST {
            self.all.push(Finding {
                kind,
                line: self.line,
                time: self.time,
                message: Text::from(message.into()),
            });
        }
    }
}

impl Checker {
    fn step(&mut self, record: &HistoryLine) {
        match record.op {
            Op::Run => {
                if record.phase == Phase::Invoke {
                    self.rules.attempts = record.attempts;
                    self.rules.effects_once = record.effects_once;
                    self.rules.without_acks = record.without_acks;
                }
            }
            Op::Send => self.sent(record),
            Op::Store => self.events.stored(record, &mut self.findings),
            Op::Own => self.owners.owns(record),
            Op::Disown => self.owners.disowns(record),
            Op::Ask => self.owners.asks(record),
            Op::Withdraw => self.owners.withdraws(record),
            Op::Lease => self.lease(record),
            Op::Handle => match record.phase {
                Phase::Invoke => self.starts(record),
                _ => self.ends(record),
            },
            Op::Ack | Op::Reject => self.settles(record),
            Op::DeadLetter => self.dead_letter(record),
            Op::Effect => self.effect(record),
            Op::Flush => self.flush(record),
            Op::Close => self.close(record),
            Op::Kill => self.kill(record),
        }
    }

    fn sent(&mut self, record: &HistoryLine) {
        self.calls.sent(record);
        self.events.sent(record, &mut self.findings);
    }

    fn effect(&mut self, record: &HistoryLine) {
        let Some(event) = &record.event else { return };
        if record.phase != Phase::Ok {
            return;
        }
        let it = self.events.get(event);
        it.effects += 1;
        if it.effects > 1 && self.rules.effects_once {
            let message = format!("{event}: effect number {}", it.effects);
            self.findings.add(Kind::EffectTwice, message);
        }
    }

    fn at_the_end(&mut self, last: Option<&HistoryLine>) {
        if let Some(why) = last.filter(|it| it.phase == Phase::Fail) {
            let why = why.why.as_deref().unwrap_or("the run did not come to rest");
            // What is open then follows from it.
            self.findings.add(Kind::NoOutcome, why);
            return;
        }
        self.calls.at_the_end(&mut self.findings);
        self.events.at_the_end(&mut self.findings);
        let writes = last.and_then(|it| it.writes.zip(it.most_writes));
        if let Some((writes, most)) = writes
            && writes > most
        {
            let message = format!("{writes} writes of leases, {most} are explained");
            self.findings.add(Kind::TooManyStoreWrites, message);
        }
    }
}

impl Judgement {
    /// Whether no rule is broken.
    pub fn is_ok(&self) -> bool {
        self.findings.is_empty()
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (records, events) = (self.records, self.events);
        let (starts, dead, kills) = (self.starts, self.dead_letters, self.kills);
        write!(
            f,
            "history: {records} records, {events} events, {starts} starts of handlers, {dead} dead letters, {kills} kills: "
        )?;
        match self.findings.len() {
            0 => f.write_str("no rule is broken"),
            count => {
                write!(f, "{count} findings")?;
                for finding in &self.findings {
                    write!(f, "\n  {finding}")?;
                }
                Ok(())
            }
        }
    }
}
