use aqueduct_aws::Aws;
use aqueduct_core::{
    Admin, Error, GroupName, Partition, PartitionId, PartitionLag, Result, StreamDescription,
    StreamSpec, Timestamp,
};
use async_trait::async_trait;
use aws_sdk_sqs::types::QueueAttributeName;
use std::time::Duration;

use crate::config::Config;
use crate::queue::Queue;

/// Creates, describes and deletes the queue.
pub(crate) struct SqsAdmin {
    aws: Aws,
    config: Config,
}

impl SqsAdmin {
    pub(crate) fn new(aws: Aws, config: Config) -> Self {
        Self { aws, config }
    }
}

#[async_trait]
impl Admin for SqsAdmin {
    async fn create(&self, spec: &StreamSpec) -> Result<bool> {
        let retention = spec.retention.or(self.config.retention);
        Queue::create(&self.aws, &self.config, retention).await
    }

    async fn describe(&self) -> Result<StreamDescription> {
        let attributes = Queue::find(&self.aws, &self.config)
            .await?
            .attributes()
            .await?;
        let whole = Partition::new(whole());
        let mut description = StreamDescription::new(self.config.queue.clone(), vec![whole]);
        description.retention = attributes
            .number(QueueAttributeName::MessageRetentionPeriod)
            .map(Duration::from_secs);
        description.created = attributes
            .number(QueueAttributeName::CreatedTimestamp)
            .and_then(|seconds| Timestamp::from_parts(i64::try_from(seconds).ok()?, 0).ok());
        Ok(description)
    }

    async fn lag(&self, _: &GroupName) -> Result<Vec<PartitionLag>> {
        let queue = Queue::find(&self.aws, &self.config).await?;
        let attributes = queue.attributes().await?;
        let events = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
        ]
        .into_iter()
        .filter_map(|name| attributes.number(name))
        .sum();
        Ok(vec![PartitionLag {
            partition: whole(),
            events,
            oldest: None,
        }])
    }

    async fn reshard(&self, _: u32) -> Result<()> {
        Err(Error::unsupported("an SQS queue has no partitions"))
    }

    async fn delete(&self) -> Result<()> {
        Queue::find(&self.aws, &self.config)
            .await?
            .delete_queue()
            .await
    }
}

/// Returns the partition id that stands for the whole queue.
fn whole() -> PartitionId {
    PartitionId::new("queue")
}
