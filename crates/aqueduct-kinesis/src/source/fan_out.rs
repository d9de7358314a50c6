//! Enhanced fan-out: the service pushes records, over one subscription per shard and consumer that
//! lasts five minutes and is renewed before.

use std::time::Duration;

use aqueduct_core::{Backoff, Error, ErrorKind, GroupName, OpenPartition, Result, SmallStr};
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kinesis::operation::subscribe_to_shard::SubscribeToShardOutput as Subscription;
use aws_sdk_kinesis::types::error::SubscribeToShardEventStreamError;
use aws_sdk_kinesis::types::{SubscribeToShardEvent, SubscribeToShardEventStream};
use futures::SinkExt as _;
use futures::future::{Either, select};

use super::convert::{behind, ids};
use super::fetch::{Chunk, Chunks};
use super::polling::Polling;
use super::shard_client::{ShardClient, is_invalid};
use super::shard_iterator::IteratorStart;
use crate::config::is_consumer_name;
use crate::error;

/// The service ends a subscription after five minutes; renewing it earlier avoids a break in between.
const RENEW_AFTER: Duration = Duration::from_secs(285);

/// The service sends an event every few seconds, with or without records. After this long without one,
/// the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(30);

/// How long an event may be on its way: subtracted from the time at which it is received.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// The back-off between two attempts to subscribe.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(10));

/// The reader reports failures after this many in a row.
const TELL_AFTER: u32 = 4;

/// Fetches one shard by SubscribeToShard.
pub(super) struct FanOut {
    client: ShardClient,
    start: IteratorStart,
    max_bytes: usize,
    /// The last record pushed, if the next subscription begins there.
    last: Option<String>,
    /// Where the running subscription resumed, until it has pushed records.
    resumed_at: Option<String>,
    /// The name of the registered consumer; an error if the group's name is not valid as one.
    consumer: Result<SmallStr>,
    fall_back: bool,
}

/// How a subscription ended.
enum Ended {
    /// The shard has ended, or the reader was dropped.
    ForGood,
    /// It is time for the next one.
    Renew,
    /// The connection broke, or another process took the subscription over.
    Broken(Error),
}

impl FanOut {
    pub(super) fn new(
        client: ShardClient,
        start: IteratorStart,
        request: &OpenPartition,
        consumer: Option<SmallStr>,
        fall_back: bool,
    ) -> Self {
        Self {
            consumer: consumer.map_or_else(|| consumer_of(&request.group), Ok),
            client,
            start,
            max_bytes: request.max_bytes,
            last: None,
            resumed_at: None,
            fall_back,
        }
    }

    /// Fetches until the shard ends or the reader is dropped.
    pub(super) async fn run(mut self, mut chunks: Chunks) {
        let mut failures = 0;
        loop {
            let error = match self.subscribe().await {
                Ok(events) => match self.follow(events, &mut chunks, &mut failures).await {
                    Ended::ForGood => return,
                    Ended::Renew => continue,
                    Ended::Broken(error) => error,
                },
                Err(error) if self.fall_back && is_refusal(&error) => {
                    return self.poll_instead(&error, chunks).await;
                }
                Err(error) => error,
            };
            failures += 1;
            let (stream, shard) = (&self.client.context.kinesis.shown, &self.client.shard.id);
            tracing::debug!(%stream, %shard, %error, failures, "subscription failed");
            if (!error.is_retryable() || failures.is_multiple_of(TELL_AFTER))
                && chunks.send(Err(error)).await.is_err()
            {
                return;
            }
            let runtime = &self.client.context.runtime;
            runtime.sleep(BACKOFF.ceiling(failures) / 2).await;
            runtime.sleep(BACKOFF.delay(failures, runtime) / 2).await;
        }
    }

    async fn subscribe(&self) -> Result<Subscription> {
        let ShardClient { context, shard, .. } = &self.client;
        let name = self.consumer.as_ref().map_err(Clone::clone)?;
        let arn = context
            .consumers
            .arn(&context.kinesis, &context.runtime, name)
            .await?;
        let due = context.consumers.due(&arn, &shard.id);
        context.runtime.sleep_until(due).await;
        let what = || context.kinesis.what("SubscribeToShard");
        let mut now = context.time.now();
        let mut again = matches!(self.start, IteratorStart::Time(_));
        loop {
            let begun = context.runtime.now();
            let start = self.start.starting_position(now);
            let start = start.map_err(|failed| error::malformed(what(), failed))?;
            let response = context
                .kinesis
                .subscriptions
                .subscribe_to_shard()
                .consumer_arn(arn.as_str())
                .shard_id(shard.id.as_str())
                .starting_position(start)
                .send()
                .await;
            let failed = match response {
                Ok(subscription) => {
                    context.consumers.begins(&arn, &shard.id, begun);
                    self.client.metrics.subscriptions.increment(1);
                    return Ok(subscription);
                }
                Err(failed) => failed,
            };
            let invalid = is_invalid(&failed);
            if invalid && std::mem::take(&mut again) {
                // The service rejects a time in the future by its own clock, which only this
                // response has told.
                now = context.time.now().saturating_sub(Duration::from_secs(2));
                continue;
            }
            let error = error::request(what(), failed);
            match (&self.start, error.kind()) {
                (IteratorStart::Sequence(sequence), _) if invalid => {
                    return Err(self.client.unknown(sequence, error));
                }
                (_, ErrorKind::NotFound) => context.consumers.forget(name).await,
                // Its response was lost: the subscription may exist.
                (_, ErrorKind::TimedOut | ErrorKind::Conflict) => {
                    context.consumers.begins(&arn, &shard.id, begun);
                }
                _ => {}
            }
            return Err(error);
        }
    }

