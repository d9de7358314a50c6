use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{CreateSnapshotRequest, Snapshot};
use tonic::Status;

use super::broker::{Broker, id, no_subscription};
use super::checks;
use super::message::{Message, Time, duration, timestamp};

/// The longest life of a snapshot, less the age of its oldest message.
const LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const SHORTEST_LIFE: Duration = Duration::from_secs(60 * 60);

/// The unacknowledged messages of a subscription at one time.
#[derive(Debug)]
pub(super) struct SnapshotState {
    pub(super) topic: String,
    pub(super) labels: HashMap<String, String>,
    pub(super) expires: Time,
    /// The last message that was published before.
    last: u64,
    unacknowledged: Vec<Arc<Message>>,
}

impl Broker {
    pub(in crate::pubsub) fn create_snapshot(
        &mut self,
        request: CreateSnapshotRequest,
        now: Time,
    ) -> Result<Snapshot, Status> {
        checks::name(&request.name, "snapshots")?;
        if self.snapshots.contains_key(&request.name) {
            let text = format!("Resource already exists (resource={}).", id(&request.name));
            return Err(Status::already_exists(text));
        }
        self.tick(now);
        self.check_pull(&request.subscription)?;
        let last = self.numbers.last_message();
        let state = self.subscription_mut(&request.subscription)?;
        let unacknowledged: Vec<_> = state.backlog.unacknowledged().cloned().collect();
        let oldest = unacknowledged.first().map_or(now, |it| it.published);
        let expires = oldest + LIFE;
        if expires < now + SHORTEST_LIFE {
            return Err(Status::failed_precondition(
                "The snapshot would expire within an hour: the oldest unacknowledged message is too old.",
            ));
        }
        let snapshot = SnapshotState {
            topic: state.settings.topic.clone(),
            labels: request.labels,
            expires,
            last,
            unacknowledged,
        };
        let wire = snapshot.wire(&request.name);
        self.snapshots.insert(request.name, snapshot);
        Ok(wire)
    }

    pub(in crate::pubsub) fn snapshot(
        &mut self,
        name: &str,
        now: Time,
    ) -> Result<Snapshot, Status> {
        checks::name(name, "snapshots")?;
        self.expire_snapshots(now);
        let snapshot = self
            .snapshots
            .get(name)
            .ok_or_else(|| no_subscription(name))?;
        Ok(snapshot.wire(name))
    }

    pub(in crate::pubsub) fn update_snapshot(
        &mut self,
        snapshot: &Snapshot,
        paths: &[String],
    ) -> Result<Snapshot, Status> {
        let state = self.snapshots.get_mut(&snapshot.name);
        let state = state.ok_or_else(|| no_subscription(&snapshot.name))?;
        for path in paths {
            match path.as_str() {
                "labels" => state.labels.clone_from(&snapshot.labels),
                "expire_time" | "expireTime" => {
                    let expires = snapshot.expire_time.as_ref().map(super::time);
                    state.expires = expires.unwrap_or_default();
                }
                other => {
                    let text =
                        format!("Invalid update mask `{other}`: expected labels, expire_time.");
                    return Err(Status::invalid_argument(text));
                }
            }
        }
        Ok(state.wire(&snapshot.name))
    }

    pub(in crate::pubsub) fn delete_snapshot(&mut self, name: &str) -> Result<(), Status> {
        let removed = self.snapshots.remove(name);
        removed.map(|_| ()).ok_or_else(|| no_subscription(name))
    }

