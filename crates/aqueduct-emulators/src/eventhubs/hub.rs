use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::amqp::Message;
use super::error::AmqpError;
use super::hash::partition_of;
use super::offset::Offsets;
use super::partition::Partition;
use super::receivers::{Receiver, Receivers};

/// The settings that all hubs of a namespace share.
#[derive(Clone, Debug)]
pub(super) struct Policy {
    pub(super) offsets: Offsets,
    pub(super) retention: Option<Duration>,
    pub(super) retained_events: usize,
    /// Events per second and partition.
    pub(super) throughput: Option<u32>,
}

/// A hub with its partitions, consumer groups and receivers.
#[derive(Debug)]
pub(super) struct Hub {
    pub(super) created: SystemTime,
    pub(super) groups: BTreeSet<String>,
    partitions: Vec<Partition>,
    policy: Policy,
    receivers: Receivers,
    limits: Vec<RateLimit>,
    /// The partition of the next batch without a key.
    turn: usize,
}

/// Counts the events of the current second.
#[derive(Debug, Default)]
struct RateLimit {
    second: Option<Instant>,
    events: u32,
}

impl Hub {
    pub(super) fn new(partitions: usize, policy: Policy) -> Self {
        let of = |_| Partition::new(policy.offsets);
        Self {
            created: SystemTime::now(),
            groups: BTreeSet::from(["$default".to_owned()]),
            partitions: (0..partitions).map(of).collect(),
            limits: (0..partitions).map(|_| RateLimit::default()).collect(),
            policy,
            receivers: Receivers::default(),
            turn: 0,
        }
    }

    pub(super) fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Adds partitions until there are that many; a hub never has fewer than before.
    pub(super) fn grow(&mut self, partitions: usize) {
        while self.partitions.len() < partitions {
            self.partitions.push(Partition::new(self.policy.offsets));
            self.limits.push(RateLimit::default());
        }
    }

    /// Returns a partition, without the events that are too old.
    pub(super) fn partition(&mut self, id: &str) -> Option<&mut Partition> {
        let partition = self.partitions.get_mut(id.parse::<usize>().ok()?)?;
        if let Some(retention) = self.policy.retention
            && let Some(oldest) = SystemTime::now().checked_sub(retention)
        {
            partition.expire_older(oldest);
        }
        Some(partition)
    }

    /// Returns the partition for a batch with that key, or the next in turn.
    pub(super) fn choose(&mut self, key: Option<&str>) -> usize {
        if let Some(key) = key {
            return partition_of(key, self.partitions.len());
        }
        self.turn = (self.turn + 1) % self.partitions.len().max(1);
        self.turn
    }

    /// Stores the events of a delivery, all or none.
    pub(super) fn append(
        &mut self,
        index: usize,
        events: Vec<(Bytes, Message)>,
        key: Option<&str>,
    ) -> Result<(), AmqpError> {
        if let (Some(most), Some(limit)) = (self.policy.throughput, self.limits.get_mut(index)) {
            limit.admit(events.len(), most)?;
        }
        let partition = self.partitions.get_mut(index);
        let partition = partition.ok_or_else(|| AmqpError::not_found(&index.to_string()))?;
        for (encoded, message) in events {
            partition.append(encoded, &message, key);
        }
        partition.keep(self.policy.retained_events);
        partition.wake();
        Ok(())
    }

    /// Adds a receiver; those it displaces lose their link.
    pub(super) fn attach(
        &mut self,
        receiver: Receiver,
        reader: &Arc<Notify>,
    ) -> Result<u64, AmqpError> {
        let watched: Weak<Notify> = Arc::downgrade(reader);
        let partition = receiver.partition.clone();
        let id = self.receivers.attach(receiver)?;
        if let Some(partition) = self.partition(&partition) {
            partition.watch(watched);
        }
        Ok(id)
    }

    pub(super) fn receivers(&mut self) -> &mut Receivers {
        &mut self.receivers
    }

    pub(super) fn has_group(&self, group: &str) -> bool {
        self.groups.contains(&group.to_ascii_lowercase())
    }
}

impl RateLimit {
    fn admit(&mut self, events: usize, most: u32) -> Result<(), AmqpError> {
        let now = Instant::now();
        let over = self
            .second
            .is_none_or(|since| now - since >= Duration::from_secs(1));
        if over {
            self.second = Some(now);
            self.events = 0;
        }
        if self.events >= most {
            return Err(AmqpError::busy());
        }
        let events = u32::try_from(events).unwrap_or(u32::MAX);
        self.events = self.events.saturating_add(events);
        Ok(())
    }
}

/// The hubs of the namespace by lower-case name.
#[derive(Debug, Default)]
pub(super) struct Hubs {
    by_name: BTreeMap<String, Hub>,
}

impl Hubs {
    pub(super) fn create(&mut self, name: &str, hub: Hub) {
        self.by_name.entry(name.to_ascii_lowercase()).or_insert(hub);
    }

    pub(super) fn remove(&mut self, name: &str) {
        self.by_name.remove(&name.to_ascii_lowercase());
    }

    pub(super) fn get(&mut self, name: &str) -> Result<&mut Hub, AmqpError> {
        let found = self.by_name.get_mut(&name.to_ascii_lowercase());
        found.ok_or_else(|| AmqpError::not_found(name))
    }
}
