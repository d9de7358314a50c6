//! An in-memory topic that each group reads as a queue, like the subscriptions of Pub/Sub: messages
//! are leased, and a message is delivered only while no other of its key is leased.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aqueduct_core::{
    BatchProducer, Capabilities, Capability, Claim, Claims, Error, ErrorKind, Event, GroupName,
    Instant, Lane, Limits, Queue, QueueMessage, QueueSettings, Receipt, ReceiveRequest, Result,
    Runtime, SendReport, SmallStr, StreamName, Subscription, Timestamp,
};
use async_trait::async_trait;

/// The polling interval of an empty queue.
const LOOK: Duration = Duration::from_millis(20);

/// The most events of one send.
const BATCH: usize = 1_000;

/// Clones are the same.
#[derive(Clone)]
pub(crate) struct Topic {
    name: StreamName,
    claims: Claims,
    runtime: Runtime,
    stored: Arc<Mutex<Stored>>,
}

#[derive(Default)]
struct Stored {
    events: Vec<(Event, Timestamp)>,
    groups: BTreeMap<GroupName, BTreeMap<usize, Lease>>,
}

/// The lease of a message in a group, which hides it from the group's other consumers until `end`.
#[derive(Clone, Copy, Default)]
struct Lease {
    acked: bool,
    receipts: u32,
    end: Instant,
}

impl Topic {
    pub(crate) fn new(name: StreamName, claims: Claims, runtime: &Runtime) -> Self {
        let log = [
            Capability::Replay,
            Capability::StartAtTime,
            Capability::Positions,
            Capability::Resharding,
            Capability::Lag,
            Capability::Leases,
            Capability::Admin,
        ];
        let claims = log.into_iter().fold(claims, |claims, it| {
            claims.with(it, Claim::No("a queue has none".into()))
        });
        Self {
            name,
            claims,
            runtime: runtime.clone(),
            stored: Arc::default(),
        }
    }

    pub(crate) fn claims(&self) -> Claims {
        self.claims.clone()
    }

    pub(crate) fn producer(&self) -> TopicProducer {
        TopicProducer {
            topic: self.clone(),
            closed: AtomicBool::new(false),
        }
    }

    fn stored(&self) -> MutexGuard<'_, Stored> {
        self.stored.lock().unwrap()
    }

    fn opened(&self) -> Capabilities {
        Capabilities {
            claims: self.claims(),
            limits: Limits {
                batch_events: Some(BATCH),
                ..Limits::default()
            },
        }
    }
}

/// A producer of a topic, until it is closed.
pub(crate) struct TopicProducer {
    topic: Topic,
    closed: AtomicBool,
}

#[async_trait]
impl BatchProducer for TopicProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        if self.closed.load(Ordering::SeqCst) {
            let error = Error::new(ErrorKind::Closed, "the producer is closed");
            return SendReport::failed(events.len(), &error);
        }
        let wall = self.topic.runtime.wall();
        let stored = events.iter().map(|it| (it.clone(), wall));
        self.topic.stored().events.extend(stored);
        SendReport::new(events.iter().map(|_| Ok(Receipt::default())).collect())
    }

    fn lane(&self, _: &Event) -> Lane {
        Lane(0)
    }

    fn capabilities(&self) -> Capabilities {
        self.topic.opened()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl Queue for Topic {
    fn stream(&self) -> &StreamName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.opened()
    }

    fn settings(&self) -> QueueSettings {
        let mut settings = QueueSettings::new(true);
        settings.batch = 100;
        settings.lease = Duration::from_secs(2);
        settings.wait = Duration::from_secs(1);
        settings
    }

    async fn subscribe(&self, group: &GroupName) -> Result<Arc<dyn Subscription>> {
        self.stored().groups.entry(group.clone()).or_default();
        Ok(Arc::new(TopicSubscription {
            topic: self.clone(),
            group: group.clone(),
        }))
    }
}

struct TopicSubscription {
    topic: Topic,
    group: GroupName,
}

impl TopicSubscription {
    fn take(&self, request: &ReceiveRequest) -> Vec<QueueMessage> {
        let now = self.topic.runtime.now();
        let mut stored = self.topic.stored();
        let Stored { events, groups } = &mut *stored;
        let leases = groups.entry(self.group.clone()).or_default();
        let leased: BTreeSet<&str> = leases
            .iter()
            .filter(|(_, lease)| !lease.acked && lease.end > now)
            .filter_map(|(at, _)| events[*at].0.key())
            .collect();
        let mut taken = Vec::new();
        for (at, (event, stored_at)) in events.iter().enumerate() {
            let lease = leases.get(&at).copied().unwrap_or_default();
            let free = !lease.acked && lease.end <= now;
            if !free || event.key().is_some_and(|key| leased.contains(key)) {
                continue;
            }
            let receipts = lease.receipts + 1;
            let receipt = format!("{at}/{receipts}").into();
            let mut message = QueueMessage::new(at.to_string().into(), receipt, event.clone());
            message.order_key = event.key().map(SmallStr::from);
            message.stored_at = Some(*stored_at);
            message.receipts = receipts;
            taken.push((at, message));
            if taken.len() == request.max {
                break;
            }
        }
        for (at, message) in &taken {
            let lease = Lease {
                acked: false,
                receipts: message.receipts,
                end: now + request.lease,
            };
            leases.insert(*at, lease);
        }
        taken.into_iter().map(|(_, message)| message).collect()
    }

    /// Changes the lease of a receipt that is still valid.
    fn change(&self, receipt: &SmallStr, change: impl FnOnce(&mut Lease, Instant)) -> Result<()> {
        let now = self.topic.runtime.now();
        let mut stored = self.topic.stored();
        let (at, receipts) = receipt.split_once('/').unwrap();
        let leases = stored.groups.get_mut(&self.group).unwrap();
        let lease = leases.get_mut(&at.parse().unwrap()).unwrap();
        if lease.acked || lease.end <= now || lease.receipts.to_string() != receipts {
            return Err(Error::new(ErrorKind::Revoked, "the lease has ended"));
        }
        change(lease, now);
        Ok(())
    }

    fn hide(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        let hide = |(receipt, time): &(SmallStr, Duration)| {
            self.change(receipt, |lease, now| lease.end = now + *time)
        };
        messages.iter().map(hide).collect()
    }
}

#[async_trait]
impl Subscription for TopicSubscription {
    async fn receive(&self, request: ReceiveRequest) -> Result<Vec<QueueMessage>> {
        let end = self.topic.runtime.now() + request.wait;
        loop {
            let taken = self.take(&request);
            if !taken.is_empty() || self.topic.runtime.now() >= end {
                return Ok(taken);
            }
            self.topic.runtime.sleep(LOOK).await;
        }
    }

    async fn ack(&self, receipts: &[SmallStr]) -> Vec<Result<()>> {
        let ack = |receipt| self.change(receipt, |lease, _| lease.acked = true);
        receipts.iter().map(ack).collect()
    }

    async fn release(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        self.hide(messages)
    }

    async fn extend(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        self.hide(messages)
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
