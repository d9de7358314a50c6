use aqueduct_core::{
    DeadLetterId, DeadLetterStore, Error, ErrorKind, Receipt, Result, SmallStr, StreamName,
};

use super::Client;

impl Client {
    /// Sends dead letters of a group back to the streams that they were read from, and removes each
    /// once it is stored there. Returns a result per dead letter, by index.
    ///
    /// The events keep their ids and keys and name the group: other groups of the stream settle them
    /// unseen. A repeated call is safe for consumers that deduplicate.
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
    /// let query = DeadLetterQuery::default().of_group("billing");
    /// let found = client.dead_letters("billing").await?.list(&query).await?;
    /// let ids: Vec<_> = found.into_iter().map(|stored| stored.id).collect();
    /// for redriven in client.redrive("billing", &ids).await? {
    ///     redriven?;
    /// }
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// As for [`dead_letters`](Self::dead_letters). The result of a dead letter is `NotFound` if it
    /// is gone, `Config` if its stream is not one of the group's, or the error of sending it; it is
    /// kept then.
    pub async fn redrive(&self, group: &str, ids: &[DeadLetterId]) -> Result<Vec<Result<Receipt>>> {
        let store = self.dead_letters(group).await?;
        let mut receipts = Vec::with_capacity(ids.len());
        for id in ids {
            receipts.push(self.redrive_one(group, &*store, id).await);
        }
        Ok(receipts)
    }

    async fn redrive_one(
        &self,
        group: &str,
        store: &dyn DeadLetterStore,
        id: &DeadLetterId,
    ) -> Result<Receipt> {
        let Some(stored) = store.show(id).await? else {
            let gone = format!("dead letter {id} does not exist");
            return Err(Error::new(ErrorKind::NotFound, gone));
        };
        let name = self.stream_named(group, &stored.dead_letter.stream)?;
        let producer = self.producer(&name).await?;
        let receipts = store.redrive(std::slice::from_ref(id), &producer).await;
        receipts.into_iter().next().unwrap_or_else(|| {
            let missing = "the dead letter store returned no outcome";
            Err(Error::new(ErrorKind::Internal, missing))
        })
    }

    /// Returns the configuration's name of a stream of the group.
    fn stream_named(&self, group: &str, stream: &StreamName) -> Result<SmallStr> {
        let streams = self.streams_of(group)?;
        for name in streams {
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
