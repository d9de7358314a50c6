use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::time::Duration;

use aqueduct_core::{
    Effect, Error, ErrorKind, Moment, OwnerId, PartitionId, Revocation, Settlement, Swap, Watermark,
};

use super::check::Check;
use super::log::Log;
use super::process::{Chain, Process, View};
use super::scenario::Scenario;
use super::store::Store;
use crate::member::{Command, Input, Listing, Rng};

const CALL_LIMIT: Duration = Duration::from_millis(7_500);
const PATIENCE: Duration = Duration::from_secs(3_600);

/// What happens at some time.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "few of them live at a time")]
enum Action {
    Wake(usize),
    Answer(usize, Input),
    Store(usize, Command, Answer),
    Fetch(usize, PartitionId, u64),
    Due(usize, PartitionId, u64),
    Finish(usize, u64),
    Produce,
    Reshard,
    Crash(usize),
    Stall,
    Restart,
    Leave,
    Outage(bool),
    Flush,
    Look,
}

/// How the answer of a store call comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Comes,
    Lost,
}

struct Scheduled {
    at: Moment,
    order: u64,
    action: Action,
}

/// Everything that is simulated.
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) now: Moment,
    pub(super) log: Log,
    pub(super) store: Store,
    pub(super) processes: Vec<Process>,
    pub(super) check: Check,
    pub(super) trace: Trace,
    rng: Rng,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    chains: u64,
    flush_ids: u64,
    dead: BTreeSet<OwnerId>,
    outage: bool,
    /// Where each key is written now.
    homes: Vec<PartitionId>,
    produced: usize,
    done: bool,
}

impl World {
    pub(super) fn new(seed: u64, scenario: Scenario, print: bool) -> Self {
        let log = Log::new(scenario.partitions, scenario.keys);
        let open = log.open();
        let mut world = Self {
            now: Moment::after_origin(Duration::from_secs(1)),
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
            outage: false,
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
                return Ok(());
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
        for _ in 0..scenario.stalls {
            self.some_time(Action::Stall);
        }
        for _ in 0..scenario.joins {
            self.some_time(Action::Restart);
            self.some_time(Action::Leave);
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
                let seed = self.rng.next();
                let process = Process::new(name, &self.scenario, seed, self.now);
                self.processes.push(process);
                self.handle(self.processes.len() - 1, Input::Tick)
            }
            Action::Leave => self.leave(),
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

    /// Gives an input to a member and carries out what it decides.
    fn handle(&mut self, at: usize, input: Input) -> Result<(), String> {
        let concurrency = self.scenario.concurrency;
        let process = &mut self.processes[at];
        if !process.alive {
            return Ok(());
        }
        let mut view = View {
            waits: process.chains.len() < concurrency,
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
                let seed = self.rng.next();
                self.check.seen.cautious += u64::from(opening.takeover().cautious_until.is_some());
                process.open(&opening, seed);
                let (id, generation) = (opening.lease.partition, opening.lease.generation);
                self.after(Duration::from_millis(1), Action::Fetch(at, id, generation));
            }
            Command::Extended(id, until, _) => {
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
                    let stored = row.map_or(usize::MAX, |row| settled_to(row.watermark));
                    if !lost && stored < settled {
                        return Err(format!(
                            "{partition}: flushed, {settled} settled, {stored} stored"
                        ));
                    }
                    self.check.seen.flushes += 1;
                }
            }
            Command::Closed => process.alive = false,
            command => self.send(at, command),
        }
        Ok(())
    }

    /// Sends a call to the store, through everything that can go wrong on the way.
    fn send(&mut self, at: usize, command: Command) {
        let scenario = &self.scenario;
        let trouble = self.in_trouble();
        let mut draw = |odds: usize| trouble && self.rng.below(1000) < odds;
        let refused = draw(scenario.refused_calls);
        let lost = draw(scenario.lost_answers);
        let slow = draw(scenario.slow_calls);
        let mut delay = Duration::from_millis(2 + self.rng.below(40) as u64);
        if slow {
            delay = Duration::from_millis(self.rng.below(20_000) as u64);
        }
        if refused || self.outage {
            let unknown = self.rng.below(2) == 0;
            let input = failed(&command, unknown);
            self.after(delay.min(CALL_LIMIT), Action::Answer(at, input));
            return;
        }
        let answer = if lost || delay >= CALL_LIMIT {
            let input = failed(&command, true);
            self.after(CALL_LIMIT, Action::Answer(at, input));
            Answer::Lost
        } else {
            Answer::Comes
        };
        // Some of the lost answers are lost calls.
        if answer == Answer::Comes || self.rng.below(3) > 0 {
            self.after(delay, Action::Store(at, command, answer));
        }
    }

