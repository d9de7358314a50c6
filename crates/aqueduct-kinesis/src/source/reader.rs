use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Error, ErrorKind, Instant, OpenPartition, PartitionEnd, PartitionReader, ReadBatch, ReadFrom,
    Record, Result, Tail, Task, Timestamp,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::future::{Either, select};

use super::context::Context;
use super::convert::sequence;
use super::cursor::{Cursor, First};
use super::deaggregate::Deaggregator;
use super::fan_out::FanOut;
use super::fetch::Chunk;
use super::metrics::Metrics;
use super::polling::Polling;
use super::records::Records;
use super::shard_client::ShardClient;
use super::shard_iterator::IteratorStart;
use crate::config::ReadMode;
use crate::shards::Shard;

/// Reads one shard for one group. A background task fetches one response ahead.
pub(super) struct KinesisReader {
    context: Arc<Context>,
    shard: Shard,
    request: OpenPartition,
    deaggregator: Deaggregator,
    metrics: Metrics,
    cursor: Cursor,
    chunks: mpsc::Receiver<Result<Chunk>>,
    _fetching: Task<()>,
    /// The records of the last chunk that have not been decoded yet.
    raw: Records,
    /// The error of a gap; kept, so that every later read returns it too.
    gap: Option<Error>,
    ready: VecDeque<Record>,
    tail: Option<Tail>,
    tail_at: Option<Timestamp>,
    end: Option<PartitionEnd>,
}

/// How long opening waits for the first response, which shows whether the position has expired. After
/// that the reads return the error.
const FIRST_RESPONSE: Duration = Duration::from_secs(5);

impl KinesisReader {
    /// # Errors
    /// `PositionExpired` if the position is no longer kept.
    pub(super) async fn open(
        context: Arc<Context>,
        shard: Shard,
        request: &OpenPartition,
    ) -> Result<Self> {
        let mut reader = Self::new(context, shard, request);
        let limit = reader.context.runtime.sleep(FIRST_RESPONSE);
        if let Either::Left((Some(chunk), _)) = select(reader.chunks.next(), limit).await {
            reader.accept(chunk?)?;
        }
        Ok(reader)
    }

    fn new(context: Arc<Context>, shard: Shard, request: &OpenPartition) -> Self {
        let client = ShardClient::new(context.clone(), shard.clone());
        let metrics = client.metrics.clone();
        let start = IteratorStart::before(request.from);
        let (sender, chunks) = mpsc::channel(0);
        let fetching = match &context.reading.mode {
            ReadMode::Polling => context
                .runtime
                .spawn(Polling::new(client, start, request.max_bytes).run(sender)),
            ReadMode::FanOut {
                consumer,
                fall_back,
            } => {
                let fan_out = FanOut::new(client, start, request, consumer.clone(), *fall_back);
                context.runtime.spawn(fan_out.run(sender))
            }
        };
        Self {
            deaggregator: Deaggregator::new(context.clone(), shard.clone(), metrics.clone()),
            context,
            shard,
            request: request.clone(),
            metrics,
            cursor: Cursor::new(request.from),
            chunks,
            _fetching: fetching,
            raw: Records::default(),
            gap: None,
            ready: VecDeque::new(),
            tail: None,
            tail_at: None,
            end: None,
        }
    }

    /// Accepts the next chunk, after everything before it was returned.
    fn accept(&mut self, chunk: Chunk) -> Result<()> {
        self.metrics.records.increment(chunk.records.len() as u64);
        self.metrics.bytes.increment(chunk.records.bytes() as u64);
        if let Some(behind) = chunk.behind {
            self.metrics.behind.set(behind.as_secs_f64());
            let mut tail = Tail::default();
            tail.time_behind = Some(behind);
            self.tail = Some(tail);
            self.tail_at = chunk.as_of;
        }
        if let Some(children) = chunk.children {
            self.end = Some(PartitionEnd { children });
        }
        if let Some(first) = chunk.records.first() {
            self.check_first(first, chunk.resumed_at.as_deref())?;
        } else if chunk.behind.is_some_and(|behind| behind.is_zero())
            && let Some(last) = self.cursor.last_sequence()
        {
            // The chunk may have waited for longer than retention: its own time counts.
            let at = chunk.sent.unwrap_or_else(|| self.context.runtime.now());
            self.context.is_caught_up(&self.shard.id, last, at);
        }
        self.raw = chunk.records;
        Ok(())
    }

    fn check_first(&mut self, first: &str, resumed_at: Option<&str>) -> Result<()> {
        let first = sequence(first)?;
        let resumed_at = resumed_at.map(sequence).transpose()?;
        if self.cursor.first(first, resumed_at) == First::Fits {
            return Ok(());
        }
        // After the first record, the place where fetching resumed is the one to compare with.
        let (expected, from) = match self.cursor.expected().or(resumed_at) {
            Some(expected) if self.cursor.expected().is_none() => {
                (expected, ReadFrom::After(expected))
            }
            Some(expected) => (expected, self.cursor.from()),
            None => return Ok(()),
        };
        if self.context.was_caught_up(&self.shard.id, expected) {
            return Ok(());
        }
        let left = format!("the oldest left is `{first}`");
        let gap = self.context.expired(&self.shard.id, from, &left);
        self.gap = Some(gap.clone());
        Err(gap)
    }

    /// Takes up to `max_events` from what is buffered.
    fn take(&mut self, max_events: usize) -> Result<Vec<Record>> {
        let more = max_events.saturating_sub(self.ready.len());
        self.ready.reserve(more.min(self.raw.len()));
        while self.ready.len() < max_events
            && let Some(raw) = self.raw.next()
        {
            self.deaggregator
                .deaggregate(raw?, &mut self.cursor, &mut self.ready)?;
        }
        let count = self.ready.len().min(max_events);
        self.metrics.events.increment(count as u64);
        if count == self.ready.len() {
            return Ok(std::mem::take(&mut self.ready).into());
        }
        Ok(self.ready.drain(..count).collect())
    }

    fn batch(&mut self, records: Vec<Record>) -> ReadBatch {
        let drained = self.ready.is_empty() && self.raw.is_empty();
        let mut batch = ReadBatch::default();
        batch.records = records;
        batch.end = self.end.clone().filter(|_| drained);
        batch.tail = self.tail;
        batch.tail_at = self.tail_at;
        batch
    }
}

#[async_trait]
impl PartitionReader for KinesisReader {
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch> {
        let max_events = max_events.max(1);
        let mut deadline: Option<Instant> = None;
        loop {
            if let Some(gap) = &self.gap {
                return Err(gap.clone());
            }
            // No `await` between taking records and returning them, so that a cancelled read
            // loses none.
            let records = self.take(max_events)?;
            let batch = self.batch(records);
            if !batch.records.is_empty() || batch.end.is_some() {
                return Ok(batch);
            }
            let runtime = &self.context.runtime;
            let until = *deadline.get_or_insert_with(|| runtime.now() + self.request.max_wait);
            match select(self.chunks.next(), runtime.sleep_until(until)).await {
                Either::Left((Some(chunk), _)) => self.accept(chunk?)?,
                Either::Left((None, _)) => {
                    let message = "the task that fetches the shard has ended";
                    return Err(Error::new(ErrorKind::Closed, message));
                }
                Either::Right(_) => return Ok(self.batch(Vec::new())),
            }
        }
    }
}
