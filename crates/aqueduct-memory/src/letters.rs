use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aqueduct_core::{
    DeadLetterQueue, Error, ErrorKind, EventId, GroupKey, GroupName, Letter, LetterId, LetterQuery,
    Letters, Producer, Receipt, Result, Runtime, StoredLetter, StreamName, Text,
};
use async_trait::async_trait;

use crate::faults::Operation;
use crate::stream::Stream;

/// The letters buried here, oldest first, and the keys that they hold.
#[derive(Default)]
pub(crate) struct LetterBox {
    letters: BTreeMap<u64, Letter>,
    /// Letters by what they are about, so that burying one twice is burying it once.
    known: BTreeMap<About, u64>,
    held: BTreeSet<(GroupKey, Text)>,
    made: u64,
}

/// An event that failed in a group.
type About = (GroupKey, Text, EventId);

impl LetterBox {
    fn bury(&mut self, letter: &Letter) {
        if let (true, Some(key)) = (letter.holds_key, letter.event.key_text()) {
            self.held.insert((group_of(letter), key.clone()));
        }
        if let Some(known) = self.known.get(&about(letter)).copied() {
            if self
                .letters
                .get(&known)
                .is_some_and(|old| is_same_burial(old, letter))
            {
                return;
            }
            // Redriven and failed again, before the redrive has removed the old letter: under a
            // number of its own the new one stays when that happens.
            self.remove(known);
        }
        self.made += 1;
        self.known.insert(about(letter), self.made);
        self.letters.insert(self.made, letter.clone());
    }

    fn remove(&mut self, number: u64) {
        if let Some(letter) = self.letters.remove(&number) {
            self.known.remove(&about(&letter));
        }
    }

    fn list(&self, query: &LetterQuery) -> Result<Vec<StoredLetter>> {
        let behind = match &query.after {
            None => 0,
            Some(id) => number_of(id).ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("letter {id}: no such name, expected a number"),
                )
            })?,
        };
        let matching = self
            .letters
            .range(behind.saturating_add(1)..)
            .filter(|(_, letter)| matches(query, letter));
        Ok(matching
            .take(query.limit)
            .map(|(number, letter)| stored(*number, letter))
            .collect())
    }
}

fn matches(query: &LetterQuery, letter: &Letter) -> bool {
    query
        .group
        .as_ref()
        .is_none_or(|group| *group == letter.group)
        && query
            .stream
            .as_ref()
            .is_none_or(|stream| *stream == letter.stream)
        && query
            .key
            .as_ref()
            .is_none_or(|key| Some(key) == letter.event.key_text())
}

/// Whether both tell of one failure: of the same record, as far as can be told. Without places,
/// what was redriven is another one.
fn is_same_burial(old: &Letter, new: &Letter) -> bool {
    (&old.partition, old.position) == (&new.partition, new.position)
        && (new.position.is_some() || Letter::target_group(&new.event).is_none())
}

fn group_of(letter: &Letter) -> GroupKey {
    GroupKey {
        group: letter.group.clone(),
        stream: letter.stream.clone(),
    }
}

fn about(letter: &Letter) -> About {
    let event = &letter.event;
    (
        group_of(letter),
        event.source_text().clone(),
        event.id().clone(),
    )
}

fn number_of(id: &LetterId) -> Option<u64> {
    id.0.parse().ok()
}

fn stored(number: u64, letter: &Letter) -> StoredLetter {
    StoredLetter {
        id: LetterId(Text::from(number.to_string())),
        letter: letter.clone(),
    }
}

fn no_letter(id: &LetterId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("letter {id}: there is no such letter"),
    )
}

pub(crate) struct MemoryLetters {
    stream: Arc<Stream>,
    runtime: Runtime,
}

impl MemoryLetters {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime) -> Self {
        Self { stream, runtime }
    }

    async fn ask<T>(&self, work: impl FnOnce(&mut LetterBox) -> Result<T>) -> Result<T> {
        let asked = || work(&mut self.stream.letters());
        self.stream
            .plan
            .run(Operation::Letters, &self.runtime, asked)
            .await
    }

    fn find(&self, id: &LetterId) -> Result<(u64, Letter)> {
        let letters = self.stream.letters();
        number_of(id)
            .and_then(|number| Some((number, letters.letters.get(&number)?.clone())))
            .ok_or_else(|| no_letter(id))
    }
}

#[async_trait]
impl DeadLetterQueue for MemoryLetters {
    async fn bury(&self, letters: &[Letter]) -> Vec<Result<()>> {
        let bury = |letter_box: &mut LetterBox| {
            letters.iter().for_each(|letter| letter_box.bury(letter));
            Ok(())
        };
        let answer = self.ask(bury).await;
        letters.iter().map(|_| answer.clone()).collect()
    }
}

#[async_trait]
impl Letters for MemoryLetters {
    async fn list(&self, query: &LetterQuery) -> Result<Vec<StoredLetter>> {
        self.ask(|letters| letters.list(query)).await
    }

    async fn show(&self, id: &LetterId) -> Result<Option<StoredLetter>> {
        let show = |letters: &mut LetterBox| {
            let number = number_of(id);
            let found =
                number.and_then(|number| Some(stored(number, letters.letters.get(&number)?)));
            Ok(found)
        };
        self.ask(show).await
    }

    async fn redrive(&self, ids: &[LetterId], to: &dyn Producer) -> Vec<Result<Receipt>> {
        if let Err(error) = self.ask(|_| Ok(())).await {
            return ids.iter().map(|_| Err(error.clone())).collect();
        }
        let found: Vec<Result<(u64, Letter)>> = ids.iter().map(|id| self.find(id)).collect();
        let events: Vec<_> = found
            .iter()
            .flatten()
            .map(|(_, letter)| letter.redriven())
            .collect();
        let mut outcomes = to.send_batch(&events).await.into_outcomes().into_iter();
        let missing = || {
            Error::new(
                ErrorKind::Internal,
                "the producer gave no outcome for an event",
            )
        };
        let answer = |found: Result<(u64, Letter)>| {
            let (number, _) = found?;
            let receipt = outcomes.next().unwrap_or_else(|| Err(missing()))?;
            self.stream.letters().remove(number);
            Ok(receipt)
        };
        found.into_iter().map(answer).collect()
    }

    async fn purge(&self, ids: &[LetterId]) -> Vec<Result<()>> {
        let purge = |letters: &mut LetterBox| {
            let one = |id| match number_of(id).filter(|it| letters.letters.contains_key(it)) {
                Some(number) => {
                    letters.remove(number);
                    Ok(())
                }
                None => Err(no_letter(id)),
            };
            Ok(ids.iter().map(one).collect())
        };
        match self.ask(purge).await {
            Ok(answers) => answers,
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<Text>> {
        let held = |letters: &mut LetterBox| {
            let of = letters
                .held
                .iter()
                .filter(|(key, _)| key.group == *group && key.stream == *stream);
            Ok(of.map(|(_, key)| key.clone()).collect())
        };
        self.ask(held).await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        let release = |letters: &mut LetterBox| {
            let group = GroupKey {
                group: group.clone(),
                stream: stream.clone(),
            };
            letters.held.remove(&(group, Text::from(key)));
            Ok(())
        };
        self.ask(release).await
    }
}