    fn store_call(&mut self, at: usize, command: Command, answer: Answer) -> Result<(), String> {
        let store = &mut self.store;
        let input = match command {
            Command::List(_) => {
                store.lists += 1;
                Input::Listed(Ok(Listing {
                    partitions: self.log.listing(),
                    leases: store.rows.values().cloned().collect(),
                }))
            }
            Command::Group => Input::Group(Ok(None)),
            Command::Create(lease) => {
                Input::Created(lease.partition.clone(), Ok(store.create(lease)))
            }
            Command::Write {
                op, current, next, ..
            } => {
                let id = current.partition.clone();
                let before = store.rows.get(&id).cloned();
                let swap = store.swap(&current, *next);
                if let (Some(before), Swap::Swapped(after)) = (before, &swap) {
                    self.check.written(&self.log, &before, after)?;
                    let writer = Some(&self.processes[at].owner);
                    if before.owner.is_some() && before.owner.as_ref() != writer {
                        self.check.taken(&self.log, &before);
                    }
                }
                Input::Written(id, op, Ok(swap))
            }
            Command::Read(id, op) => {
                let row = store.rows.get(&id).cloned();
                Input::Read(id, op, Ok(row))
            }
            Command::Request(lease) => {
                let by = self.processes[at].owner.clone();
                let row = store.request(&lease, &by);
                Input::Requested(lease.partition, Ok(row))
            }
            Command::Delete(lease) => {
                self.check.seen.deleted += 1;
                Input::Deleted(lease.partition.clone(), Ok(store.delete(&lease)))
            }
            other => return Err(format!("{other:?} is no call")),
        };
        if answer == Answer::Comes {
            let delay = Duration::from_millis(1 + self.rng.below(20) as u64);
            self.after(delay, Action::Answer(at, input));
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
                Some(from) => self.log.read(id, from, room),
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

    /// Hands out what may be handed out, and starts handlers.
    fn deliver(&mut self, at: usize) -> Result<(), String> {
        let ids: Vec<_> = self.processes[at].slots.keys().cloned().collect();
        for id in ids {
            let now = self.now;
            let process = &mut self.processes[at];
            if !process.alive || process.leaving {
                return Ok(());
            }
            let room = self
                .scenario
                .concurrency
                .saturating_sub(process.chains.len());
            let Some(slot) = process.slots.get_mut(&id) else {
                continue;
            };
            if room == 0 || slot.stopping.is_some() || now >= slot.until {
                continue;
            }
            let generation = slot.generation;
            let mut parts = Vec::new();
            slot.tracker.take(room, now, &mut parts);
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
            let mut runs: BTreeMap<Option<aqueduct_core::Text>, VecDeque<_>> = BTreeMap::new();
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
            let Some(tracker) = tracker.filter(|it| it.revocation(parts.ticket).is_none()) else {
                self.pop(at, chain);
                continue;
            };
            let event = self.log.event_at(&id, parts.position.unwrap());
            let row = self.store.rows.get(&id);
            let fenced = row.is_none_or(|row| {
                row.generation != generation || row.owner.as_ref() != Some(&owner)
            });
            self.check
                .starts(&self.log, event, parts.attempt, fenced)
                .map_err(|why| format!("{id}, {owner}, generation {generation}: {why}"))?;
            if parts.attempt > self.scenario.attempts {
                let settled = tracker.settle(&parts, &Settlement::Ack, self.now, || 0);
                settled.map_err(|why| format!("{why}"))?;
                self.check
                    .letter(&self.log, event, self.scenario.attempts)?;
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
        let Some(parts) = it.parts.pop_front() else {
            return Ok(());
        };
        let event = self.log.event_at(&id, parts.position.unwrap());
        if self.log.events[event].poison {
            self.check.seen.kills += 1;
            self.crash(at);
            return Ok(());
        }
        let fails = self.rng.below(1000) < self.scenario.nacks;
        let (kind, random) = (self.rng.below(6), self.rng.next());
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
                self.check.failed(event);
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
        process.slots.clear();
        process.chains.clear();
        if self.scenario.knows_dead {
            self.dead.insert(process.owner.clone());
        }
        let back = self.seconds(1, 15);
        self.after(back, Action::Restart);
    }

    /// A member leaves as long as another one stays.
    fn leave(&mut self) -> Result<(), String> {
        let staying: Vec<_> = (0..self.processes.len())
            .filter(|at| self.processes[*at].alive && !self.processes[*at].leaving)
            .collect();
        if staying.len() < 2 {
            return Ok(());
        }
        let at = staying[self.rng.below(staying.len())];
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
                .map(|(id, slot)| (id.clone(), settled_to(slot.tracker.progress().watermark)))
                .filter(|(_, settled)| *settled < usize::MAX)
                .collect();
            process.flushes.insert(id, settled);
            self.handle(at, Input::Flush(id))?;
        }
        Ok(())
    }

    fn produce(&mut self) {
        let keyed = self.rng.below(8) > 0;
        let key = self.rng.below(self.scenario.keys);
        let home = if keyed {
            self.homes[key].clone()
        } else {
            let open = self.log.open();
            open[self.rng.below(open.len())].clone()
        };
        self.produced += 1;
        let poison = self.scenario.poison > 0 && self.produced == self.scenario.events / 3;
        self.log.append(keyed.then_some(key), &home, poison);
        self.check.appended();
    }

    fn reshard(&mut self) {
        let mut open = self.log.open();
        self.rng.shuffle(&mut open);
        let merge = open.len() > 1 && self.rng.below(2) == 0;
        let parents = &open[..if merge { 2 } else { 1 }];
        let children = self.log.reshard(parents, if merge { 1 } else { 2 });
        for (key, home) in self.homes.iter_mut().enumerate() {
            if parents.contains(home) {
                *home = children[key % children.len()].clone();
            }
        }
    }

    /// Ends the run where everything is as it should be, and complains where it never is.
    fn look(&mut self) -> Result<(), String> {
        for (id, partition) in &mut self.log.partitions {
            let row = self.store.rows.get(id);
            if partition.closed && row.is_some_and(|row| row.watermark == Watermark::End) {
                partition.listed = false;
            }
        }
        let open = self.unfinished();
        if open.is_none() {
            self.done = true;
            return Ok(());
        }
        if self.now.elapsed_since_origin() > self.scenario.trouble + PATIENCE {
            return Err(format!(
                "not finished an hour after the last fault: {}; events {:?}; rows {:#?}",
                open.unwrap_or_default(),
                self.check.unsettled(),
                self.store.rows
            ));
        }
        self.after(Duration::from_secs(5), Action::Look);
        Ok(())
    }

    fn unfinished(&self) -> Option<String> {
        if !self.check.is_all_settled() {
            return Some("not all is settled".to_owned());
        }
        if !self.check.poison_is_buried(&self.log) {
            return Some("poison is no letter".to_owned());
        }
        for (id, partition) in &self.log.partitions {
            let Some(row) = self.store.rows.get(id) else {
                continue;
            };
            let all = partition.events.len();
            let done = settled_to(row.watermark) >= all;
            if !done || (partition.closed && row.watermark != Watermark::End) {
                return Some(format!("{id} is not committed to its end"));
            }
        }
        let mut counts: BTreeMap<&OwnerId, usize> = BTreeMap::new();
        for process in &self.processes {
            if process.alive && !process.leaving {
                counts.insert(&process.owner, 0);
            } else if process.alive {
                return Some("a member has not left".to_owned());
            }
        }
        for row in self.store.rows.values() {
            if row.watermark == Watermark::End {
                continue;
            }
            match row.owner.as_ref().and_then(|owner| counts.get_mut(owner)) {
                Some(count) => *count += 1,
                None => return Some(format!("{} is not owned", row.partition)),
            }
        }
        let (least, most) = (counts.values().min(), counts.values().max());
        let balanced = least
            .zip(most)
            .is_some_and(|(least, most)| most - least <= 1);
        (!balanced).then(|| format!("not balanced: {counts:?}"))
    }

    fn in_trouble(&self) -> bool {
        self.now.elapsed_since_origin() < self.scenario.trouble
    }

    fn seconds(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_secs(from + self.rng.below((to - from + 1) as usize) as u64)
    }

    fn some_time(&mut self, action: Action) {
        let most = self.scenario.trouble.as_millis() as usize;
        let after = Duration::from_millis(self.rng.below(most) as u64);
        self.after(after, action);
    }

    fn after(&mut self, delay: Duration, action: Action) {
        self.at(self.now + delay, action);
    }

    fn at(&mut self, at: Moment, action: Action) {
        self.scheduled += 1;
        let order = self.scheduled;
        self.queue.push(Reverse(Scheduled { at, order, action }));
    }
}

fn settled_to(watermark: Watermark) -> usize {
    match watermark {
        Watermark::Start(_) => 0,
        Watermark::At(position) => position.sequence().unwrap_or(0) as usize,
        Watermark::End => usize::MAX,
    }
}

/// The answer of a call that failed.
fn failed(command: &Command, unknown: bool) -> Input {
    let mut error = Error::new(ErrorKind::Unavailable, "simulated");
    if unknown {
        error = error.with_effect(Effect::Unknown);
    }
    match command {
        Command::List(_) => Input::Listed(Err(error)),
        Command::Group => Input::Group(Err(error)),
        Command::Create(lease) => Input::Created(lease.partition.clone(), Err(error)),
        Command::Write { op, current, .. } => {
            Input::Written(current.partition.clone(), *op, Err(error))
        }
        Command::Read(id, op) => Input::Read(id.clone(), *op, Err(error)),
        Command::Request(lease) => Input::Requested(lease.partition.clone(), Err(error)),
        Command::Delete(lease) => Input::Deleted(lease.partition.clone(), Err(error)),
        _ => Input::Tick,
    }
}

/// What happened, as a number, and in words where somebody reads them.
pub(super) struct Trace {
    hash: u64,
    print: bool,
}

impl Trace {
    fn new(print: bool) -> Self {
        Self {
            hash: 0xcbf2_9ce4_8422_2325,
            print,
        }
    }

    pub(super) fn hash(&self) -> u64 {
        self.hash
    }

    fn step(&mut self, now: Moment, action: &Action) {
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
