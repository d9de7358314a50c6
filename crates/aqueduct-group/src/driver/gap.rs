use aqueduct_core::{
    Checkpoint, Error, ErrorKind, Partition, PartitionReader, ReadFrom, Result, Start,
};

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
        if error.is(ErrorKind::PositionExpired) && self.was_quiet().await? {
            let partition = &self.origin.partition;
            tracing::info!(key = %shared.member.key, %partition, "quiet for longer than its retention: nothing is lost");
            let request = self.request(ReadFrom::Earliest);
            return shared.member.log.open(&request).await.map(Some);
        }
        let asked = self
            .read_from()
            .map_or(Checkpoint::End, Checkpoint::Start)
            .to_string();
        let listed = shared.member.log.partitions().await?;
        let listed_here = listed.iter().find(|it| it.id == self.origin.partition);
        let earliest = listed_here.and_then(|it| it.earliest);
        let left = match (listed_here, earliest) {
            (None, _) => "nothing".to_owned(),
            (Some(_), None) => "unknown".to_owned(),
            (Some(_), Some(earliest)) => earliest.to_string(),
        };
        let policy = shared.options.on_gap;
        let partition = &self.origin.partition;
        tracing::error!(key = %shared.member.key, %partition, %asked, %left, ?policy, %error, "events are gone before they were read");
        metrics::counter!(
            "aqueduct_group_gaps_total",
            "group" => shared.member.key.group.to_string(),
            "stream" => shared.member.key.stream.to_string(),
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
                            shared.member.key
                        ),
                    )
                    .with_source(error.clone()),
                );
                return Ok(None);
            }
            _ if listed_here.is_none() => None,
            OnGap::Earliest => Some(ReadFrom::Earliest),
            OnGap::Latest => self.latest().await?,
        };
        match from {
            Some(from) => shared.member.log.open(&self.request(from)).await.map(Some),
            None => {
                self.end_without_reading(&listed);
                Ok(None)
            }
        }
    }

    /// Returns whether nothing was stored since everything was settled. This machine's clock may differ
    /// from the server's, by which events expire.
    async fn was_quiet(&self) -> Result<bool> {
        if self.shared.options.retention.is_none() {
            return Ok(false);
        }
        let resolved = self.shared.member.log.resolve(&Start::Earliest).await?;
        Ok(self.is_quiet(resolved.at))
    }

    /// Returns where the log says that its end is, which it can open without a resume token; `None`
    /// for a closed partition.
    async fn latest(&self) -> Result<Option<ReadFrom>> {
        let resolved = self.shared.member.log.resolve(&Start::Latest).await?;
        let mut places = resolved.partitions.into_iter();
        let place = places.find(|(id, _)| *id == self.origin.partition);
        Ok(match place {
            Some((_, checkpoint)) => checkpoint.read_from(),
            None => Some(ReadFrom::Time(resolved.at)),
        })
    }

    /// Passes what is left of the partition: its children come next.
    fn end_without_reading(&self, listed: &[Partition]) {
        let children = listed
            .iter()
            .filter(|it| it.parents.contains(&self.origin.partition));
        self.reader_ended(children.map(|it| it.id.clone()).collect());
    }
}
