use aqueduct_core::{Checkpoint, Error, ErrorKind, PartitionReader, ReadFrom, Result};

use super::slot::Slot;
use crate::OnGap;

impl Slot {
    /// Handles events that expired before they were read (rule 9). Returns a reader behind the gap,
    /// or `None` if nothing is left to read.
    pub(super) async fn cross_gap(
        &self,
        error: &Error,
    ) -> Result<Option<Box<dyn PartitionReader>>> {
        let shared = &self.shared;
        if error.is(ErrorKind::PositionExpired) && self.is_quiet() {
            let partition = &self.partition;
            tracing::info!(key = %shared.key, %partition, "quiet for longer than its retention: nothing is lost");
            let request = self.request(ReadFrom::Earliest);
            return shared.log.open(&request).await.map(Some);
        }
        let asked = self
            .read_from()
            .map_or(Checkpoint::End, Checkpoint::Start)
            .to_string();
        let listed = shared.log.partitions().await?;
        let listed_here = listed.iter().find(|it| it.id == self.partition);
        let earliest = listed_here.and_then(|it| it.earliest);
        let left = match (listed_here, earliest) {
            (None, _) => "nothing".to_owned(),
            (Some(_), None) => "unknown".to_owned(),
            (Some(_), Some(earliest)) => earliest.to_string(),
        };
        let policy = shared.options.on_gap;
        let partition = &self.partition;
        tracing::error!(key = %shared.key, %partition, %asked, %left, ?policy, %error, "events are gone before they were read");
        metrics::counter!(
            "aqueduct_group_gaps_total",
            "group" => shared.key.group.to_string(),
            "stream" => shared.key.stream.to_string(),
            "partition" => partition.to_string(),
            "asked" => asked.clone(),
            "earliest" => left.clone(),
        )
        .increment(1);
        let from = match policy {
            OnGap::Fail => {
                self.stop_at_gap(
                    Error::new(
                        ErrorKind::PositionExpired,
                        format!(
                            "{}, partition {partition}: events from `{asked}` on are gone, the \
                             oldest left is `{left}`; `on_gap` is `fail`: choose `earliest` or \
                             `latest`, or seek; the other partitions go on",
                            shared.key
                        ),
                    )
                    .with_source(error.clone()),
                );
                return Ok(None);
            }
            _ if listed_here.is_none() => {
                let children = listed
                    .iter()
                    .filter(|it| it.parents.contains(partition))
                    .map(|it| it.id.clone())
                    .collect();
                self.reader_ended(children);
                return Ok(None);
            }
            OnGap::Earliest => ReadFrom::Earliest,
            OnGap::Latest => match shared.log.tail(partition).await?.last {
                Some(last) => ReadFrom::After(last),
                None => ReadFrom::Earliest,
            },
        };
        shared.log.open(&self.request(from)).await.map(Some)
    }
}
