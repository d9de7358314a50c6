use std::collections::{BTreeMap, VecDeque};

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::{PushConfig, Subscription, Topic};
use serde_json::Value;
use tonic::Status;

use super::backlog::Backlog;
use super::broker::{Broker, SubscriptionState, TopicState, id, no_subscription, no_topic, rules};
use super::{checks, patch};

/// The topic of subscriptions and snapshots whose topic was deleted.
const DELETED: &str = "_deleted-topic_";

/// Settings with the message transforms as given by REST.
#[derive(Debug)]
pub(in crate::pubsub) struct Settings<S> {
    pub(in crate::pubsub) wire: S,
    pub(in crate::pubsub) transforms: Option<Value>,
}

impl<S> From<S> for Settings<S> {
    fn from(wire: S) -> Self {
        let transforms = None;
        Self { wire, transforms }
    }
}

impl Broker {
    pub(in crate::pubsub) fn create_topic(
        &mut self,
        settings: Settings<Topic>,
    ) -> Result<Settings<Topic>, Status> {
        let name = settings.wire.name.clone();
        checks::name(&name, "topics")?;
        checks::topic_retention(settings.wire.message_retention_duration.as_ref())?;
        if self.topics.contains_key(&name) {
            return Err(exists(&name));
        }
        let mut wire = settings.wire;
        wire.state = 1;
        let state = TopicState {
            settings: wire,
            transforms: settings.transforms,
            log: VecDeque::new(),
        };
        let settings = state.public();
        self.topics.insert(name, state);
        Ok(settings)
    }

    pub(in crate::pubsub) fn topic(&self, name: &str) -> Result<Settings<Topic>, Status> {
        checks::name(name, "topics")?;
        let state = self.topics.get(name).ok_or_else(|| no_topic(name))?;
        Ok(state.public())
    }

    pub(in crate::pubsub) fn update_topic(
        &mut self,
        settings: Settings<Topic>,
        paths: &[String],
    ) -> Result<Settings<Topic>, Status> {
        let name = settings.wire.name.clone();
        let state = self.topics.get_mut(&name).ok_or_else(|| no_topic(&name))?;
        let mut changed = state.public();
        patch::topic(&mut changed, settings, paths)?;
        checks::topic_retention(changed.wire.message_retention_duration.as_ref())?;
        state.settings = changed.wire;
        state.transforms = changed.transforms;
        Ok(state.public())
    }

    pub(in crate::pubsub) fn delete_topic(&mut self, name: &str) -> Result<(), Status> {
        checks::name(name, "topics")?;
        self.topics.remove(name).ok_or_else(|| no_topic(name))?;
        for state in self.subscriptions.values_mut() {
            if state.settings.topic == name {
                state.settings.topic = DELETED.to_owned();
            }
        }
        for snapshot in self.snapshots.values_mut() {
            if snapshot.topic == name {
                snapshot.topic = DELETED.to_owned();
            }
        }
        Ok(())
    }

    pub(in crate::pubsub) fn list_topics(&self, project: &str) -> Vec<Settings<Topic>> {
        let prefix = format!("{project}/topics/");
        let all = self
            .topics
            .iter()
            .filter(|(name, _)| name.starts_with(&prefix));
        all.map(|(_, state)| state.public()).collect()
    }

    /// Returns the names of the subscriptions attached to a topic.
    pub(in crate::pubsub) fn topic_subscriptions(
        &self,
        topic: &str,
    ) -> Result<Vec<String>, Status> {
        self.topic(topic)?;
        let all = self.subscriptions.iter();
        let all = all.filter(|(_, it)| it.settings.topic == topic && !it.settings.detached);
        Ok(all.map(|(name, _)| name.clone()).collect())
    }

