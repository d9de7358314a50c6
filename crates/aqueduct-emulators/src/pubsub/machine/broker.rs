use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{
    PubsubMessage, ReceivedMessage, Subscription, Topic,
};
use serde_json::Value;
use tonic::Status;

use super::backlog::{Backlog, Delivery, Limits, Rules};
use super::checks;
use super::filter::Filter;
use super::message::{Message, Time, duration, size_of, timestamp};
use super::replay::SnapshotState;

/// All topics, subscriptions and snapshots.
#[derive(Debug, Default)]
pub(in crate::pubsub) struct Broker {
    pub(super) topics: BTreeMap<String, TopicState>,
    pub(super) subscriptions: BTreeMap<String, SubscriptionState>,
    pub(super) snapshots: BTreeMap<String, SnapshotState>,
    pub(super) numbers: Numbers,
    /// Numbers of subscriptions that may have something to deliver.
    dirty: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Numbers {
    messages: u64,
    subscriptions: u64,
}

#[derive(Debug)]
pub(super) struct TopicState {
    pub(super) settings: Topic,
    /// The transforms as given by REST, with the kinds that the message types lack.
    pub(super) transforms: Option<Value>,
    /// Messages kept for replay, oldest first.
    pub(super) log: VecDeque<Arc<Message>>,
}

#[derive(Debug)]
pub(super) struct SubscriptionState {
    pub(super) settings: Subscription,
    pub(super) transforms: Option<Value>,
    pub(super) filter: Option<Filter>,
    pub(super) backlog: Backlog,
    /// Acknowledged messages kept for replay.
    pub(super) retained: BTreeMap<u64, Arc<Message>>,
    /// Part of its acknowledgement ids: those of another subscription of the same name are invalid.
    pub(super) number: u64,
}

/// The properties of a subscription that a stream needs.
#[derive(Clone, Copy, Debug)]
pub(in crate::pubsub) struct Properties {
    pub(in crate::pubsub) number: u64,
    pub(in crate::pubsub) exactly_once: bool,
    pub(in crate::pubsub) ordered: bool,
    pub(in crate::pubsub) ack_deadline: Time,
}

impl Broker {
    /// Stores messages and gives them to the topic's subscriptions; returns their ids.
    pub(in crate::pubsub) fn publish(
        &mut self,
        topic: &str,
        messages: Vec<PubsubMessage>,
        now: Time,
    ) -> Result<Vec<String>, Status> {
        checks::name(topic, "topics")?;
        if !self.topics.contains_key(topic) {
            return Err(no_topic(topic));
        }
        checks::publish(&messages)?;
        Ok(self.store(topic, messages, now))
    }

    /// Stores messages that were checked.
    pub(super) fn store(
        &mut self,
        topic: &str,
        messages: Vec<PubsubMessage>,
        now: Time,
    ) -> Vec<String> {
        let Some(state) = self.topics.get_mut(topic) else {
            return Vec::new();
        };
        let replayable = state.settings.message_retention_duration.is_some()
            || self
                .snapshots
                .values()
                .any(|snapshot| snapshot.topic == topic);
        let attached = self.subscriptions.values_mut();
        let mut attached: Vec<_> = attached
            .filter(|it| it.settings.topic == topic && !it.settings.detached)
            .collect();
        let published = timestamp(now);
        let mut ids = Vec::with_capacity(messages.len());
        for mut wire in messages {
            self.numbers.messages += 1;
            let number = self.numbers.messages;
            wire.message_id = number.to_string();
            wire.publish_time = Some(published);
            ids.push(wire.message_id.clone());
            let message = Arc::new(Message {
                number,
                published: now,
                size: size_of(&wire),
                wire,
            });
            for subscription in &mut attached {
                if subscription.takes(&message) {
                    subscription.backlog.add(Arc::clone(&message));
                }
            }
            if replayable {
                state.log.push_back(message);
            }
        }
        self.dirty.extend(attached.iter().map(|it| it.number));
        ids
    }

