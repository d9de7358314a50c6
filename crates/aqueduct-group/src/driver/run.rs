use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use aqueduct_core::{
    Effect, Error, ErrorKind, GroupRecord, OwnerId, PartitionId, Retry, Revocation, Task,
};
use futures::channel::{mpsc, oneshot};
use futures::future::{BoxFuture, poll_fn};
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::report::Reports;
use super::slot::Slot;
use super::{Request, Shared, calls, lock, reader};
use crate::member::{Command, Input, Member, Opening, Snapshot, Timings, Work};

/// The arguments of a driver.
pub(crate) struct Start {
    pub(crate) shared: Arc<Shared>,
    pub(crate) record: GroupRecord,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
}

/// Runs one member.
pub(crate) struct Driver {
    shared: Arc<Shared>,
    member: Member,
    owned: OwnedSlots,
    calls: FuturesUnordered<BoxFuture<'static, Input>>,
    requests: mpsc::UnboundedReceiver<Request>,
    flushes: BTreeMap<u64, Flushing>,
    flush_ids: u64,
    /// Tasks of lost partitions, while their hooks run.
    leaving: FuturesUnordered<Task<()>>,
    reports: Reports,
    closed: bool,
}

/// A flush in progress.
struct Flushing {
    done: oneshot::Sender<bool>,
    /// Settlements were lost with a lease since the previous flush.
    lost: bool,
}

/// The open partitions, as the member asks for them.
struct OwnedSlots {
    shared: Arc<Shared>,
    /// Whether a lease was lost with settlements that no commit covered: the next flush fails.
    lost_settlements: bool,
    open: BTreeMap<PartitionId, (Arc<Slot>, Task<()>)>,
    /// The slot before the one that is open, whose hooks come first.
    before: BTreeMap<PartitionId, Arc<Slot>>,
}

impl Driver {
    pub(crate) fn new(start: Start) -> Self {
        let shared = start.shared;
        let runtime = &shared.runtime;
        let member = Member::new(
            Timings::new(&shared.options),
            shared.member.key.clone(),
            shared.member.owner.clone(),
            start.record,
            runtime.random(),
            runtime.now(),
        );
        Self {
            member,
            owned: OwnedSlots {
                shared: shared.clone(),
                lost_settlements: false,
                open: BTreeMap::new(),
                before: BTreeMap::new(),
            },
            calls: FuturesUnordered::new(),
            requests: start.requests,
            flushes: BTreeMap::new(),
            flush_ids: 0,
            leaving: FuturesUnordered::new(),
            reports: Reports::new(runtime.now()),
            closed: false,
            shared,
        }
    }

