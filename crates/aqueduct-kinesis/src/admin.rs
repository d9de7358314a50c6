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

/// The longest wait for a stream to be deleted.
const DELETION: Duration = Duration::from_secs(120);

/// The longest wait for a change to show in the listing.
const CHANGE: Duration = Duration::from_secs(120);

/// The largest change in the number of shards that is made by single splits and merges.
const FEW: usize = 8;

/// Administers one stream.
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

    /// Returns the open shards by range.
    async fn open_shards(&self) -> Result<Vec<Shard>> {
        let mut shards = list_shards(&self.kinesis).await?;
        shards.retain(Shard::is_open);
        shards.sort_by_key(|shard| shard.range.first);
        Ok(shards)
    }

    /// Returns the open shards once the listing differs from `before`.
    async fn changed_from(&self, before: &[Shard]) -> Result<Vec<Shard>> {
        let deadline = self.runtime.now() + CHANGE;
        let mut pause = Duration::from_millis(20);
        loop {
            self.kinesis.wait_until_active(&self.runtime).await?;
            let open = self.open_shards().await?;
            if open != before {
                return Ok(open);
            }
            if self.runtime.now() >= deadline {
                let message = format!(
                    "stream {}: its shards are the same after {CHANGE:?}",
                    self.kinesis.shown
                );
                return Err(Error::new(ErrorKind::TimedOut, message));
            }
            self.runtime.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    async fn split(&self, shard: &Shard) -> Result<()> {
        let range = shard.range;
        let middle = range.first + (range.last - range.first) / 2 + 1;
        self.kinesis
            .client
            .split_shard()
            .set_stream_name(self.kinesis.name())
            .set_stream_arn(self.kinesis.arn())
            .shard_to_split(shard.id.as_str())
            .new_starting_hash_key(middle.to_string())
            .send()
            .await
            .map_err(|failed| error::request(self.kinesis.what("SplitShard"), failed))?;
        Ok(())
    }

    async fn merge(&self, left: &Shard, right: &Shard) -> Result<()> {
        self.kinesis
            .client
            .merge_shards()
            .set_stream_name(self.kinesis.name())
            .set_stream_arn(self.kinesis.arn())
            .shard_to_merge(left.id.as_str())
            .adjacent_shard_to_merge(right.id.as_str())
            .send()
            .await
            .map_err(|failed| error::request(self.kinesis.what("MergeShards"), failed))?;
        Ok(())
    }

    async fn update_all(&self, count: usize) -> Result<()> {
        self.kinesis
            .client
            .update_shard_count()
            .set_stream_name(self.kinesis.name())
            .set_stream_arn(self.kinesis.arn())
            .target_shard_count(i32::try_from(count).unwrap_or(i32::MAX))
            .scaling_type(ScalingType::UniformScaling)
            .send()
            .await
            .map_err(|failed| error::request(self.kinesis.what("UpdateShardCount"), failed))?;
        Ok(())
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
        let stream = &self.kinesis.shown;
        if partitions == 0 {
            let message = format!("stream {stream}: a stream has at least one shard");
            return Err(Error::new(ErrorKind::Invalid, message));
        }
        let described = self.kinesis.describe().await?;
        let mode = described
            .stream_mode_details
            .map(|details| details.stream_mode);
        if mode == Some(StreamMode::OnDemand) {
            return Err(Error::unsupported(format!(
                "stream {stream} is on demand: the service chooses its shards"
            )));
        }
        let mut open = self.open_shards().await?;
        while open.len() != partitions as usize {
            self.kinesis.wait_until_active(&self.runtime).await?;
            let asked = match plan(&open, partitions as usize) {
                Change::Split(shard) => self.split(&open[shard]).await,
                Change::Merge(left) => self.merge(&open[left], &open[left + 1]).await,
                Change::All(count) => self.update_all(count).await,
            };
            match asked {
                // Another client changes it too.
                Err(error) if error.is(ErrorKind::Conflict) => {
                    self.runtime.sleep(Duration::from_secs(1)).await;
                }
                asked => asked?,
            }
            open = self.changed_from(&open).await?;
        }
        Ok(())
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

/// A step towards a number of shards.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    /// Splits the shard at that index.
    Split(usize),
    /// Merges the shard at that index with the next one.
    Merge(usize),
    /// Replaces all shards by evenly sized ones.
    All(usize),
}

/// Returns the next step from the `open` ranges to `wanted` shards.
///
/// Few splits or merges leave the other shards, and their readers, undisturbed. The service
/// replaces all shards at most ten times a day, and at most doubles or halves their number.
fn plan(open: &[Shard], wanted: usize) -> Change {
    let width = |shard: &Shard| shard.range.last - shard.range.first;
    if wanted.abs_diff(open.len()) > FEW {
        let least = open.len().div_ceil(2);
        return Change::All(wanted.clamp(least, open.len() * 2));
    }
    if wanted > open.len() {
        let widest = (0..open.len()).max_by_key(|&at| (width(&open[at]), usize::MAX - at));
        return Change::Split(widest.unwrap_or(0));
    }
    let together = |at: usize| width(&open[at]).saturating_add(width(&open[at + 1]));
    let narrowest = (0..open.len().saturating_sub(1)).min_by_key(|&at| together(at));
    Change::Merge(narrowest.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use aqueduct_core::{HashRange, Position};

    use super::*;

    fn shards(ranges: &[(u128, u128)]) -> Vec<Shard> {
        let shard = |&(first, last): &(u128, u128)| Shard {
            id: format!("{first}").into(),
            parents: Vec::new(),
            range: HashRange { first, last },
            first: Position::MIN,
            last: None,
        };
        ranges.iter().map(shard).collect()
    }

    #[test]
    fn the_widest_is_split_and_the_narrowest_neighbours_merge() {
        let open = shards(&[(0, 49), (50, 69), (70, 79), (80, 99)]);
        assert_eq!(plan(&open, 5), Change::Split(0));
        assert_eq!(plan(&open, 3), Change::Merge(1));
        assert_eq!(plan(&shards(&[(0, u128::MAX)]), 2), Change::Split(0));
        let half = u128::MAX / 2;
        assert_eq!(
            plan(&shards(&[(0, half), (half + 1, u128::MAX)]), 1),
            Change::Merge(0)
        );
    }

    #[test]
    fn many_are_made_anew_in_steps_that_the_service_allows() {
        let open = |count: u128| {
            let ranges: Vec<_> = (0..count).map(|at| (at * 10, at * 10 + 9)).collect();
            shards(&ranges)
        };
        assert_eq!(plan(&open(4), 100), Change::All(8));
        assert_eq!(plan(&open(64), 100), Change::All(100));
        assert_eq!(plan(&open(21), 2), Change::All(11));
        assert_eq!(plan(&open(96), 100), Change::Split(0));
    }
}
