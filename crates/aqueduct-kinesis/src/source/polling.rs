use std::time::Duration;

use aqueduct_core::{ErrorKind, Instant, Result};
use futures::SinkExt as _;

use super::feed::{Chunk, Chunks, Link};
use super::pace::Pace;
use super::place::Place;

/// The most records that one answer brings.
pub(super) const MAX_RECORDS: usize = 10_000;

/// What a record is taken to weigh before the first was seen.
const FIRST_GUESS: usize = 1024;

/// After so many refusals in a row, which take half a minute, the reader tells of them.
const TELL_AFTER: u32 = 8;

/// Fetches one shard by GetRecords.
pub(super) struct Polling {
    link: Link,
    place: Place,
    /// Empty where a new one is needed.
    iterator: Option<String>,
    /// An iterator was there before.
    renews: bool,
    pace: Pace,
    max_bytes: usize,
    record_bytes: usize,
}

impl Polling {
    pub(super) fn new(link: Link, place: Place, max_bytes: usize) -> Self {
        let source = &link.source;
        Self {
            pace: Pace::new(&source.runtime, source.reading.poll_interval),
            link,
            place,
            iterator: None,
            renews: false,
            max_bytes,
            record_bytes: FIRST_GUESS,
        }
    }

    /// Fetches until the shard ends or nobody takes the chunks any more.
    pub(super) async fn run(mut self, mut chunks: Chunks) {
        loop {
            self.link.source.runtime.sleep_until(self.pace.due()).await;
            let answer = match self.fetch().await {
                Ok(chunk) => Ok(chunk),
                Err(error) if error.is(ErrorKind::Throttled) => {
                    self.link.metrics.throttled.increment(1);
                    self.pace.throttled();
                    if !self.pace.times_throttled().is_multiple_of(TELL_AFTER) {
                        continue;
                    }
                    Err(error)
                }
                Err(error) => {
                    // Whatever it was: the place is known without the iterator.
                    self.iterator = None;
                    self.pace.failed();
                    Err(error)
                }
            };
            let ended = matches!(&answer, Ok(chunk) if chunk.children.is_some());
            if chunks.send(answer).await.is_err() || ended {
                return;
            }
        }
    }

    async fn fetch(&mut self) -> Result<Chunk> {
        let sent = self.link.source.runtime.now();
        let iterator = match self.iterator.clone() {
            Some(iterator) => iterator,
            None => self.renew().await?,
        };
        let limit = (self.max_bytes / self.record_bytes).clamp(1, MAX_RECORDS);
        let answer = match self.link.records(iterator, limit as i32).await {
            // An iterator lives 5 minutes, and whoever takes the records may be slower.
            Err(error) if error.is(ErrorKind::PositionExpired) => {
                let renewed = self.renew().await?;
                self.link.records(renewed, limit as i32).await?
            }
            answer => answer?,
        };
        let children = match answer.next {
            None => Some(self.link.children(answer.children).await?),
            Some(_) => None,
        };
        let chunk = Chunk {
            records: answer.records,
            behind: answer.behind,
            children,
        };
        self.iterator = answer.next;
        self.took(&chunk, sent);
        Ok(chunk)
    }

    async fn renew(&mut self) -> Result<String> {
        self.iterator = None;
        let iterator = self.link.iterator(&self.place).await?;
        if std::mem::replace(&mut self.renews, true) {
            self.link.metrics.renewals.increment(1);
        }
        self.iterator = Some(iterator.clone());
        Ok(iterator)
    }

    fn took(&mut self, chunk: &Chunk, sent: Instant) {
        let bytes = chunk.records.bytes();
        if let Some(last) = chunk.records.last() {
            self.place = Place::Sequence(last.to_owned());
            // Slowly: one large record among small ones says little of the next answer.
            let average = (bytes / chunk.records.len()).max(1);
            self.record_bytes = self.record_bytes.midpoint(average);
        }
        let at_tip = chunk
            .behind
            .is_none_or(|behind| behind < Duration::from_secs(1));
        self.pace.answered(sent, bytes, at_tip);
    }
}
