use std::time::Duration;

use aqueduct_core::{
    Admin, Error, ErrorKind, GroupName, PartitionLag, Result, Runtime, StreamDescription,
    StreamSpec,
};
use async_trait::async_trait;
use aws_sdk_kinesis::types::{ScalingType, StreamMode};

use crate::config::Creation;
use crate::error;
use crate::shards::{Shard, list_shards};
use crate::source::{partition, timestamp};
use crate::stream::Kinesis;

const HOUR: Duration = Duration::from_secs(3600);

/// The retention that the service allows.
const RETENTION: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(24 * 3600)..=Duration::from_secs(8760 * 3600);

/// How long a stream may take to be gone.
const DELETION: Duration = Duration::from_secs(120);

/// Administration of one stream.
pub(crate) struct KinesisAdmin {
    kinesis: Kinesis,
    runtime: Runtime,
}

impl KinesisAdmin {
    pub(crate) fn new(kinesis: Kinesis, runtime: &Runtime) -> Self {
        Self {
            kinesis,
            runtime: runtime.clone(),
        }
    }

    async fn open_shards(&self) -> Result<u32> {
        let shards = list_shards(&self.kinesis).await?;
        let open = shards.iter().filter(|shard| Shard::is_open(shard)).count();
        Ok(open.try_into().unwrap_or(u32::MAX))
    }
}

#[async_trait]
impl Admin for KinesisAdmin {
    async fn create(&self, spec: &StreamSpec) -> Result<bool> {
        if let Some(retention) = spec.retention
            && !RETENTION.contains(&retention)
        {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("a retention of {retention:?}: Kinesis keeps events 24 hours to 365 days"),
            ));
        }
        if self.kinesis.describe().await.is_ok() {
            return Ok(false);
        }
        let creation = Creation {
            partitions: spec.partitions,
            retention: spec.retention,
        };
        self.kinesis.create(creation, &self.runtime).await
    }

    async fn describe(&self) -> Result<StreamDescription> {
        let stream = self.kinesis.describe().await?;
        let shards = list_shards(&self.kinesis).await?;
        let partitions = shards.into_iter().map(partition).collect();
        let mut description = StreamDescription::new(self.kinesis.name.clone(), partitions);
        let hours = u32::try_from(stream.retention_period_hours).ok();
        description.retention = hours.map(|hours| HOUR * hours);
        description.created = timestamp(Some(&stream.stream_creation_timestamp));
        Ok(description)
    }

    async fn lag(&self, group: &GroupName) -> Result<Vec<PartitionLag>> {
        Err(Error::unsupported(format!(
            "stream {}: Kinesis counts no events, and group {group} keeps its positions elsewhere; \
             a running consumer tells how far each partition is behind in time",
            self.kinesis.shown
        )))
    }

    async fn reshard(&self, partitions: u32) -> Result<()> {
        let what = || self.kinesis.what("UpdateShardCount");
        if partitions == 0 {
            let message = format!("{}: a stream has at least one shard", what());
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let stream = self.kinesis.describe().await?;
        let mode = stream
            .stream_mode_details
            .map(|details| details.stream_mode);
        if mode == Some(StreamMode::OnDemand) {
            return Err(Error::unsupported(format!(
                "{}: the stream is on demand, the service chooses its shards",
                what()
            )));
        }
        self.kinesis.wait_until_active(&self.runtime).await?;
        loop {
            let open = self.open_shards().await?;
            if open == partitions {
                return Ok(());
            }
            self.kinesis
                .client
                .update_shard_count()
                .set_stream_name(self.kinesis.name())
                .set_stream_arn(self.kinesis.arn())
                .target_shard_count(next_step(open, partitions) as i32)
                .scaling_type(ScalingType::UniformScaling)
                .send()
                .await
                .map_err(|failed| error::request(what(), failed))?;
            self.kinesis.wait_until_active(&self.runtime).await?;
        }
    }

    async fn delete(&self) -> Result<()> {
        self.kinesis
            .client
            .delete_stream()
            .set_stream_name(self.kinesis.name())
            .set_stream_arn(self.kinesis.arn())
            .enforce_consumer_deletion(true)
            .send()
            .await
            .map_err(|failed| error::request(self.kinesis.what("DeleteStream"), failed))?;
        let deadline = self.runtime.now() + DELETION;
        let mut pause = Duration::from_millis(20);
        while self.runtime.now() < deadline {
            match self.kinesis.describe().await {
                Err(error) if error.is(ErrorKind::NotFound) => return Ok(()),
                Err(error) if !error.is_retryable() => return Err(error),
                _ => self.runtime.sleep(pause).await,
            }
            pause = (pause * 2).min(Duration::from_secs(2));
        }
        let message = format!(
            "stream {}: not gone within {DELETION:?}",
            self.kinesis.shown
        );
        Err(Error::new(ErrorKind::TimedOut, message))
    }
}

/// One request at most doubles the shards, or halves them.
fn next_step(open: u32, wanted: u32) -> u32 {
    wanted.clamp(open.div_ceil(2), open.saturating_mul(2).max(1))
}

#[cfg(test)]
mod tests {
    use super::next_step;

    #[test]
    fn far_targets_are_reached_in_steps() {
        let steps = |mut open, wanted| {
            let mut steps = Vec::new();
            while open != wanted {
                open = next_step(open, wanted);
                steps.push(open);
            }
            steps
        };
        assert_eq!(steps(1, 3), [2, 3]);
        assert_eq!(steps(9, 1), [5, 3, 2, 1]);
        assert_eq!(steps(4, 100), [8, 16, 32, 64, 100]);
    }
}
