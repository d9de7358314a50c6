mod keys;
mod name;

use std::sync::atomic::{AtomicU64, Ordering};

use aqueduct_core::cloudevents::json;
use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterStore, Error, ErrorKind,
    GroupName, Result, Runtime, SmallStr, StoredDeadLetter, StreamName,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;

use self::name::{FOLDER, Name, micros};
use crate::bucket::{Bucket, Content, Expect, Put};
use crate::names::segment;

/// The number of dead letters read or written at once.
const CONCURRENCY: usize = 16;

/// Stores dead letters, one object each: the event that carries it, in the JSON format of CloudEvents.
pub(crate) struct ObjectDeadLetters {
    bucket: Bucket,
    runtime: Runtime,
    /// The last time given to a dead letter, so that those of one process keep their order.
    last: AtomicU64,
}

impl ObjectDeadLetters {
    pub(crate) fn new(bucket: Bucket, runtime: &Runtime) -> Self {
        Self {
            bucket,
            runtime: runtime.clone(),
            last: AtomicU64::new(0),
        }
    }

    fn next_time(&self) -> u64 {
        let now = micros(self.runtime.wall());
        let next = |last: u64| Some(now.max(last.saturating_add(1)));
        match self
            .last
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
        {
            Ok(last) | Err(last) => now.max(last.saturating_add(1)),
        }
    }

    async fn put_one(&self, dead_letter: &DeadLetter, time: u64) -> Result<()> {
        if let (true, Some(key)) = (dead_letter.holds_key, dead_letter.event.key()) {
            self.hold(&dead_letter.group, &dead_letter.stream, key)
                .await?;
        }
        let name = Name::new(dead_letter, time);
        let earlier = self.names(&name.event_folder()).await?;
        for old in &earlier {
            if let Some(stored) = self.read(old).await?
                && is_same_burial(&stored, dead_letter)
            {
                return Ok(());
            }
        }
        let mut body = Vec::new();
        json::encode(&dead_letter.to_event()?, &mut body);
        let content = Content {
            body: Bytes::from(body),
            metadata: Vec::new(),
        };
        let object = name.object();
        if self.bucket.put(&object, content, Expect::Absent).await? == Put::Refused {
            // Another process has buried the same event in the same microsecond.
            return Ok(());
        }
        // Redriven and failed again before the redrive removed the old one.
        for old in &earlier {
            self.bucket.delete(&old.object()).await?;
        }
        Ok(())
    }

    async fn read(&self, name: &Name) -> Result<Option<DeadLetter>> {
        let object = name.object();
        let Some(found) = self.bucket.get(&object).await? else {
            return Ok(None);
        };
        json::decode(&found.body)
            .and_then(|event| DeadLetter::from_event(&event))
            .map(Some)
            .map_err(|error| error.context(self.bucket.shown(&object)))
    }

    async fn stored(&self, name: &Name) -> Result<Option<StoredDeadLetter>> {
        let found = self.read(name).await?;
        Ok(found.map(|dead_letter| StoredDeadLetter {
            id: name.id(),
            dead_letter,
        }))
    }

    /// Returns the names below `folder`, oldest first.
    async fn names(&self, folder: &str) -> Result<Vec<Name>> {
        let below = folder.strip_prefix(FOLDER).unwrap_or_default();
        let below = below.trim_start_matches('/');
        let listed = self.bucket.list(folder).await?;
        let parse = |name: &str| match below.is_empty() {
            true => Name::parse(name),
            false => Name::parse(&format!("{below}/{name}")),
        };
        let mut names: Vec<Name> = listed.iter().filter_map(|it| parse(&it.name)).collect();
        names.sort_unstable();
        Ok(names)
    }

    async fn require(&self, id: &DeadLetterId) -> Result<(Name, DeadLetter)> {
        let missing = || {
            Error::new(
                ErrorKind::NotFound,
                format!("dead letter {id} does not exist"),
            )
        };
        let name = Name::of(id).map_err(|_| missing())?;
        let found = self.read(&name).await?.ok_or_else(missing)?;
        Ok((name, found))
    }

    async fn show_one(&self, id: &DeadLetterId) -> Result<StoredDeadLetter> {
        let (_, dead_letter) = self.require(id).await?;
        Ok(StoredDeadLetter {
            id: id.clone(),
            dead_letter,
        })
    }

    async fn purge_one(&self, id: &DeadLetterId) -> Result<()> {
        let (name, _) = self.require(id).await?;
        self.bucket.delete(&name.object()).await
    }
}

/// Returns the narrowest folder of what a query selects.
fn folder(query: &DeadLetterQuery) -> String {
    let mut folder = FOLDER.to_owned();
    if let Some(stream) = &query.stream {
        folder = format!("{folder}/{}", segment(stream.as_str()));
        if let Some(group) = &query.group {
            folder = format!("{folder}/{}", segment(group.as_str()));
        }
    }
    folder
}

/// Returns whether both describe one failure of the same record. Without positions, a redriven
/// event counts as another record.
fn is_same_burial(old: &DeadLetter, new: &DeadLetter) -> bool {
    (&old.partition, old.position) == (&new.partition, new.position)
        && (new.position.is_some() || DeadLetter::target_group(&new.event).is_none())
}

#[async_trait]
impl DeadLetterQueue for ObjectDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let timed: Vec<_> = dead_letters
            .iter()
            .map(|it| (it, self.next_time()))
            .collect();
        let puts: Vec<_> = timed
            .into_iter()
            .map(|(it, time)| self.put_one(it, time))
            .collect();
        futures::stream::iter(puts)
            .buffered(CONCURRENCY)
            .collect()
            .await
    }
}

#[async_trait]
impl DeadLetterStore for ObjectDeadLetters {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        let after = query.after.as_ref().map(Name::of).transpose()?;
        let mut names = self.names(&folder(query)).await?;
        names.retain(|name| {
            let group = query.group.as_ref().map(|group| segment(group.as_str()));
            after.as_ref().is_none_or(|after| name > after)
                && group.is_none_or(|group| group == name.group)
        });
        let reads: Vec<_> = names.iter().map(|name| self.stored(name)).collect();
        // Not more are read ahead than a page can need.
        let ahead = CONCURRENCY.min(query.limit.max(1));
        let mut reads = futures::stream::iter(reads).buffered(ahead);
        let mut page = Vec::new();
        while page.len() < query.limit
            && let Some(read) = reads.next().await
        {
            page.extend(read?.filter(|it| query.matches(&it.dead_letter)));
        }
        Ok(page)
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        let reads: Vec<_> = ids.iter().map(|id| self.show_one(id)).collect();
        futures::stream::iter(reads)
            .buffered(CONCURRENCY)
            .collect()
            .await
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        let purges: Vec<_> = ids.iter().map(|id| self.purge_one(id)).collect();
        futures::stream::iter(purges)
            .buffered(CONCURRENCY)
            .collect()
            .await
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        self.held(group, stream).await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        self.let_go(group, stream, key).await
    }
}
