use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use aqueduct_core::{
    Instant, Lease, OwnerId, PartitionId, Revocation, Settlement, StoredAttempts, Swap,
};

use super::check::Check;
use super::course::settled_to;
use super::log::Log;
use super::process::{Chain, Process, View};
use super::scenario::Scenario;
use super::schedule::{Action, Scheduled, Trace};
use super::store::Store;
use crate::member::{Command, Input, Rng};

/// The whole simulated system.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) now: Instant,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) processes: Vec<Process>,
    pub(super) check: Check,
    pub(super) trace: Trace,
    pub(super) rng: Rng,
    pub(super) queue: BinaryHeap<Reverse<Scheduled>>,
    pub(super) scheduled: u64,
    pub(super) chains: u64,
    pub(super) flush_ids: u64,
    pub(super) dead: BTreeSet<OwnerId>,
    /// Handed off, and not accepted yet.
    pub(super) given: BTreeSet<PartitionId>,
    pub(super) outage: bool,
    /// Processes come back at once.
    pub(super) storming: bool,
    /// Where each key is written now.
    pub(super) homes: Vec<PartitionId>,
    pub(super) produced: usize,
    pub(super) done: bool,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, print: bool) -> Self {
        let log = Log::new(scenario.partitions, scenario.keys);
        let open = log.open();
        let mut world = Self {
            now: Instant::after_origin(Duration::from_secs(1)),
            check: Check::new(scenario.keys),
            homes: (0..scenario.keys)
                .map(|key| open[key % open.len()].clone())
                .collect(),
            log,
            store: Store::default(),
            processes: Vec::new(),
            trace: Trace::new(print),
            rng: Rng::new(seed),
            queue: BinaryHeap::new(),
            scheduled: 0,
            chains: 0,
            flush_ids: 0,
            dead: BTreeSet::new(),
            given: BTreeSet::new(),
            outage: false,
            storming: false,
            produced: 0,
            done: false,
            scenario,
        };
        world.plan();
        world
    }

    pub(super) fn run(&mut self) -> Result<(), String> {
        while let Some(Reverse(next)) = self.queue.pop() {
            self.now = next.at;
            self.act(next.action)?;
            if self.done {
                return self.costs_what_is_stated();
            }
        }
        Err("nothing is left to do".to_owned())
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
                let seen = &mut self.check.seen;
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
                    self.check.seen.crashes += 1;
                    self.crash(at);
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
                    self.check.seen.stalls += 1;
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
                self.outage = begins;
                if begins {
                    self.check.seen.outages += 1;
                    let lasts = self.seconds(5, 80);
                    self.after(lasts, Action::Outage(false));
                }
                Ok(())
            }
            Action::Flush => self.flush(),
            Action::Look => self.look(),
        }
    }

    /// Gives an input to a member and executes its commands.
    fn handle(&mut self, at: usize, input: Input) -> Result<(), String> {
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
            dead: &self.dead,
            now: self.now,
        };
        let commands = process.member.handle(input, self.now, &mut view);
        let wake = process.member.next_wake();
        let due = wake < process.wake_at || process.wake_at <= self.now;
        if due {
            process.wake_at = wake;
            self.at(wake, Action::Wake(at));
        }
        for command in commands {
            self.carry_out(at, command)?;
        }
        self.deliver(at)
    }

    fn carry_out(&mut self, at: usize, command: Command) -> Result<(), String> {
        let process = &mut self.processes[at];
        match command {
            Command::Open(opening) => {
                let seed = self.rng.next_u64();
                self.check.seen.isolated += u64::from(opening.takeover().isolated_until.is_some());
                process.open(&opening, seed);
                let (id, generation) = (opening.lease.partition, opening.lease.generation);
                self.after(Duration::from_millis(1), Action::Fetch(at, id, generation));
            }
            Command::Extended(id, until) => {
                if let Some(slot) = process.slots.get_mut(&id) {
                    slot.until = until;
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
                self.check.seen.lost_leases += u64::from(why == Revocation::Lost);
                process.slots.remove(&id);
            }
            Command::Flushed { id, lost } => {
                for (partition, settled) in process.flushes.remove(&id).unwrap_or_default() {
                    let row = self.store.rows.get(&partition);
                    let stored = row.map_or(usize::MAX, |row| settled_to(row.checkpoint));
                    if !lost && stored < settled {
                        return Err(format!(
                            "{partition}: flushed, {settled} settled, {stored} stored"
                        ));
                    }
                    self.check.seen.flushes += 1;
                }
            }
            Command::Closed { kept } => {
                process.alive = false;
                self.check.seen.kept += kept.len() as u64;
                process.left = Some(kept);
                return self.nobody_left_owns(None);
            }
            command => self.send(at, command),
        }
        Ok(())
    }

    fn fetch(&mut self, at: usize, id: &PartitionId, generation: u64) -> Result<(), String> {
        let now = self.now;
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

    /// Hands out deliverable events, and starts handlers.
    fn deliver(&mut self, at: usize) -> Result<(), String> {
        let slots = self.processes[at].slots.iter();
        self.check
            .one_alone(slots.clone().filter(|(_, slot)| slot.tracker.is_alone()))?;
        let mut ids: Vec<_> = slots
            .map(|(id, slot)| (!slot.tracker.is_unclaimed(), id.clone()))
            .collect();
        ids.sort();
        for (_, id) in ids {
            let now = self.now;
            let process = &mut self.processes[at];
            if !process.alive || process.leaving {
                return Ok(());
            }
            let room = self
                .scenario
                .concurrency
                .saturating_sub(process.chains.len());
            let held = process.held;
            let Some(slot) = process.slots.get_mut(&id) else {
                continue;
            };
            if held && !slot.tracker.is_alone() {
                continue;
            }
            if room == 0 || slot.stopping.is_some() || now >= slot.until {
                continue;
            }
            let generation = slot.generation;
            let mut parts = Vec::new();
            slot.tracker.take(room, now, |it| parts.push(it));
            let due = slot.tracker.next_due().filter(|due| *due > now);
            if let Some(due) = due
                && slot.due_at.is_none_or(|planned| planned > due)
            {
                slot.due_at = Some(due);
                self.at(due, Action::Due(at, id.clone(), generation));
            }
            if parts.is_empty() {
                continue;
            }
            let owner = self.processes[at].owner.clone();
            let others = self.processes.iter().filter(|process| process.alive);
            let others = others.filter(|process| {
                let slot = process.slots.get(&id);
                slot.is_some_and(|slot| {
                    now < slot.until
                        && slot
                            .tracker
                            .revocation(0)
                            .is_none_or(|why| why == Revocation::Superseded)
                })
            });
            let others = others.map(|process| process.owner.clone());
            self.check.owned_once(&id, &owner, others)?;
            let mut runs: BTreeMap<Option<aqueduct_core::SmallStr>, VecDeque<_>> = BTreeMap::new();
            let mut chains = Vec::new();
            for part in parts {
                match part.event.key_text().cloned() {
                    None => chains.push(VecDeque::from([part])),
                    key => runs.entry(key).or_default().push_back(part),
                }
            }
            chains.extend(runs.into_values());
            for parts in chains {
                self.chains += 1;
                let chain = Chain {
                    partition: id.clone(),
                    generation,
                    parts,
                };
                self.processes[at].chains.insert(self.chains, chain);
                self.start(at, self.chains)?;
            }
        }
        Ok(())
    }

    /// Starts the handler of the first delivery of a chain that may still be settled.
    fn start(&mut self, at: usize, chain: u64) -> Result<(), String> {
        loop {
            let process = &mut self.processes[at];
            let Some(it) = process.chains.get_mut(&chain) else {
                return Ok(());
            };
            let (id, generation) = (it.partition.clone(), it.generation);
            let Some(parts) = it.parts.front().cloned() else {
                process.chains.remove(&chain);
                return Ok(());
            };
            let owner = process.owner.clone();
            let slot = process.slot(&id, generation);
            let tracker = slot.map(|slot| &mut slot.tracker);
            let open = tracker.is_some_and(|it| it.revocation(parts.ticket).is_none());
            if !open {
                self.pop(at, chain);
                continue;
            }
            let event = self.log.event_at(&id, parts.position.unwrap());
            let row = self.store.rows.get(&id);
            let fenced = row.is_none_or(|row| {
                row.generation != generation || row.owner.as_ref() != Some(&owner)
            });
            self.check
                .starts(&self.log, event, parts.attempt, fenced)
                .map_err(|why| format!("{id}, {owner}, generation {generation}: {why}"))?;
            let process = &self.processes[at];
            let alone = process.slots.values().any(|slot| slot.tracker.is_alone());
            if alone && process.chains.len() > 1 {
                return Err(format!(
                    "{owner}: event {event} runs beside one that runs alone"
                ));
            }
            let Some(slot) = self.processes[at].slot(&id, generation) else {
                return Ok(());
            };
            let tracker = &mut slot.tracker;
            if parts.attempt > self.scenario.attempts {
                let settled = tracker.settle(&parts, &Settlement::Ack, self.now, || 0);
                settled.map_err(|why| format!("{why}"))?;
                self.check
                    .dead_letter(&self.log, event, self.scenario.attempts)?;
                self.check.settled(event);
                self.pop(at, chain);
                continue;
            }
            let lasts = match self.rng.below(30) {
                0 => self.rng.below(40_000),
                _ => 1 + self.rng.below(1_500),
            };
            self.after(
                Duration::from_millis(lasts as u64),
                Action::Finish(at, chain),
            );
            return Ok(());
        }
    }

    fn pop(&mut self, at: usize, chain: u64) {
        if let Some(chain) = self.processes[at].chains.get_mut(&chain) {
            chain.parts.pop_front();
        }
    }

    fn finish(&mut self, at: usize, chain: u64) -> Result<(), String> {
        let now = self.now;
        let Some(it) = self.processes[at].chains.get_mut(&chain) else {
            return Ok(());
        };
        let (id, generation) = (it.partition.clone(), it.generation);
        let Some(parts) = it.parts.front().cloned() else {
            return Ok(());
        };
        let event = self.log.event_at(&id, parts.position.unwrap());
        if self.log.events[event].poison {
            self.check.seen.kills += 1;
            self.crash(at);
            return Ok(());
        }
        self.pop(at, chain);
        let fails = self.rng.below(1000) < self.scenario.nacks;
        let (kind, random) = (self.rng.below(6), self.rng.next_u64());
        if let Some(slot) = self.processes[at].slot(&id, generation) {
            let tracker = &mut slot.tracker;
            let delay = Duration::from_millis(random % 3_000);
            let (settlement, counts) = match (fails, kind) {
                (false, _) => (Some(Settlement::Ack), false),
                (true, 0) => (Some(Settlement::Defer { delay }), false),
                (true, 1) => (None, true),
                (true, kind) => {
                    let delay = (kind > 3).then_some(delay);
                    (Some(Settlement::Nack { delay, error: None }), true)
                }
            };
            let open = tracker.revocation(parts.ticket).is_none();
            let answer = match &settlement {
                Some(settlement) => tracker.settle(&parts, settlement, now, || random),
                None => Ok(tracker.abandon(&parts, now, || random)),
            };
            if open && counts {
                self.check.seen.nacks += 1;
                self.check.nacked(event);
            }
            if answer.is_ok() && !fails {
                self.check.settled(event);
            }
        }
        self.start(at, chain)?;
        self.handle(at, Input::Tick)
    }

    fn crash(&mut self, at: usize) {
        let process = &mut self.processes[at];
        process.alive = false;
        // The event that ran in it, if only one did; a handler whose lease was lost also counts.
        let running = match process.chains.values().collect::<Vec<_>>()[..] {
            [chain] => chain.parts.front().and_then(|parts| {
                let event = self.log.event_at(&chain.partition, parts.position?);
                Some((chain.partition.clone(), event))
            }),
            _ => None,
        };
        process.died_of = running.clone();
        if let Some((_, event)) = running {
            self.check.died(event);
        }
        process.slots.clear();
        process.chains.clear();
        if self.scenario.knows_dead {
            self.dead.insert(process.owner.clone());
        }
        let back = match self.storming {
            true => Duration::from_millis(self.rng.below(50) as u64),
            false => self.seconds(1, 15),
        };
        self.after(back, Action::Restart);
    }

    /// Notes that a lease was taken from an owner that did not release it. A mark in it is right if
    /// only its event ran in the process that died.
    pub(super) fn taken_over(&mut self, before: &Lease) {
        self.check.seen.unclean += 1;
        let counts = |attempts: &StoredAttempts| attempts.started && attempts.count > 0;
        let Some(mark) = before.attempts.filter(counts) else {
            return;
        };
        let event = self.log.event_at(&before.partition, mark.position);
        let owner = |process: &&Process| before.owner.as_ref() == Some(&process.owner);
        let died_of = self.processes.iter().find(owner);
        let died_of = died_of.and_then(|process| process.died_of.as_ref());
        if died_of != Some(&(before.partition.clone(), event)) {
            self.check.nearly_ran(event);
        }
    }

    /// Kills all live processes again and again, faster than any can make progress.
    fn storm(&mut self, left: usize) {
        self.storming = left > 0;
        if left == 0 {
            return;
        }
        for at in 0..self.processes.len() {
            if self.processes[at].alive {
                self.check.seen.storms += 1;
                self.crash(at);
            }
        }
        let next = Duration::from_millis(80 + self.rng.below(900) as u64);
        self.after(next, Action::Storm(left - 1));
    }

    /// Lets that member, or any, leave as long as another one stays.
    fn leave(&mut self, at: Option<usize>) -> Result<(), String> {
        let staying: Vec<_> = (0..self.processes.len())
            .filter(|at| self.processes[*at].alive && !self.processes[*at].leaving)
            .collect();
        if staying.len() < 2 {
            return Ok(());
        }
        let at = match at {
            None => staying[self.rng.below(staying.len())],
            Some(at) if staying.contains(&at) => at,
            Some(_) => return Ok(()),
        };
        self.check.seen.leaves += 1;
        self.processes[at].leaving = true;
        self.handle(at, Input::Close)
    }

    fn flush(&mut self) -> Result<(), String> {
        for at in 0..self.processes.len() {
            let process = &mut self.processes[at];
            if !process.alive || process.leaving || process.stalled_until > self.now {
                continue;
            }
            self.flush_ids += 1;
            let id = self.flush_ids;
            let open = process.slots.iter();
            let settled = open
                .map(|(id, slot)| (id.clone(), settled_to(slot.tracker.progress().ack_floor)))
                .filter(|(_, settled)| *settled < usize::MAX)
                .collect();
            process.flushes.insert(id, settled);
            self.handle(at, Input::Flush(id))?;
        }
        Ok(())
    }

    /// Checks that a member that left owns only the leases it reported as kept, now and later.
    pub(super) fn nobody_left_owns(&self, only: Option<&PartitionId>) -> Result<(), String> {
        let rows = self.store.rows.values();
        let rows = rows.filter(|row| !self.given.contains(&row.partition));
        for row in rows.filter(|row| only.is_none_or(|only| row.partition == *only)) {
            let owner = |it: &&Process| row.owner.as_ref() == Some(&it.owner);
            let kept = self
                .processes
                .iter()
                .find(owner)
                .and_then(|it| it.left.as_ref());
            if kept.is_some_and(|kept| !kept.contains(&row.partition)) {
                return Err(format!("its owner left and did not give it up: {row:?}"));
            }
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
        self.scheduled += 1;
        let order = self.scheduled;
        self.queue.push(Reverse(Scheduled { at, order, action }));
    }
}
