use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Instant, Result};
use futures::SinkExt as _;

use super::fetch::{Chunk, Chunks};
use super::rate_limiter::PollRateLimiter;
use super::records::MAX_RECORDS;
use super::shard_client::ShardClient;
use super::shard_iterator::IteratorStart;

/// The assumed size of a record, in bytes, before the first response.
const FIRST_GUESS: usize = 1024;

/// The reader reports throttling after this many throttled requests in a row, about half a minute.
const TELL_AFTER: u32 = 8;

/// Fetches one shard by GetRecords.
pub(super) struct Polling {
    client: ShardClient,
    start: IteratorStart,
    /// `None` if a new one is needed.
    iterator: Option<String>,
    /// Whether the next shard iterator is a renewal.
    renews: bool,
    /// Where the renewed iterator began, until it has returned records.
    resumed_at: Option<String>,
    rate_limiter: PollRateLimiter,
    max_bytes: usize,
    record_bytes: usize,
    /// Whether `start` is a record that was fetched.
    fetched: bool,
}

impl Polling {
    pub(super) fn new(client: ShardClient, start: IteratorStart, max_bytes: usize) -> Self {
        let context = &client.context;
        Self {
            rate_limiter: PollRateLimiter::new(&context.runtime, context.reading.poll_interval),
            client,
            start,
            iterator: None,
            renews: false,
            resumed_at: None,
            max_bytes,
            record_bytes: FIRST_GUESS,
            fetched: false,
        }
    }

    /// Fetches until the shard ends or the reader is dropped.
    pub(super) async fn run(mut self, mut chunks: Chunks) {
        loop {
            self.client
                .context
                .runtime
                .sleep_until(self.rate_limiter.due())
                .await;
            let response = match self.fetch().await {
                Ok(chunk) => Ok(chunk),
                Err(error) if error.is(ErrorKind::Throttled) => {
                    self.client.metrics.throttled.increment(1);
                    self.rate_limiter.throttled();
                    if !self
                        .rate_limiter
                        .times_throttled()
                        .is_multiple_of(TELL_AFTER)
                    {
                        continue;
                    }
                    Err(error)
                }
                Err(error) => {
                    // After any error, start from the cursor: it does not depend on the iterator.
                    self.iterator = None;
                    self.rate_limiter.failed();
                    Err(error)
                }
            };
            let ended = matches!(&response, Ok(chunk) if chunk.children.is_some());
            if chunks.send(response).await.is_err() || ended {
                return;
            }
        }
    }

    async fn fetch(&mut self) -> Result<Chunk> {
        let sent = self.client.context.runtime.now();
        let as_of = self.client.context.time.now();
        let iterator = match self.iterator.clone() {
            Some(iterator) => iterator,
            None => self.renew().await?,
        };
        let limit = (self.max_bytes / self.record_bytes).clamp(1, MAX_RECORDS);
        let response = match self.client.records(iterator, limit as i32).await {
            // A shard iterator expires after 5 minutes, and the reader may take longer than that.
            Err(error) if error.is(ErrorKind::PositionExpired) => {
                let renewed = self.renew().await?;
                let again = self.client.records(renewed, limit as i32).await;
                again.map_err(expired_again)?
            }
            response => response?,
        };
        let children = match response.next {
            None => Some(self.client.children(response.children).await?),
            Some(_) => None,
        };
        let response_is_empty = response.records.is_empty();
        let chunk = Chunk {
            records: response.records,
            behind: response.behind,
            as_of: Some(as_of),
            sent: Some(sent),
            resumed_at: match response_is_empty {
                true => None,
                false => self.resumed_at.take(),
            },
            children,
        };
        self.iterator = response.next;
        self.took(&chunk, sent);
        Ok(chunk)
    }

    async fn renew(&mut self) -> Result<String> {
        self.iterator = None;
        let iterator = self.client.iterator(&self.start).await?;
        if std::mem::replace(&mut self.renews, true) {
            self.client.metrics.renewals.increment(1);
            self.resumed_at = self.start.sequence().filter(|_| self.fetched);
        }
        self.iterator = Some(iterator.clone());
        Ok(iterator)
    }

    fn took(&mut self, chunk: &Chunk, sent: Instant) {
        let bytes = chunk.records.bytes();
        if let Some(last) = chunk.records.last() {
            self.start = IteratorStart::Sequence(last.to_owned());
            self.fetched = true;
            // Smoothed: one large record among small ones says little about the next response.
            let average = (bytes / chunk.records.len()).max(1);
            self.record_bytes = self.record_bytes.midpoint(average);
        }
        let at_tip = chunk
            .behind
            .is_none_or(|behind| behind < Duration::from_secs(1));
        self.rate_limiter.responded(sent, bytes, at_tip);
    }
}

/// A new iterator that expires at once tells of a slow path or of clocks that differ, never of records
/// that are gone: it is renewed once more, after a back-off.
fn expired_again(error: Error) -> Error {
    match error.kind() {
        ErrorKind::PositionExpired => Error::new(
            ErrorKind::Unavailable,
            "a shard iterator expired before its first use; another follows",
        )
        .with_source(error),
        _ => error,
    }
}
