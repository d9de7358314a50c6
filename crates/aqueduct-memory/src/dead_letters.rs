use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore, Error, ErrorKind,
    EventId, GroupKey, GroupName, Result, Runtime, SmallStr, StoredDeadLetter, StreamName,
};
use async_trait::async_trait;

use crate::faults::Operation;
use crate::stream::Stream;

/// The stored dead letters, oldest first, and the keys that they hold.
#[derive(Default)]
pub(crate) struct DeadLetterBox {
    dead_letters: BTreeMap<u64, DeadLetter>,
    /// Numbers by failed event, so that storing a dead letter again has no effect.
    known: BTreeMap<About, u64>,
    held: BTreeSet<(GroupKey, SmallStr)>,
    made: u64,
}

/// Identifies an event that failed in a group.
type About = (GroupKey, SmallStr, EventId);

impl DeadLetterBox {
    fn put(&mut self, dead_letter: &DeadLetter) {
        if let (true, Some(key)) = (dead_letter.holds_key, dead_letter.event.key_text()) {
            self.held.insert((group_of(dead_letter), key.clone()));
        }
        if let Some(known) = self.known.get(&about(dead_letter)).copied() {
            if self
                .dead_letters
                .get(&known)
                .is_some_and(|old| old.is_same_failure(dead_letter))
            {
                return;
            }
            // Redriven and failed again before the redrive removed the old dead letter. The new one
            // needs its own number, so that the redrive does not remove it too.
            self.remove(known);
        }
        self.made += 1;
        self.known.insert(about(dead_letter), self.made);
        self.dead_letters.insert(self.made, dead_letter.clone());
    }

    fn remove(&mut self, number: u64) {
        if let Some(dead_letter) = self.dead_letters.remove(&number) {
            self.known.remove(&about(&dead_letter));
        }
    }

    fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        let behind = match &query.after {
            None => 0,
            Some(id) => number_of(id).ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("invalid dead letter id {id} (expected a number)"),
                )
            })?,
        };
        let matching = self
            .dead_letters
            .range(behind.saturating_add(1)..)
            .filter(|(_, dead_letter)| query.matches(dead_letter));
        Ok(matching
            .take(query.limit)
            .map(|(number, dead_letter)| stored(*number, dead_letter))
            .collect())
    }
}

fn group_of(dead_letter: &DeadLetter) -> GroupKey {
    GroupKey {
        group: dead_letter.group.clone(),
        stream: dead_letter.stream.clone(),
    }
}

fn about(dead_letter: &DeadLetter) -> About {
    let event = &dead_letter.event;
    (
        group_of(dead_letter),
        event.source_text().clone(),
        event.id().clone(),
    )
}

fn number_of(id: &DeadLetterId) -> Option<u64> {
    id.0.parse().ok()
}

fn stored(number: u64, dead_letter: &DeadLetter) -> StoredDeadLetter {
    StoredDeadLetter {
        id: DeadLetterId(SmallStr::from(number.to_string())),
        dead_letter: dead_letter.clone(),
    }
}

fn not_found(id: &DeadLetterId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("dead letter {id} does not exist"),
    )
}

pub(crate) struct MemoryDeadLetters {
    stream: Arc<Stream>,
    runtime: Runtime,
}

impl MemoryDeadLetters {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime) -> Self {
        Self { stream, runtime }
    }

    async fn ask<T>(&self, work: impl FnOnce(&mut DeadLetterBox) -> Result<T>) -> Result<T> {
        let asked = || work(&mut self.stream.dead_letters());
        self.stream
            .plan
            .run(Operation::DeadLetterStore, &self.runtime, asked)
            .await
    }
}

#[async_trait]
impl DeadLetterQueue for MemoryDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let put = |dead_letter_box: &mut DeadLetterBox| {
            dead_letters
                .iter()
                .for_each(|dead_letter| dead_letter_box.put(dead_letter));
            Ok(())
        };
        let outcome = self.ask(put).await;
        dead_letters.iter().map(|_| outcome.clone()).collect()
    }
}

#[async_trait]
impl DeadLetterStore for MemoryDeadLetters {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        self.ask(|dead_letters| dead_letters.list(query)).await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        let show = |dead_letters: &mut DeadLetterBox| {
            let one = |id| {
                number_of(id)
                    .and_then(|number| {
                        Some(stored(number, dead_letters.dead_letters.get(&number)?))
                    })
                    .ok_or_else(|| not_found(id))
            };
            Ok(ids.iter().map(one).collect())
        };
        match self.ask(show).await {
            Ok(outcomes) => outcomes,
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        let purge = |dead_letters: &mut DeadLetterBox| {
            let one =
                |id| match number_of(id).filter(|it| dead_letters.dead_letters.contains_key(it)) {
                    Some(number) => {
                        dead_letters.remove(number);
                        Ok(())
                    }
                    None => Err(not_found(id)),
                };
            Ok(ids.iter().map(one).collect())
        };
        match self.ask(purge).await {
            Ok(outcomes) => outcomes,
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        let held = |dead_letters: &mut DeadLetterBox| {
            let of = dead_letters
                .held
                .iter()
                .filter(|(key, _)| key.group == *group && key.stream == *stream);
            Ok(of.map(|(_, key)| key.clone()).collect())
        };
        self.ask(held).await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        let release = |dead_letters: &mut DeadLetterBox| {
            let group = GroupKey {
                group: group.clone(),
                stream: stream.clone(),
            };
            dead_letters.held.remove(&(group, SmallStr::from(key)));
            Ok(())
        };
        self.ask(release).await
    }
}
