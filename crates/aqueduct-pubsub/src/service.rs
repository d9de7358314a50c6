use std::collections::HashMap;
use std::future::Future;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime, Timestamp};
use google_cloud_pubsub::client::{SubscriptionAdmin, TopicAdmin};
use google_cloud_pubsub::model::{DeadLetterPolicy, ExpirationPolicy, Subscription, Topic};
use google_cloud_wkt::FieldMask;

use crate::config::Config;
use crate::connection::{CALL, Connection};
use crate::error::failed;
use crate::names::{snapshot_path, subscription_path, topic_path};

/// The label of what this crate creates, so that it deletes nothing else.
pub(crate) const LABEL: &str = "aqueduct";

/// The administration of one project, call by call.
#[derive(Clone)]
pub(crate) struct Service {
    topics: TopicAdmin,
    subscriptions: SubscriptionAdmin,
    project: String,
    runtime: Runtime,
}

impl Service {
    pub(crate) async fn new(
        connection: &Connection,
        config: &Config,
        runtime: &Runtime,
    ) -> Result<Self> {
        Ok(Self {
            topics: connection.topics().await?,
            subscriptions: connection.subscriptions().await?,
            project: config.project.to_string(),
            runtime: runtime.clone(),
        })
    }

    pub(crate) fn topic_path(&self, topic: &str) -> String {
        topic_path(&self.project, topic)
    }

    pub(crate) fn subscription_path(&self, subscription: &str) -> String {
        subscription_path(&self.project, subscription)
    }

    pub(crate) async fn topic(&self, topic: &str) -> Result<Topic> {
        let call = self.topics.get_topic().set_topic(self.topic_path(topic));
        self.call(format!("topic {topic}"), call.send()).await
    }

    /// Returns whether the topic was created; `false` if it exists.
    pub(crate) async fn create_topic(
        &self,
        topic: &str,
        retention: Option<Duration>,
    ) -> Result<bool> {
        let mut call = self
            .topics
            .create_topic()
            .set_name(self.topic_path(topic))
            .set_labels([(LABEL, "stream")]);
        if let Some(retention) = retention {
            call = call.set_message_retention_duration(duration(retention));
        }
        let created = self
            .call(format!("creating topic {topic}"), call.send())
            .await;
        is_new(created)
    }

    pub(crate) async fn delete_topic(&self, topic: &str) -> Result<()> {
        let call = self.topics.delete_topic().set_topic(self.topic_path(topic));
        self.call(format!("deleting topic {topic}"), call.send())
            .await
    }

    /// Returns the names of the subscriptions of a topic.
    pub(crate) async fn subscriptions_of(&self, topic: &str) -> Result<Vec<String>> {
        let mut all = Vec::new();
        let mut page = String::new();
        loop {
            let call = self
                .topics
                .list_topic_subscriptions()
                .set_topic(self.topic_path(topic))
                .set_page_size(1000)
                .set_page_token(page);
            let what = format!("subscriptions of topic {topic}");
            let listed = self.call(what, call.send()).await?;
            all.extend(listed.subscriptions);
            page = listed.next_page_token;
            if page.is_empty() {
                return Ok(all);
            }
        }
    }

    pub(crate) async fn subscription(&self, name: &str) -> Result<Subscription> {
        let path = self.subscription_path(name);
        let call = self.subscriptions.get_subscription().set_subscription(path);
        self.call(format!("subscription {name}"), call.send()).await
    }

    /// Returns whether the subscription was created; `false` if it exists.
    pub(crate) async fn create_subscription(&self, spec: Subscription) -> Result<bool> {
        let what = format!("creating subscription {}", spec.name);
        let call = self.subscriptions.create_subscription().with_request(spec);
        is_new(self.call(what, call.send()).await)
    }

    pub(crate) async fn delete_subscription(&self, name: &str) -> Result<()> {
        let path = self.subscription_path(name);
        let call = self
            .subscriptions
            .delete_subscription()
            .set_subscription(path);
        self.call(format!("deleting subscription {name}"), call.send())
            .await
    }

    pub(crate) async fn set_labels(
        &self,
        name: &str,
        labels: HashMap<String, String>,
    ) -> Result<Subscription> {
        let changed = Subscription::new()
            .set_name(self.subscription_path(name))
            .set_labels(labels);
        let call = self
            .subscriptions
            .update_subscription()
            .set_subscription(changed)
            .set_update_mask(FieldMask::default().set_paths(["labels"]));
        self.call(format!("labels of subscription {name}"), call.send())
            .await
    }

