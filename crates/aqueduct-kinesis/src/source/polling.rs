use std::time::Duration;

use aqueduct_core::{ErrorKind, Instant, Result};
use futures::SinkExt as _;

use super::feed::{Chunk, Chunks, Link};
use super::pace::Pace;
use super::place::Place;

/// The service's limit of records per response.
pub(super) const MAX_RECORDS: usize = 10_000;

/// The assumed size of a record, in bytes, before the first response.
const FIRST_GUESS: usize = 1024;

/// The reader reports throttling after this many throttled requests in a row, about half a minute.
const TELL_AFTER: u32 = 8;

/// Fetches one shard by GetRecords.
pub(super) struct Polling {
    link: Link,
    place: Place,
    /// `None` if a new one is needed.
    iterator: Option<String>,
    /// Whether the next shard iterator is a renewal.
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

    /// Fetches until the shard ends or the reader is dropped.
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
                    // After any error, start from the cursor: it does not depend on the iterator.
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
        let as_of = self.link.source.time.now();
        let iterator = match self.iterator.clone() {
            Some(iterator) => iterator,
            None => self.renew().await?,
        };
        let limit = (self.max_bytes / self.record_bytes).clamp(1, MAX_RECORDS);
        let answer = match self.link.records(iterator, limit as i32).await {
            // A shard iterator expires after 5 minutes, and the reader may take longer than that.
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
            as_of: Some(as_of),
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
            // Smoothed: one large record among small ones says little about the next response.
            let average = (bytes / chunk.records.len()).max(1);
            self.record_bytes = self.record_bytes.midpoint(average);
        }
        let at_tip = chunk
            .behind
            .is_none_or(|behind| behind < Duration::from_secs(1));
        self.pace.answered(sent, bytes, at_tip);
    }
}