    /// Delivers messages to a consumer; empty if there are none or its limits are reached.
    pub(in crate::pubsub) fn pull(
        &mut self,
        subscription: &str,
        consumer: u64,
        limits: Limits,
        until: Time,
    ) -> Result<Vec<ReceivedMessage>, Status> {
        self.check_pull(subscription)?;
        let state = self.subscription_mut(subscription)?;
        let number = state.number;
        let deliveries = state.backlog.pull(consumer, limits, until);
        Ok(deliveries.iter().map(|it| it.wire(number)).collect())
    }

    /// Checks that a subscription can be pulled from; returns its properties.
    pub(in crate::pubsub) fn check_pull(&self, name: &str) -> Result<Properties, Status> {
        checks::name(name, "subscriptions")?;
        let state = self
            .subscriptions
            .get(name)
            .ok_or_else(|| no_subscription(name))?;
        let settings = &state.settings;
        if settings.detached {
            let text = format!("The subscription {name} is detached from its topic.");
            return Err(Status::failed_precondition(text));
        }
        let pushes = settings.push_config.as_ref();
        if pushes.is_some_and(|it| !it.push_endpoint.is_empty())
            || settings.bigquery_config.is_some()
            || settings.cloud_storage_config.is_some()
            || settings.bigtable_config.is_some()
        {
            let text = "This method is not supported for this subscription type.";
            return Err(Status::failed_precondition(text));
        }
        Ok(Properties {
            number: state.number,
            exactly_once: settings.enable_exactly_once_delivery,
            ordered: settings.enable_message_ordering,
            ack_deadline: Time::from_secs(
                u64::try_from(settings.ack_deadline_seconds).unwrap_or_default(),
            ),
        })
    }

    /// Acknowledges deliveries; returns the ids that had no effect on an exactly-once subscription.
    pub(in crate::pubsub) fn acknowledge(
        &mut self,
        name: &str,
        ack_ids: &[String],
    ) -> Result<Vec<String>, Status> {
        let state = self.subscription_mut(name)?;
        let exactly_once = state.backlog.rules.exactly_once;
        let mut invalid = Vec::new();
        for ack_id in ack_ids {
            let counted = match state.delivery(ack_id) {
                Some((number, delivery)) => {
                    let (counted, done) = state.backlog.acknowledge(number, delivery);
                    if state.settings.retain_acked_messages {
                        let done = done.into_iter();
                        state.retained.extend(done.map(|it| (it.number, it)));
                    }
                    counted
                }
                None => !exactly_once,
            };
            if !counted {
                invalid.push(ack_id.clone());
            }
        }
        let number = state.number;
        self.dirty.push(number);
        Ok(invalid)
    }

    /// Moves the end of leases, to now for a nack; returns the ids that had no effect on an exactly-once subscription.
    pub(in crate::pubsub) fn modify(
        &mut self,
        name: &str,
        changes: impl IntoIterator<Item = (String, i32)>,
        now: Time,
    ) -> Result<Vec<String>, Status> {
        let state = self.subscription_mut(name)?;
        let mut invalid = Vec::new();
        let mut nacked = false;
        for (ack_id, seconds) in changes {
            let seconds = u64::try_from(seconds)
                .ok()
                .filter(|seconds| *seconds <= 600);
            let Some(seconds) = seconds else {
                let text = "Invalid ack deadline: expected 0 to 600 s.";
                return Err(Status::invalid_argument(text));
            };
            let counted = match state.delivery(&ack_id) {
                Some((number, delivery)) if seconds == 0 => {
                    nacked = true;
                    state.backlog.nack(number, delivery, now)
                }
                Some((number, delivery)) => {
                    let until = now + Time::from_secs(seconds);
                    state.backlog.extend(number, delivery, until)
                }
                None => false,
            };
            if !counted && state.backlog.rules.exactly_once {
                invalid.push(ack_id);
            }
        }
        let number = state.number;
        if nacked {
            self.dirty.push(number);
            self.forward_dead_letters(now);
        }
        Ok(invalid)
    }