    async fn follow(
        &mut self,
        mut events: Subscription,
        chunks: &mut Chunks,
        failures: &mut u32,
    ) -> Ended {
        self.resumed_at = self.last.clone();
        let runtime = self.client.context.runtime.clone();
        let renew = runtime.now() + RENEW_AFTER;
        loop {
            let silent = runtime.now() + SILENCE;
            let limit = runtime.sleep_until(silent.min(renew));
            let event = match select(Box::pin(events.event_stream.recv()), limit).await {
                Either::Left((event, _)) => event,
                Either::Right(_) if runtime.now() >= renew => return Ended::Renew,
                Either::Right(_) => {
                    let message = format!("no event within {SILENCE:?}");
                    return Ended::Broken(Error::new(ErrorKind::TimedOut, message));
                }
            };
            let event = match event {
                Ok(Some(SubscribeToShardEventStream::SubscribeToShardEvent(event))) => event,
                // An event that a later version of the service adds.
                Ok(Some(_)) => continue,
                Ok(None) => return Ended::Renew,
                Err(failed) => return Ended::Broken(self.failure(&failed)),
            };
            *failures = 0;
            let chunk = self.chunk(event).await;
            let ended = matches!(&chunk, Ok(chunk) if chunk.children.is_some());
            if chunks.send(chunk).await.is_err() || ended {
                return Ended::ForGood;
            }
            if runtime.now() >= renew {
                return Ended::Renew;
            }
        }
    }

    async fn chunk(&mut self, event: SubscribeToShardEvent) -> Result<Chunk> {
        let goes_on = event.continuation_sequence_number;
        let mut chunk = Chunk {
            behind: behind(Some(event.millis_behind_latest)),
            as_of: Some(self.client.context.time.now().saturating_sub(UNDER_WAY)),
            ..Chunk::default()
        };
        if let Some(told) = event.child_shards.filter(|told| !told.is_empty())
            // Some implementations name the children of a closed shard before all its records are sent.
            && (goes_on.is_empty() || event.records.is_empty())
        {
            chunk.children = Some(self.client.children(ids(&told)).await?);
        }
        if let Some(last) = event.records.last() {
            // The record, not what follows it: if it is missing from the next subscription,
            // retention has overtaken the reader.
            let last = last.sequence_number.clone();
            self.start = IteratorStart::Sequence(last.clone());
            self.last = Some(last);
            chunk.resumed_at = self.resumed_at.take();
        } else if !goes_on.is_empty() {
            self.start = IteratorStart::Sequence(goes_on);
            self.last = None;
        }
        chunk.records = event.records.into();
        Ok(chunk)
    }

    fn failure<R>(&self, failed: &SdkError<SubscribeToShardEventStreamError, R>) -> Error {
        let service = failed.as_service_error();
        let said = match service.and_then(|error| Some((error.code()?, error.message()?))) {
            Some((code, message)) => format!("{code}: {message}"),
            None => "the connection broke".to_owned(),
        };
        let what = self.client.context.kinesis.what("SubscribeToShard");
        Error::new(ErrorKind::Unavailable, format!("{what}: {said}"))
    }

    async fn poll_instead(self, error: &Error, chunks: Chunks) {
        let (stream, shard) = (&self.client.context.kinesis.shown, &self.client.shard.id);
        tracing::warn!(%stream, %shard, %error, "no enhanced fan-out, polling instead");
        metrics::counter!(
            "aqueduct_kinesis_fan_out_fallbacks_total",
            "stream" => self.client.context.kinesis.name.to_string(),
        )
        .increment(1);
        Polling::new(self.client, self.start, self.max_bytes)
            .run(chunks)
            .await;
    }
}

/// Returns whether the service refused for good, not just for now.
fn is_refusal(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Denied
            | ErrorKind::Full
            | ErrorKind::Invalid
            | ErrorKind::Unsupported
            | ErrorKind::Config
    )
}

/// Returns the consumer name of a group; an error if the service does not accept that name.
fn consumer_of(group: &GroupName) -> Result<SmallStr> {
    if is_consumer_name(group.as_str()) {
        return Ok(group.text().clone());
    }
    Err(Error::config(format!(
        "group `{group}` is not a valid name of an enhanced fan-out consumer (1 to 128 letters, digits, \
         `_`, `.` or `-`): set `consumer`"
    )))
}
