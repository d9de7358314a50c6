use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::time::Duration;

use aqueduct_core::{Instant, OwnerId, PartitionId, Revocation, Swap};
use aqueduct_history::{Op, Phase, Recorder};

use super::log::Log;
use super::process::{Process, View};
use super::scenario::Scenario;
use super::schedule::{Action, Scheduled, Trace};
use super::seen::Seen;
use super::store::Store;
use crate::member::{Command, Input, Rng};

/// The whole simulated system.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) now: Instant,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) processes: Vec<Process>,
    pub(super) history: Recorder,
    pub(super) seen: Seen,
    /// The events that were settled.
    pub(super) settled: BTreeSet<usize>,
    pub(super) dead: BTreeSet<usize>,
    pub(super) trace: Trace,
    pub(super) rng: Rng,
    pub(super) agenda: Agenda,
    pub(super) ids: Ids,
    pub(super) trouble: Trouble,
    pub(super) output: Output,
}

/// The scheduled actions.
#[derive(Default)]
pub(super) struct Agenda {
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    /// Set once the run is over: it came to rest, or why not.
    pub(super) outcome: Option<Result<(), String>>,
}

/// The last numbers given out.
#[derive(Default)]
pub(super) struct Ids {
    pub(super) chains: u64,
    pub(super) flushes: u64,
}

/// The faults that are in effect.
#[derive(Default)]
pub(super) struct Trouble {
    /// The members that the store knows to be dead.
    pub(super) dead: BTreeSet<OwnerId>,
    pub(super) outage: bool,
    /// Processes come back at once.
    pub(super) storming: bool,
}