    /// Runs until the consumer is closed.
    pub(crate) async fn run(mut self) {
        let _end = EndOnDrop(self.shared.clone());
        let mut inputs = VecDeque::from([Input::Tick]);
        loop {
            let news = self.shared.driver.wake.listen();
            let gate = self.shared.isolation.seat.changed();
            self.owned.heed_gate();
            while let Some(input) = inputs.pop_front() {
                self.step(input);
            }
            if self.closed {
                break;
            }
            let mut news = pin!(news);
            let mut gate = pin!(gate);
            let mut wake = self.shared.runtime.sleep_until(self.member.next_wake());
            let Self {
                calls,
                requests,
                leaving,
                ..
            } = &mut self;
            let event = poll_fn(|cx| {
                while let Poll::Ready(Some(_)) = leaving.poll_next_unpin(cx) {}
                if let Poll::Ready(Some(input)) = calls.poll_next_unpin(cx) {
                    return Poll::Ready(Happened::Input(Box::new(input)));
                }
                if let Poll::Ready(Some(request)) = requests.poll_next_unpin(cx) {
                    return Poll::Ready(Happened::Request(request));
                }
                if gate.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Happened::Gate);
                }
                if news.as_mut().poll(cx).is_ready() || wake.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Happened::Input(Box::new(Input::Tick)));
                }
                Poll::Pending
            })
            .await;
            inputs.push_back(match event {
                Happened::Input(input) => *input,
                Happened::Gate => {
                    self.shared.receivers.ready.notify(usize::MAX);
                    Input::Tick
                }
                Happened::Request(Request::Close) => Input::Close,
                Happened::Request(Request::Flush(done)) => {
                    self.flush_ids += 1;
                    let lost = std::mem::take(&mut self.owned.lost_settlements);
                    self.flushes.insert(self.flush_ids, Flushing { done, lost });
                    Input::Flush(self.flush_ids)
                }
            });
        }
        self.leave().await;
    }

    fn step(&mut self, input: Input) {
        let now = self.shared.runtime.now();
        let commands = self.member.handle(input, now, &mut self.owned);
        for command in commands {
            self.carry_out(command);
        }
        *lock(&self.shared.driver.unreachable_since) = self.member.unreachable_since(now);
        self.reports.look(&self.shared, now);
    }

    fn carry_out(&mut self, command: Command) {
        match command {
            Command::Open(opening) => self.owned.open(&opening),
            Command::Extended(partition, until) => {
                if let Some((slot, _)) = self.owned.open.get(&partition) {
                    slot.extended(until);
                }
            }
            Command::Committed(partition, progress) => {
                if let Some((slot, _)) = self.owned.open.get(&partition) {
                    slot.committed(&progress);
                }
            }
            Command::Drain(partition, why) => {
                if let Some((slot, _)) = self.owned.open.get(&partition) {
                    tracing::info!(key = %self.shared.member.key, %partition, %why, "giving up a partition");
                    slot.stop(why);
                }
            }
            Command::Gone(partition, why) => {
                self.leaving.extend(self.owned.gone(&partition, why));
            }
            Command::Flushed { id, lost } => {
                if let Some(flushing) = self.flushes.remove(&id) {
                    flushing.done.send(!lost && !flushing.lost).ok();
                }
            }
            Command::Closed { kept } => {
                self.closed = true;
                if !kept.is_empty() {
                    *lock(&self.shared.ending.kept) = Some(not_given_up(&kept, &self.shared));
                }
            }
            command => self.calls.extend(calls::call(&self.shared, command)),
        }
    }

    /// Waits for the last hooks, then withdraws this member's announcement.
    async fn leave(mut self) {
        let shared = self.shared.clone();
        let hooks = async { while self.leaving.next().await.is_some() {} };
        let limit = shared.options.drain;
        if let Err(error) = shared.runtime.timeout(limit, "revoked hooks", hooks).await {
            tracing::warn!(key = %shared.member.key, %error, "closing without waiting for the hooks");
        }
        let leave = shared.member.leases.leave(&shared.member.owner);
        let limit = shared.options.lease_ttl / 4;
        if let Ok(Err(error)) = shared.runtime.timeout(limit, "leave", leave).await {
            tracing::warn!(key = %shared.member.key, %error, "the store was not told that this member leaves");
        }
        shared.end(None);
    }
}

fn not_given_up(kept: &[PartitionId], shared: &Shared) -> Error {
    let names: Vec<_> = kept.iter().map(ToString::to_string).collect();
    let message = format!(
        "{}: closed, and the store did not say in time that these partitions are given up: {}; \
         the others take them over once their leases expire, within {:?}",
        shared.member.key,
        names.join(", "),
        shared.options.lease_ttl
    );
    Error::new(ErrorKind::Unavailable, message)
        .with_retry(Retry::Never)
        .with_effect(Effect::Unknown)
}

enum Happened {
    Input(Box<Input>),
    /// Another event may run alone, or all may go on.
    Gate,
    Request(Request),
}