    pub(in crate::pubsub) fn list_snapshots(&self, project: &str) -> Vec<Snapshot> {
        let prefix = format!("{project}/snapshots/");
        let all = self
            .snapshots
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix));
        all.map(|(name, snapshot)| snapshot.wire(name)).collect()
    }

    /// Returns the names of a topic's snapshots.
    pub(in crate::pubsub) fn topic_snapshots(&self, topic: &str) -> Vec<String> {
        let all = self.snapshots.iter().filter(|(_, it)| it.topic == topic);
        all.map(|(name, _)| name.clone()).collect()
    }

    /// Marks messages published before `target` acknowledged and those since unacknowledged.
    pub(in crate::pubsub) fn seek_to_time(
        &mut self,
        name: &str,
        target: Time,
        now: Time,
    ) -> Result<(), Status> {
        let mut messages = self.replayable(name, now)?;
        let log = self.log_of(name);
        messages.extend(log.into_iter().map(|it| (it.number, it)));
        self.restore(name, messages, |message| message.published >= target)
    }

    /// Restores the acknowledgements of a snapshot.
    pub(in crate::pubsub) fn seek_to_snapshot(
        &mut self,
        name: &str,
        snapshot: &str,
        now: Time,
    ) -> Result<(), Status> {
        checks::name(snapshot, "snapshots")?;
        let mut messages = self.replayable(name, now)?;
        let state = self
            .snapshots
            .get(snapshot)
            .ok_or_else(|| no_subscription(snapshot))?;
        let topic = self
            .subscriptions
            .get(name)
            .map(|it| it.settings.topic.as_str());
        if topic != Some(state.topic.as_str()) {
            let text = format!(
                "The snapshot {snapshot} belongs to the topic {}, the subscription to another one.",
                state.topic
            );
            return Err(Status::invalid_argument(text));
        }
        let open: BTreeSet<u64> = state.unacknowledged.iter().map(|it| it.number).collect();
        let last = state.last;
        let kept = state
            .unacknowledged
            .iter()
            .cloned()
            .chain(self.log_of(name));
        messages.extend(kept.map(|it| (it.number, it)));
        self.restore(name, messages, |message| {
            message.number > last || open.contains(&message.number)
        })
    }

    pub(in crate::pubsub) fn expire_snapshot(&mut self, name: &str) {
        if let Some(snapshot) = self.snapshots.get_mut(name) {
            snapshot.expires = Time::ZERO;
        }
    }

    pub(super) fn expire_snapshots(&mut self, now: Time) {
        self.snapshots.retain(|_, snapshot| snapshot.expires > now);
    }

    /// Forgets messages kept by topics that no retention or snapshot can need.
    pub(super) fn trim_logs(&mut self, now: Time) {
        for (name, topic) in &mut self.topics {
            if topic.log.is_empty() {
                continue;
            }
            let retention = topic.settings.message_retention_duration.as_ref();
            let retention = retention.and_then(duration).unwrap_or_default();
            let snapshots = self.snapshots.values().filter(|it| it.topic == *name);
            let first = snapshots.map(|it| it.last).min().unwrap_or(u64::MAX);
            while let Some(oldest) = topic.log.front() {
                if oldest.published + retention > now || oldest.number > first {
                    break;
                }
                topic.log.pop_front();
            }
        }
    }

    /// Returns the messages that the subscription itself still has.
    fn replayable(&mut self, name: &str, now: Time) -> Result<BTreeMap<u64, Arc<Message>>, Status> {
        self.tick(now);
        let state = self.subscription_mut(name)?;
        if state.settings.detached {
            let text = format!("The subscription {name} is detached from its topic.");
            return Err(Status::failed_precondition(text));
        }
        let mut messages = state.retained.clone();
        let open = state.backlog.unacknowledged();
        messages.extend(open.map(|it| (it.number, Arc::clone(it))));
        Ok(messages)
    }

    fn log_of(&self, subscription: &str) -> Vec<Arc<Message>> {
        let Some(state) = self.subscriptions.get(subscription) else {
            return Vec::new();
        };
        let log = self.topics.get(&state.settings.topic).map(|it| &it.log);
        let log = log.into_iter().flatten();
        log.filter(|it| state.takes(it)).cloned().collect()
    }

    fn restore(
        &mut self,
        name: &str,
        messages: BTreeMap<u64, Arc<Message>>,
        open: impl Fn(&Message) -> bool,
    ) -> Result<(), Status> {
        let state = self.subscription_mut(name)?;
        let retain = state.settings.retain_acked_messages;
        let (open, acknowledged): (Vec<_>, Vec<_>) =
            messages.into_values().partition(|it| open(it));
        state.backlog.replace(open);
        state.retained.clear();
        if retain {
            let acknowledged = acknowledged.into_iter();
            state
                .retained
                .extend(acknowledged.map(|it| (it.number, it)));
        }
        let number = state.number;
        self.touch(number);
        Ok(())
    }
}

impl SnapshotState {
    fn wire(&self, name: &str) -> Snapshot {
        Snapshot {
            name: name.to_owned(),
            topic: self.topic.clone(),
            expire_time: Some(timestamp(self.expires)),
            labels: self.labels.clone(),
        }
    }
}