/// The producer's side.
pub(super) struct Output {
    /// Where each key is written now.
    pub(super) homes: Vec<PartitionId>,
    pub(super) produced: usize,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, print: bool) -> Self {
        let log = Log::new(scenario.partitions, scenario.keys);
        let open = log.open();
        let mut world = Self {
            now: Instant::after_origin(Duration::from_secs(1)),
            history: Recorder::new(Some(scenario.attempts)),
            seen: Seen::default(),
            settled: BTreeSet::new(),
            dead: BTreeSet::new(),
            output: Output {
                homes: (0..scenario.keys)
                    .map(|key| open[key % open.len()].clone())
                    .collect(),
                produced: 0,
            },
            log,
            store: Store::default(),
            processes: Vec::new(),
            trace: Trace::new(print),
            rng: Rng::new(seed),
            agenda: Agenda::default(),
            ids: Ids::default(),
            trouble: Trouble::default(),
            scenario,
        };
        world.plan();
        world
    }

    /// Runs to the end, and lets the checker judge the history.
    pub(super) fn run(&mut self) -> Result<(), String> {
        let outcome = self.run_to_rest()?;
        self.seen.simulated += self.now.elapsed_since_origin().as_millis() as u64;
        let now = self.now.elapsed_since_origin().as_micros() as u64;
        self.history
            .end(now, outcome.as_deref().map_or(Ok(()), Err));
        let most = self.most_writes();
        if let Some(end) = self.history.last_mut() {
            (end.writes, end.most_writes) = (Some(self.store.writes), Some(most));
        }
        let verdict = aqueduct_history::check(self.history.records());
        match verdict.is_ok() {
            true => Ok(()),
            false => Err(verdict.to_string()),
        }
    }

    /// Returns why it does not come to rest, if it does not.
    fn run_to_rest(&mut self) -> Result<Option<String>, String> {
        while let Some(Reverse(next)) = self.agenda.queue.pop() {
            self.now = next.at;
            self.act(next.action)?;
            if let Some(outcome) = self.agenda.outcome.take() {
                return Ok(outcome.err());
            }
        }
        Ok(Some("nothing is left to do".to_owned()))
    }

    fn plan(&mut self) {
        let scenario = self.scenario.clone();
        for _ in 0..scenario.members {
            let after = self.rng.below(10_000);
            self.after(Duration::from_millis(after as u64), Action::Restart);
        }
        for _ in 0..scenario.events {
            self.some_time(Action::Produce);
        }
        for _ in 0..scenario.reshards {
            self.some_time(Action::Reshard);
        }
        for _ in 0..scenario.crashes {
            let process = self.rng.below(8);
            self.some_time(Action::Crash(process));
        }
        if scenario.storm > 0 {
            self.some_time(Action::Storm(scenario.storm));
        }
        for _ in 0..scenario.stalls {
            self.some_time(Action::Stall);
        }
        for _ in 0..scenario.joins {
            self.some_time(Action::Restart);
            self.some_time(Action::Leave);
            // Not in a storm, in which each death has to be one of the storm's.
            if scenario.storm == 0 {
                self.some_time(Action::Visit);
            }
        }
        for _ in 0..scenario.outages {
            self.some_time(Action::Outage(true));
        }
        for _ in 0..scenario.cuts {
            self.some_time(Action::Cut);
        }
        for _ in 0..2 {
            self.some_time(Action::Flush);
        }
        self.after(scenario.trouble, Action::Look);
    }

    fn act(&mut self, action: Action) -> Result<(), String> {
        let process = match &action {
            Action::Wake(at)
            | Action::Answer(at, _)
            | Action::Fetch(at, ..)
            | Action::Due(at, ..)
            | Action::Finish(at, _) => Some(*at),
            _ => None,
        };
        if let Some(process) = process.map(|at| &self.processes[at]) {
            if !process.alive {
                return Ok(());
            }
            if process.stalled_until > self.now {
                let until = process.stalled_until;
                self.at(until, action);
                return Ok(());
            }
        }
        self.trace.step(self.now, &action);
        match action {
            Action::Wake(at) => self.handle(at, Input::Tick),
            Action::Answer(at, input) => {
                let seen = &mut self.seen;
                match &input {
                    Input::Written(_, _, Ok(Swap::Lost(_))) => seen.conflicts += 1,
                    Input::Written(_, _, Err(_)) => seen.doubts += 1,
                    _ => {}
                }
                self.handle(at, input)
            }
            Action::Store(at, command, answer) => self.store_call(at, command, answer),
            Action::Fetch(at, id, generation) => self.fetch(at, &id, generation),
            Action::Due(at, id, generation) => {
                if let Some(slot) = self.processes[at].slot(&id, generation) {
                    slot.due_at = None;
                }
                self.handle(at, Input::Tick)
            }
            Action::Finish(at, chain) => self.finish(at, chain),
            Action::Produce => {
                self.produce();
                Ok(())
            }
            Action::Reshard => {
                self.reshard();
                Ok(())
            }
            Action::Crash(at) => {
                if at < self.processes.len() && self.processes[at].alive {
                    self.seen.crashes += 1;
                    self.crash(at, None);
                }
                Ok(())
            }
            Action::Storm(left) => {
                self.storm(left);
                Ok(())
            }
            Action::Stall => {
                let at = self.rng.below(self.processes.len().max(1));
                let until = self.now + self.seconds(5, 70);
                if let Some(process) = self.processes.get_mut(at) {
                    self.seen.stalls += 1;
                    process.stalled_until = until;
                }
                Ok(())
            }
            Action::Restart => {
                let name = format!("m{}", self.processes.len());
                let seed = self.rng.next_u64();
                let process = Process::new(name, &self.scenario, seed, self.now);
                self.processes.push(process);
                self.handle(self.processes.len() - 1, Input::Tick)
            }
            Action::Cut => {
                let at = self.rng.below(self.processes.len().max(1));
                let until = self.now + self.seconds(5, 60);
                if let Some(process) = self.processes.get_mut(at) {
                    self.seen.cuts += 1;
                    process.cut_until = until;
                }
                Ok(())
            }
            Action::Leave => self.leave(None),
            Action::Visit => {
                let at = self.processes.len();
                self.act(Action::Restart)?;
                let stays = Duration::from_millis(self.rng.below(1_000) as u64);
                self.after(stays, Action::End(at));
                Ok(())
            }
            Action::End(at) => self.leave(Some(at)),
            Action::Outage(begins) => {
                self.trouble.outage = begins;
                if begins {
                    self.seen.outages += 1;
                    let lasts = self.seconds(5, 80);
                    self.after(lasts, Action::Outage(false));
                }
                Ok(())
            }
            Action::Flush => self.flush(),
            Action::Look => {
                self.look();
                Ok(())
            }
        }
    }

    /// Gives an input to a member and executes its commands.
    pub(super) fn handle(&mut self, at: usize, input: Input) -> Result<(), String> {
        let concurrency = self.scenario.concurrency;
        let process = &mut self.processes[at];
        if !process.alive {
            return Ok(());
        }
        let mut view = View {
            waits: process.chains.len() < concurrency,
            busy: !process.chains.is_empty(),
            held: &mut process.held,
            slots: &mut process.slots,
            dead: &self.trouble.dead,
            stopped: Vec::new(),
            now: process.clock.local(self.now),
        };
        let now = view.now;
        let commands = process.member.handle(input, now, &mut view);
        let stopped = view.stopped;
        let wake = process.clock.global(process.member.next_wake());
        let due = wake < process.wake_at || process.wake_at <= self.now;
        if due {
            process.wake_at = wake;
            self.at(wake, Action::Wake(at));
        }
        for command in commands {
            self.carry_out(at, command)?;
        }
        for partition in stopped {
            self.disowns(at, &partition);
        }
        self.deliver(at)
    }

    fn carry_out(&mut self, at: usize, command: Command) -> Result<(), String> {
        let process = &mut self.processes[at];
        match command {
            Command::Open(opening) => {
                let seed = self.rng.next_u64();
                self.seen.isolated += u64::from(opening.takeover().isolated_until.is_some());
                process.open(&opening, seed);
                let (id, generation) = (opening.lease.partition, opening.lease.generation);
                self.owns(at, &id, opening.until);
                self.after(Duration::from_millis(1), Action::Fetch(at, id, generation));
            }
            Command::Extended(id, until) => {
                if let Some(slot) = process.slots.get_mut(&id) {
                    slot.until = until;
                    self.owns(at, &id, until);
                }
            }
            Command::Committed(id, progress) => {
                if let Some(slot) = process.slots.get_mut(&id) {
                    slot.tracker.committed(&progress);
                }
            }
            Command::Drain(id, why) => {
                if let Some(slot) = process.slots.get_mut(&id) {
                    slot.stopping = Some(why);
                }
            }
            Command::Gone(id, why) => {
                self.seen.lost_leases += u64::from(why == Revocation::Lost);
                process.slots.remove(&id);
                self.disowns(at, &id);
            }
            Command::Flushed { id, lost } => {
                self.seen.flushes += 1;
                process.flushes.remove(&id);
                let phase = if lost { Phase::Fail } else { Phase::Ok };
                let line = self.line(self.processes[at].owner.as_str(), Op::Flush, phase);
                self.history.add(line.event(format!("flush-{id}")));
            }
            Command::Closed { kept } => {
                process.alive = false;
                self.seen.kept += kept.len() as u64;
                let mut line = self.line(self.processes[at].owner.as_str(), Op::Close, Phase::Ok);
                line.kept = kept.iter().map(|id| id.as_str().into()).collect();
                self.history.add(line);
            }
            command => self.send(at, command),
        }
        Ok(())
    }

    fn fetch(&mut self, at: usize, id: &PartitionId, generation: u64) -> Result<(), String> {
        let now = self.processes[at].clock.local(self.now);
        let most = 1 + self.rng.below(20);
        let Some(slot) = self.processes[at].slot(id, generation) else {
            return Ok(());
        };
        let room = slot.tracker.room().min(most);
        let mut found = false;
        if slot.stopping.is_none() && room > 0 {
            let (records, end) = match slot.tracker.read_from() {
                Some(from) => {
                    let token = slot.tracker.read_token();
                    self.log.read(id, from, token, room)?
                }
                None => return Ok(()),
            };
            found = !records.is_empty();
            slot.tracker.fetched(records, now);
            if let Some(children) = end {
                slot.tracker.reader_ended(children);
                return self.handle(at, Input::Tick);
            }
        }
        let again = if found { 50 } else { 700 };
        let again = Duration::from_millis(again + self.rng.below(100) as u64);
        self.after(again, Action::Fetch(at, id.clone(), generation));
        if found {
            self.handle(at, Input::Tick)?;
        }
        Ok(())
    }

    pub(super) fn in_trouble(&self) -> bool {
        self.now.elapsed_since_origin() < self.scenario.trouble
    }

    pub(super) fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_secs(from + self.rng.below((to - from + 1) as usize) as u64)
    }

    pub(super) fn some_time(&mut self, action: Action) {
        let most = self.scenario.trouble.as_millis() as usize;
        let after = Duration::from_millis(self.rng.below(most) as u64);
        self.after(after, action);
    }

    pub(super) fn after(&mut self, delay: Duration, action: Action) {
        self.at(self.now + delay, action);
    }

    pub(super) fn at(&mut self, at: Instant, action: Action) {
        self.agenda.scheduled += 1;
        let order = self.agenda.scheduled;
        self.agenda
            .queue
            .push(Reverse(Scheduled { at, order, action }));
    }
}
