use std::collections::BTreeMap;

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{DeadLetterId, Result, SmallStr};

use super::{Place, Scan, Scanned};

/// How many dead letters are deleted at once.
const BATCH: usize = 100;

/// The dead letters that a scan has found. Dropping it gives everything back, also if the scan is cancelled.
pub(super) struct Found<S: Scan> {
    /// `None` once it has ended.
    scan: Option<S>,
    found: BTreeMap<SmallStr, Scanned<S::Handle>>,
    /// Further copies of a dead letter that was stored twice, by the message id of the first.
    copies: BTreeMap<SmallStr, Vec<Scanned<S::Handle>>>,
}

impl<S: Scan> Found<S> {
    pub(super) fn new(scan: S) -> Self {
        Self {
            scan: Some(scan),
            found: BTreeMap::new(),
            copies: BTreeMap::new(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Scanned<S::Handle>> {
        self.found.values()
    }

    /// Returns the dead letter of an id.
    pub(super) fn get(&self, id: &DeadLetterId) -> Option<&Scanned<S::Handle>> {
        let place = Place::of(id)?;
        let found = self.found.get(&place.message);
        found.filter(|it| it.place == place)
    }

    /// Receives until the wanted messages are found, or all if `wanted` is `None`; returns `false` if there
    /// are more than `most`.
    pub(super) async fn look_for(
        &mut self,
        wanted: Option<&[SmallStr]>,
        most: usize,
    ) -> Result<bool> {
        while let Some(scan) = &mut self.scan {
            if wanted.is_some_and(|it| it.iter().all(|id| self.found.contains_key(id))) {
                break;
            }
            let received = scan.receive().await?;
            if received.is_empty() {
                break;
            }
            // One that comes again replaces its handle.
            let received = received.into_iter();
            self.found
                .extend(received.map(|it| (it.place.message.clone(), it)));
            if self.found.len() > most {
                return Ok(false);
            }
        }
        self.set_copies_aside();
        Ok(true)
    }

    /// Deletes those messages with their copies; returns one outcome for each, in order.
    pub(super) async fn delete(&mut self, messages: &[SmallStr]) -> Vec<Result<()>> {
        let mut outcomes = Vec::with_capacity(messages.len());
        for batch in messages.chunks(BATCH) {
            let copies = batch.iter().filter_map(|id| self.copies.remove(id));
            let copies = copies.flatten().map(|copy| copy.handle).collect();
            // Copies first: if this is interrupted, the dead letter itself is still listed.
            for outcome in self.delete_all(copies).await {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "cannot delete a copy of a dead letter that was stored twice");
                }
            }
            let found: Vec<_> = batch.iter().map(|id| self.found.remove(id)).collect();
            let known: Vec<bool> = found.iter().map(Option::is_some).collect();
            let handles = found.into_iter().flatten().map(|it| it.handle).collect();
            let mut deleted = self.delete_all(handles).await.into_iter();
            outcomes.extend(known.into_iter().map(|known| {
                let outcome = if known { deleted.next() } else { None };
                outcome.unwrap_or_else(|| Err(no_outcome()))
            }));
        }
        outcomes
    }

    /// Gives the rest back.
    pub(super) async fn end(mut self) {
        let handles = self.take_all();
        if let Some(scan) = self.scan.take() {
            scan.end(handles).await;
        }
    }

    async fn delete_all(&mut self, handles: Vec<S::Handle>) -> Vec<Result<()>> {
        match &mut self.scan {
            Some(scan) if !handles.is_empty() => scan.delete(handles).await,
            _ => Vec::new(),
        }
    }

    fn take_all(&mut self) -> Vec<S::Handle> {
        let copies = std::mem::take(&mut self.copies).into_values().flatten();
        let found = std::mem::take(&mut self.found).into_values();
        found.chain(copies).map(|it| it.handle).collect()
    }

    /// Keeps the first of each dead letter that was stored twice, and moves the others to `copies`.
    fn set_copies_aside(&mut self) {
        let mut firsts: BTreeMap<DeadLetterId, Place> = BTreeMap::new();
        for scanned in self.found.values() {
            if let Some(same) = &scanned.same {
                let first = firsts.entry(same.clone());
                let first = first.or_insert_with(|| scanned.place.clone());
                if scanned.place < *first {
                    *first = scanned.place.clone();
                }
            }
        }
        let is_copy = |scanned: &Scanned<S::Handle>| {
            let first = firsts.get(scanned.same.as_ref()?)?;
            (*first != scanned.place).then(|| first.message.clone())
        };
        let copies: Vec<(SmallStr, SmallStr)> = self
            .found
            .iter()
            .filter_map(|(message, scanned)| Some((message.clone(), is_copy(scanned)?)))
            .collect();
        for (message, first) in copies {
            let copies = self.copies.entry(first).or_default();
            copies.extend(self.found.remove(&message));
        }
    }
}

impl<S: Scan> Drop for Found<S> {
    fn drop(&mut self) {
        let handles = self.take_all();
        if let Some(scan) = self.scan.take() {
            scan.abandon(handles);
        }
    }
}