    pub(in crate::pubsub) fn create_subscription(
        &mut self,
        settings: Settings<Subscription>,
    ) -> Result<Settings<Subscription>, Status> {
        let mut wire = settings.wire;
        let name = wire.name.clone();
        checks::name(&name, "subscriptions")?;
        checks::name(&wire.topic, "topics")?;
        if self.subscriptions.contains_key(&name) {
            return Err(exists(&name));
        }
        if !self.topics.contains_key(&wire.topic) {
            return Err(no_topic(&wire.topic));
        }
        let filter = checks::subscription(&mut wire)?;
        self.check_dead_letter_topic(&wire)?;
        wire.state = 1;
        wire.detached = false;
        let state = SubscriptionState {
            backlog: Backlog::new(rules(&wire)),
            settings: wire,
            transforms: settings.transforms,
            filter,
            retained: BTreeMap::new(),
            number: self.numbers.subscription(),
        };
        self.subscriptions.insert(name.clone(), state);
        self.subscription(&name)
    }

    pub(in crate::pubsub) fn subscription(
        &self,
        name: &str,
    ) -> Result<Settings<Subscription>, Status> {
        checks::name(name, "subscriptions")?;
        let state = self
            .subscriptions
            .get(name)
            .ok_or_else(|| no_subscription(name))?;
        Ok(self.public(state))
    }

    pub(in crate::pubsub) fn update_subscription(
        &mut self,
        settings: Settings<Subscription>,
        paths: &[String],
    ) -> Result<Settings<Subscription>, Status> {
        let name = settings.wire.name.clone();
        let mut changed = self.subscription(&name)?;
        patch::subscription(&mut changed, settings, paths)?;
        checks::subscription(&mut changed.wire)?;
        self.check_dead_letter_topic(&changed.wire)?;
        let state = self.subscription_mut(&name)?;
        state.backlog.rules = rules(&changed.wire);
        if !changed.wire.retain_acked_messages {
            state.retained.clear();
        }
        state.settings = changed.wire;
        state.transforms = changed.transforms;
        self.subscription(&name)
    }

    pub(in crate::pubsub) fn delete_subscription(&mut self, name: &str) -> Result<(), Status> {
        let number = self.subscription_mut(name)?.number;
        self.subscriptions.remove(name);
        // Its streams have to end.
        self.touch(number);
        Ok(())
    }

    pub(in crate::pubsub) fn list_subscriptions(
        &self,
        project: &str,
    ) -> Vec<Settings<Subscription>> {
        let prefix = format!("{project}/subscriptions/");
        let all = self.subscriptions.iter();
        let all = all.filter(|(name, _)| name.starts_with(&prefix));
        all.map(|(_, state)| self.public(state)).collect()
    }

    pub(in crate::pubsub) fn modify_push_config(
        &mut self,
        name: &str,
        push: Option<PushConfig>,
    ) -> Result<(), Status> {
        let state = self.subscription_mut(name)?;
        state.settings.push_config = push;
        let number = state.number;
        self.touch(number);
        Ok(())
    }

    /// Detaches a subscription from its topic: its messages are dropped and its streams end.
    pub(in crate::pubsub) fn detach(&mut self, name: &str) -> Result<(), Status> {
        let state = self.subscription_mut(name)?;
        state.settings.detached = true;
        state.backlog.replace([]);
        state.retained.clear();
        let number = state.number;
        self.touch(number);
        Ok(())
    }

    fn check_dead_letter_topic(&self, settings: &Subscription) -> Result<(), Status> {
        let policy = settings.dead_letter_policy.as_ref();
        let topic = policy.map(|policy| policy.dead_letter_topic.as_str());
        match topic.filter(|topic| !topic.is_empty()) {
            Some(topic) if !self.topics.contains_key(topic) => Err(no_topic(topic)),
            _ => Ok(()),
        }
    }

    fn public(&self, state: &SubscriptionState) -> Settings<Subscription> {
        let mut wire = state.settings.clone();
        let topic = self.topics.get(&wire.topic);
        wire.topic_message_retention_duration =
            topic.and_then(|topic| topic.settings.message_retention_duration);
        let transforms = state.transforms.clone();
        Settings { wire, transforms }
    }
}

impl TopicState {
    fn public(&self) -> Settings<Topic> {
        let (wire, transforms) = (self.settings.clone(), self.transforms.clone());
        Settings { wire, transforms }
    }
}

fn exists(name: &str) -> Status {
    Status::already_exists(format!(
        "Resource already exists in the project (resource={}).",
        id(name)
    ))
}
