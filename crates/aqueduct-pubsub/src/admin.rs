use std::time::Duration;

use aqueduct_core::{
    Admin, Error, ErrorKind, GroupName, Partition, PartitionId, PartitionLag, Result,
    StreamDescription, StreamSpec,
};
use async_trait::async_trait;

use crate::config::Config;
use crate::names::short_name;
use crate::service::{LABEL, Service, missing};

/// The shortest and longest retention of a topic.
const RETENTION: (Duration, Duration) =
    (Duration::from_secs(600), Duration::from_secs(31 * 86_400));

/// Creates, describes and deletes the topic.
pub(crate) struct PubSubAdmin {
    service: Service,
    config: Config,
}

impl PubSubAdmin {
    pub(crate) fn new(service: Service, config: Config) -> Self {
        Self { service, config }
    }
}

#[async_trait]
impl Admin for PubSubAdmin {
    async fn create(&self, spec: &StreamSpec) -> Result<bool> {
        let retention = spec.retention.or(self.config.retention);
        if let Some(it) = retention
            && !(RETENTION.0..=RETENTION.1).contains(&it)
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "topic {}: a retention of {it:?} is not possible: expected from 10m to 31d",
                    self.config.topic
                ),
            ));
        }
        self.service
            .create_topic(self.config.topic.as_str(), retention)
            .await
    }

    async fn describe(&self) -> Result<StreamDescription> {
        let topic = self.service.topic(self.config.topic.as_str()).await?;
        let whole = Partition::new(PartitionId::new("topic"));
        let mut description = StreamDescription::new(self.config.topic.clone(), vec![whole]);
        description.retention = topic
            .message_retention_duration
            .and_then(|it| Duration::try_from(it).ok());
        Ok(description)
    }

    async fn lag(&self, _: &GroupName) -> Result<Vec<PartitionLag>> {
        Err(Error::unsupported(
            "Pub/Sub does not tell how many messages a subscription holds: read the metric \
             num_undelivered_messages of Cloud Monitoring",
        ))
    }

    async fn reshard(&self, _: u32) -> Result<()> {
        Err(Error::unsupported("a Pub/Sub topic has no partitions"))
    }

    /// Deletes the topic, and those of its subscriptions that this crate has created: they would keep
    /// their names and never receive anything again.
    async fn delete(&self) -> Result<()> {
        let topic = self.config.topic.as_str();
        for path in self.service.subscriptions_of(topic).await? {
            let name = short_name(&path);
            let ours = match self.service.subscription(name).await {
                Ok(subscription) => subscription.labels.contains_key(LABEL),
                Err(error) if error.is(ErrorKind::NotFound) => false,
                Err(error) => return Err(error),
            };
            match ours {
                true => ignore_missing(self.service.delete_subscription(name).await)?,
                false => tracing::warn!(subscription = name, "a subscription stays without topic"),
            }
        }
        self.service.delete_topic(topic).await
    }
}

/// Makes sure that the topic exists, or creates it where that is allowed. Returns whether it keeps
/// messages by itself, whatever its subscriptions do.
pub(crate) async fn open_topic(service: &Service, config: &Config) -> Result<bool> {
    let topic = config.topic.as_str();
    match service.topic(topic).await {
        Ok(topic) => Ok(topic.message_retention_duration.is_some()),
        Err(error) if error.is(ErrorKind::NotFound) && config.create => {
            service.create_topic(topic, config.retention).await?;
            Ok(config.retention.is_some())
        }
        Err(error) if error.is(ErrorKind::Denied) && !config.create => Err(error),
        Err(error) => Err(missing(error, &format!("topic {topic}"))),
    }
}

fn ignore_missing(outcome: Result<()>) -> Result<()> {
    match outcome {
        Err(error) if error.is(ErrorKind::NotFound) => Ok(()),
        outcome => outcome,
    }
}