    /// Lets time pass.
    pub(in crate::pubsub) fn tick(&mut self, now: Time) {
        for state in self.subscriptions.values_mut() {
            if state.backlog.next_event().is_some_and(|at| at <= now) {
                state.backlog.tick(now);
                self.dirty.push(state.number);
            }
            let retention = state.backlog.rules.retention;
            while let Some(oldest) = state.retained.first_entry() {
                if oldest.get().published + retention > now {
                    break;
                }
                oldest.remove();
            }
        }
        self.forward_dead_letters(now);
        self.expire_snapshots(now);
        self.trim_logs(now);
    }

    /// Returns when a lease, a back-off or a retention ends next.
    pub(in crate::pubsub) fn next_event(&self) -> Option<Time> {
        let subscriptions = self.subscriptions.values();
        subscriptions.filter_map(|it| it.backlog.next_event()).min()
    }

    /// Returns the numbers of subscriptions whose consumers should look again.
    pub(in crate::pubsub) fn take_dirty(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.dirty)
    }

    pub(super) fn touch(&mut self, number: u64) {
        self.dirty.push(number);
    }

    pub(in crate::pubsub) fn unacknowledged(&self, name: &str) -> usize {
        let state = self.subscriptions.get(name);
        state.map_or(0, |state| state.backlog.unacknowledged().count())
    }

    pub(in crate::pubsub) fn outstanding(&self, name: &str) -> u64 {
        let state = self.subscriptions.get(name);
        state.map_or(0, |state| state.backlog.outstanding())
    }

    pub(super) fn subscription_mut(
        &mut self,
        name: &str,
    ) -> Result<&mut SubscriptionState, Status> {
        checks::name(name, "subscriptions")?;
        self.subscriptions
            .get_mut(name)
            .ok_or_else(|| no_subscription(name))
    }
}

impl SubscriptionState {
    pub(super) fn takes(&self, message: &Message) -> bool {
        let filter = self.filter.as_ref();
        filter.is_none_or(|filter| filter.matches(&message.wire.attributes))
    }

    /// Returns the number of message and delivery in an acknowledgement id of this subscription.
    fn delivery(&self, ack_id: &str) -> Option<(u64, u64)> {
        let mut parts = ack_id
            .split('-')
            .map(|part| u64::from_str_radix(part, 16).ok());
        let (subscription, number, delivery) = (parts.next()??, parts.next()??, parts.next()??);
        (subscription == self.number).then_some((number, delivery))
    }
}

impl Numbers {
    pub(super) fn subscription(&mut self) -> u64 {
        self.subscriptions += 1;
        self.subscriptions
    }

    pub(super) fn last_message(&self) -> u64 {
        self.messages
    }
}

impl Delivery {
    fn wire(&self, subscription: u64) -> ReceivedMessage {
        let (number, delivery) = (self.message.number, self.delivery);
        ReceivedMessage {
            ack_id: format!("{subscription:x}-{number:x}-{delivery:x}"),
            message: Some(self.message.wire.clone()),
            delivery_attempt: i32::try_from(self.attempt.unwrap_or(0)).unwrap_or(i32::MAX),
        }
    }
}

/// Returns the delivery rules of settings that were checked.
pub(super) fn rules(settings: &Subscription) -> Rules {
    let seconds =
        |it: &Option<prost_types::Duration>| it.as_ref().and_then(duration).unwrap_or_default();
    let policy = settings.dead_letter_policy.as_ref();
    let policy = policy.filter(|policy| !policy.dead_letter_topic.is_empty());
    let retry = settings.retry_policy.as_ref();
    Rules {
        ordered: settings.enable_message_ordering,
        exactly_once: settings.enable_exactly_once_delivery,
        max_attempts: policy.and_then(|it| u32::try_from(it.max_delivery_attempts).ok()),
        backoff: retry.map(|it| (seconds(&it.minimum_backoff), seconds(&it.maximum_backoff))),
        retention: seconds(&settings.message_retention_duration),
    }
}

pub(super) fn no_topic(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={}).", id(name)))
}

pub(super) fn no_subscription(name: &str) -> Status {
    Status::not_found(format!("Resource not found (resource={}).", id(name)))
}

pub(super) fn id(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}