    pub(crate) async fn seek_to_time(&self, name: &str, time: Timestamp) -> Result<()> {
        let time = google_cloud_wkt::Timestamp::clamp(time.as_seconds(), time.subsec_nanos());
        let call = self
            .subscriptions
            .seek()
            .set_subscription(self.subscription_path(name))
            .set_time(time);
        self.call(format!("seek of subscription {name}"), call.send())
            .await
            .map(drop)
    }

    pub(crate) async fn seek_to_snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        let call = self
            .subscriptions
            .seek()
            .set_subscription(self.subscription_path(name))
            .set_snapshot(snapshot_path(&self.project, snapshot));
        let what = format!("seek of subscription {name} to snapshot {snapshot}");
        self.call(what, call.send()).await.map(drop)
    }

    pub(crate) async fn create_snapshot(&self, name: &str, snapshot: &str) -> Result<()> {
        let call = self
            .subscriptions
            .create_snapshot()
            .set_name(snapshot_path(&self.project, snapshot))
            .set_subscription(self.subscription_path(name))
            .set_labels([(LABEL, "snapshot")]);
        self.call(format!("creating snapshot {snapshot}"), call.send())
            .await
            .map(drop)
    }

    pub(crate) async fn delete_snapshot(&self, snapshot: &str) -> Result<()> {
        let call = self
            .subscriptions
            .delete_snapshot()
            .set_snapshot(snapshot_path(&self.project, snapshot));
        self.call(format!("deleting snapshot {snapshot}"), call.send())
            .await
    }

    /// Limits the time of a call: the client's own limits do not cover waiting for credentials.
    async fn call<T>(
        &self,
        what: String,
        call: impl Future<Output = google_cloud_pubsub::Result<T>>,
    ) -> Result<T> {
        match self.runtime.timeout(CALL + CALL / 2, "call", call).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(failed(what, error)),
            Err(_) => Err(crate::error::timed_out(what, CALL + CALL / 2)),
        }
    }
}

/// Returns the subscription to create for a group.
pub(crate) fn group_subscription(config: &Config, service: &Service, name: &str) -> Subscription {
    let of = &config.subscriptions;
    let mut spec = plain_subscription(service, name, config.topic.as_str())
        .set_enable_message_ordering(config.sending.ordering)
        .set_enable_exactly_once_delivery(of.exactly_once)
        .set_retain_acked_messages(of.retain_acked)
        .set_labels([(LABEL, "group")]);
    // The deadline of messages that no client renews, rounded up to whole seconds.
    let deadline = config.reading.ack_deadline.as_secs_f64().ceil() as i32;
    spec.ack_deadline_seconds = deadline;
    if let Some(filter) = &of.filter {
        spec.filter = filter.to_string();
    }
    if let Some(retention) = of.retention {
        spec = spec.set_message_retention_duration(duration(retention));
    }
    if let Some(topic) = &of.dead_letter_topic {
        let attempts = of.max_delivery_attempts.unwrap_or(5);
        let policy = DeadLetterPolicy::new()
            .set_dead_letter_topic(service.topic_path(topic))
            .set_max_delivery_attempts(i32::try_from(attempts).unwrap_or(5));
        spec = spec.set_dead_letter_policy(policy);
    }
    spec
}

/// Returns a subscription that never expires: by default the service deletes one that was not used
/// for 31 days, with everything in it.
pub(crate) fn plain_subscription(service: &Service, name: &str, topic: &str) -> Subscription {
    Subscription::new()
        .set_name(service.subscription_path(name))
        .set_topic(service.topic_path(topic))
        .set_expiration_policy(ExpirationPolicy::new())
}

pub(crate) fn duration(duration: Duration) -> google_cloud_wkt::Duration {
    google_cloud_wkt::Duration::clamp(
        i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    )
}

fn is_new<T>(created: Result<T>) -> Result<bool> {
    match created {
        Ok(_) => Ok(true),
        Err(error) if error.is(ErrorKind::AlreadyExists) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Adds what to do about something that is missing.
pub(crate) fn missing(error: Error, what: &str) -> Error {
    match error.is(ErrorKind::NotFound) {
        true => {
            let text = format!("{error}; create {what}, or set create = \"missing\"");
            error.with_message(text)
        }
        false => error,
    }
}
