use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore,
    DeadLetterStoreExt as _, Error, GroupName, Receipt, Result, SmallStr, StoredDeadLetter,
    StreamName,
};
use async_trait::async_trait;

use super::Client;

impl Client {
    /// Returns the dead letters of a group.
    ///
    /// [`list`](DeadLetterStore::list) returns those of this group, also if several groups share one
    /// store. A query that names a group lists that group's instead, such as the dead letters that the
    /// queue service itself moved there.
    ///
    /// # Errors
    /// `Config` for an unknown name or a group without `dead_letters`; `Unsupported` if they are
    /// sent to a stream, which cannot list them; errors of opening the store.
    pub async fn dead_letters(&self, group: &str) -> Result<Arc<dyn DeadLetterStore>> {
        let group = self.group(group)?;
        match &group.dead_letters {
            Some(target) => Ok(Arc::new(OfGroup {
                group: group.options.group.clone(),
                store: self.resource(target)?.dead_letters(&self.0.runtime).await?,
            })),
            None => Err(Error::config(format!(
                "groups.{}.dead_letters: it is not set, so the group has no dead letters",
                group.name
            ))),
        }
    }

    /// Sends dead letters of a group back to the streams that they were read from, and removes each
    /// once its event is stored there. Returns one result per id, in the same order.
    ///
    /// The events keep their ids and keys and name the group: other groups of the stream settle them
    /// without handling them. A repeated call is safe for consumers that deduplicate.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
    /// use aqueduct::{Client, DeadLetterQuery, Environment};
    ///
    /// let toml = "[streams.orders]\nurl = \"memory:\"\n\
    ///     [groups.billing]\nstream = \"orders\"\ndead_letters = \"memory:dlq\"";
    /// let environment = Environment::empty();
    /// let client = Client::builder().toml(toml).environment(environment).build().await?;
    ///
    /// let dead_letters = client.dead_letters("billing").await?;
    /// let found = dead_letters.list(&DeadLetterQuery::new()).await?;
    /// let ids: Vec<_> = found.into_iter().map(|stored| stored.id).collect();
    /// for redriven in client.redrive("billing", &ids).await? {
    ///     redriven?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`dead_letters`](Self::dead_letters). The result of a dead letter is `NotFound` if it is
    /// not stored, `Config` if its stream is not one of the group's, `Corrupt` if only a part of its data
    /// was stored, or the error of sending its event; it is kept then. If the event was sent and the
    /// dead letter could not be removed, it is that error, with the effect unknown.
    pub async fn redrive(&self, group: &str, ids: &[DeadLetterId]) -> Result<Vec<Result<Receipt>>> {
        let store = self.dead_letters(group).await?;
        let mut shown = store.show(ids).await.into_iter();
        let mut outcomes = Vec::with_capacity(ids.len());
        let mut streams: BTreeMap<SmallStr, (Vec<usize>, Vec<StoredDeadLetter>)> = BTreeMap::new();
        for at in 0..ids.len() {
            let found = shown.next().unwrap_or_else(|| Err(no_outcome()));
            let placed = found.and_then(|stored| {
                let name = self.stream_named(group, &stored.dead_letter.stream)?;
                let (places, found) = streams.entry(name).or_default();
                places.push(at);
                found.push(stored);
                Ok(())
            });
            outcomes.push(Err(placed.err().unwrap_or_else(no_outcome)));
        }
        for (name, (places, found)) in streams {
            let redriven = match self.producer(&name).await {
                Ok(producer) => store.redrive_found(&found, &producer).await,
                Err(error) => vec![Err(error); found.len()],
            };
            for (at, outcome) in places.into_iter().zip(redriven) {
                outcomes[at] = outcome;
            }
        }
        Ok(outcomes)
    }

    /// Returns the configuration's name of a stream of the group.
    fn stream_named(&self, group: &str, stream: &StreamName) -> Result<SmallStr> {
        for name in self.streams_of(group)? {
            if self.stream(name)?.get().stream() == stream {
                return Ok(name.clone());
            }
        }
        Err(Error::config(format!(
            "groups.{group}: the dead letter came from stream {stream}, which is not one of the \
             group's streams"
        )))
    }
}

/// A dead letter store whose lists are those of one group.
struct OfGroup {
    group: GroupName,
    store: Arc<dyn DeadLetterStore>,
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterQueue for OfGroup {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        self.store.put(dead_letters).await
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl DeadLetterStore for OfGroup {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        let mut query = query.clone();
        query.group.get_or_insert_with(|| self.group.clone());
        self.store.list(&query).await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        self.store.show(ids).await
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        self.store.purge(ids).await
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        self.store.held_keys(group, stream).await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        self.store.release_key(group, stream, key).await
    }
}
