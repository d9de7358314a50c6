use std::collections::BTreeSet;

use async_trait::async_trait;

use super::{DeadLetterId, DeadLetterStore, StoredDeadLetter};
use crate::outcomes::no_outcome;
use crate::{BatchProducer, Effect, Error, ErrorKind, Receipt, Result};

/// Redrives the dead letters of any [`DeadLetterStore`].
///
/// ```
/// use aqueduct_core::{BatchProducer, DeadLetterQuery, DeadLetterStore, DeadLetterStoreExt, Result};
///
/// async fn redrive_all(store: &dyn DeadLetterStore, to: &dyn BatchProducer) -> Result<usize> {
///     let found = store.list(&DeadLetterQuery::new().of_group("billing")).await?;
///     let outcomes = store.redrive_found(&found, to).await;
///     Ok(outcomes.iter().filter(|outcome| outcome.is_ok()).count())
/// }
/// ```
#[async_trait]
pub trait DeadLetterStoreExt: DeadLetterStore {
    /// Returns one dead letter; `None` if it is not stored.
    ///
    /// # Errors
    /// Those of [`show`](DeadLetterStore::show) but `NotFound`.
    async fn show_one(&self, id: &DeadLetterId) -> Result<Option<StoredDeadLetter>>;

    /// Sends the event of each dead letter to `to` and removes the dead letter once the event is stored
    /// there. Returns one result per id, in the same order.
    ///
    /// The events keep their ids and are marked for the group that they failed in. If the redrive is
    /// interrupted between both steps, its repetition sends the event again under the same id: a consumer
    /// that deduplicates handles it once.
    ///
    /// # Errors
    /// As for [`redrive_found`](Self::redrive_found), and `NotFound` for an id that is not stored.
    async fn redrive(&self, ids: &[DeadLetterId], to: &dyn BatchProducer) -> Vec<Result<Receipt>>;

    /// Redrives dead letters that were listed or shown before, as [`redrive`](Self::redrive) does.
    /// Returns one result per dead letter, in the same order.
    ///
    /// # Errors
    /// `Corrupt` if only a part of the data was stored, `Invalid` if the dead letter is given twice, or the
    /// error of sending: the dead letter is kept then. An error of removing it, with the effect unknown,
    /// since the event is sent.
    async fn redrive_found(
        &self,
        found: &[StoredDeadLetter],
        to: &dyn BatchProducer,
    ) -> Vec<Result<Receipt>>;
}

#[async_trait]
impl<S: DeadLetterStore + ?Sized> DeadLetterStoreExt for S {
    async fn show_one(&self, id: &DeadLetterId) -> Result<Option<StoredDeadLetter>> {
        let mut shown = self.show(std::slice::from_ref(id)).await;
        match shown.pop().unwrap_or_else(|| Err(no_outcome())) {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.is(ErrorKind::NotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn redrive(&self, ids: &[DeadLetterId], to: &dyn BatchProducer) -> Vec<Result<Receipt>> {
        let mut outcomes = Vec::with_capacity(ids.len());
        let (mut found, mut places) = (Vec::new(), Vec::new());
        let mut shown = self.show(ids).await.into_iter();
        for at in 0..ids.len() {
            match shown.next().unwrap_or_else(|| Err(no_outcome())) {
                Ok(dead_letter) => {
                    outcomes.push(Err(no_outcome()));
                    found.push(dead_letter);
                    places.push(at);
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        let redriven = self.redrive_found(&found, to).await;
        for (at, outcome) in places.into_iter().zip(redriven) {
            outcomes[at] = outcome;
        }
        outcomes
    }

    async fn redrive_found(
        &self,
        found: &[StoredDeadLetter],
        to: &dyn BatchProducer,
    ) -> Vec<Result<Receipt>> {
        let mut outcomes = Vec::with_capacity(found.len());
        let (mut events, mut places) = (Vec::new(), Vec::new());
        let mut seen = BTreeSet::new();
        for (at, stored) in found.iter().enumerate() {
            let event = match seen.insert(&stored.id) {
                true => stored.dead_letter.redriven(),
                false => Err(given_twice(&stored.id)),
            };
            match event {
                Ok(event) => {
                    outcomes.push(Err(no_outcome()));
                    events.push(event);
                    places.push(at);
                }
                Err(error) => outcomes.push(Err(error)),
            }
        }
        if events.is_empty() {
            return outcomes;
        }
        let sent = to.send_batch(&events).await.into_outcomes();
        let (mut ids, mut stored) = (Vec::new(), Vec::new());
        for (at, outcome) in places.into_iter().zip(sent) {
            if outcome.is_ok() {
                ids.push(found[at].id.clone());
                stored.push(at);
            }
            outcomes[at] = outcome;
        }
        if ids.is_empty() {
            return outcomes;
        }
        let mut removed = self.purge(&ids).await.into_iter();
        for at in stored {
            match removed.next().unwrap_or_else(|| Err(no_outcome())) {
                // Missing: the event failed again meanwhile, and its new dead letter replaced this one.
                Err(error) if !error.is(ErrorKind::NotFound) => {
                    let kept = "the event is sent, but its dead letter could not be removed";
                    outcomes[at] = Err(error.context(kept).with_effect(Effect::Unknown));
                }
                _ => {}
            }
        }
        outcomes
    }
}

fn given_twice(id: &DeadLetterId) -> Error {
    let what = format!("dead letter {id} is given twice: it is redriven once");
    Error::new(ErrorKind::Invalid, what)
}