impl OwnedSlots {
    fn open(&mut self, opening: &Opening) {
        let slot = Slot::new(&self.shared, opening);
        let partition = slot.origin.partition.clone();
        let generation = slot.assignment.generation;
        let isolated = opening.takeover().isolated_until.is_some();
        tracing::info!(key = %self.shared.member.key, %partition, generation, start = %slot.origin.start, isolated, "partition assigned");
        let previous = self.before.insert(partition.clone(), slot.clone());
        lock(&self.shared.receivers.slots).list.push(slot.clone());
        let task = reader::attend(slot.clone(), previous);
        let task = self.shared.runtime.spawn(task);
        self.open.insert(partition, (slot, task));
        self.count();
    }

    fn gone(&mut self, partition: &PartitionId, why: Revocation) -> Option<Task<()>> {
        let (slot, task) = self.open.remove(partition)?;
        tracing::info!(key = %self.shared.member.key, %partition, %why, generation = slot.assignment.generation, "partition gone");
        metrics::counter!("aqueduct_group_revocations_total", "why" => why.as_str()).increment(1);
        lock(&self.shared.receivers.slots)
            .list
            .retain(|it| !Arc::ptr_eq(it, &slot));
        if why == Revocation::Lost && slot.snapshot().progress.settled > 0 {
            self.lost_settlements = true;
        }
        slot.revoke(why);
        slot.stop(why);
        self.count();
        Some(task)
    }

    /// Counts the deliveries with receivers, over all partitions.
    fn in_flight(&self) -> usize {
        let open = self.open.values().map(|(slot, _)| slot.watch_in_flight());
        open.sum::<usize>() + self.shared.isolation.strays.load(Ordering::Acquire)
    }

    /// Tells a member that waits to run an event alone that nothing of this one is out.
    fn heed_gate(&self) {
        if self.shared.isolation.seat.is_waited_for() && self.in_flight() == 0 {
            self.shared.isolation.seat.be_quiet();
        }
    }

    fn count(&self) {
        metrics::gauge!(
            "aqueduct_group_partitions",
            "group" => self.shared.member.key.group.to_string(),
            "stream" => self.shared.member.key.stream.to_string(),
        )
        .set(self.open.len() as f64);
    }
}

impl Work for OwnedSlots {
    fn snapshot(&mut self, partition: &PartitionId) -> Option<Snapshot> {
        let (slot, _) = self.open.get(partition)?;
        Some(slot.snapshot())
    }

    fn needs_alone(&mut self, partition: &PartitionId) -> bool {
        let open = self.open.get(partition);
        open.is_some_and(|(slot, _)| slot.needs_alone(self.shared.runtime.now()))
    }

    fn quiet(&mut self) -> bool {
        let granted = self.shared.isolation.seat.request();
        self.in_flight() == 0 && granted
    }

    fn release(&mut self) {
        self.shared.isolation.seat.release();
    }

    fn mark(&mut self, partition: &PartitionId, alone: bool) -> Option<Snapshot> {
        let (slot, _) = self.open.get(partition)?;
        slot.mark(self.shared.runtime.now(), alone);
        Some(slot.snapshot())
    }

    fn keep_company(&mut self, partition: &PartitionId) {
        if let Some((slot, _)) = self.open.get(partition) {
            slot.keep_company();
        }
    }

    fn withdraw(&mut self, partition: &PartitionId) {
        if let Some((slot, _)) = self.open.get(partition) {
            slot.withdraw();
        }
    }

    fn stop(&mut self, partition: &PartitionId, why: Revocation) -> Option<Snapshot> {
        let (slot, _) = self.open.get(partition)?;
        slot.revoke(why);
        Some(slot.snapshot())
    }

    fn is_dead(&self, owner: &OwnerId) -> bool {
        self.shared.member.leases.is_dead(owner)
    }
}

/// Ends the consumer when its driver ends, also if it panics.
struct EndOnDrop(Arc<Shared>);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        if !self.0.is_ended() {
            let failure = Error::new(ErrorKind::Internal, "the group's driver ended");
            self.0.end(Some(failure));
        }
    }
}
