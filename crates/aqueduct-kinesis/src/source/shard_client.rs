use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, PartitionId, ReadFrom, Result};

use super::context::Context;
use super::metrics::Metrics;
use super::response::GetRecordsResponse;
use super::shard_iterator::IteratorStart;
use crate::error;
use crate::raw_response::ResponseReader;
use crate::shards::Shard;

/// Calls the service for one shard.
#[derive(Clone)]
pub(super) struct ShardClient {
    pub(super) context: Arc<Context>,
    pub(super) shard: Shard,
    pub(super) metrics: Metrics,
}

impl ShardClient {
    pub(super) fn new(context: Arc<Context>, shard: Shard) -> Self {
        Self {
            metrics: Metrics::new(&context.kinesis, &shard.id),
            context,
            shard,
        }
    }

    /// Returns the children named by a response, or else those of the shard listing.
    pub(super) async fn children(&self, told: Vec<PartitionId>) -> Result<Vec<PartitionId>> {
        if told.is_empty() {
            return self.context.children(&self.shard.id).await;
        }
        Ok(told)
    }

    /// Requests a new shard iterator that starts at `start`.
    ///
    /// # Errors
    /// `PositionExpired` if the service does not know the sequence number.
    pub(super) async fn iterator(&self, start: &IteratorStart) -> Result<String> {
        let kinesis = &self.context.kinesis;
        self.metrics.requests.increment(1);
        let request = |now| {
            kinesis
                .client
                .get_shard_iterator()
                .set_stream_name(kinesis.name())
                .set_stream_arn(kinesis.arn())
                .shard_id(self.shard.id.as_str())
                .shard_iterator_type(start.kind())
                .set_starting_sequence_number(start.sequence())
                .set_timestamp(start.time(now))
                .send()
        };
        let time = &self.context.time;
        let mut response = request(time.now()).await;
        if let (IteratorStart::Time(_), Err(failed)) = (start, &response)
            && is_invalid(failed)
        {
            // The service rejects a time in the future by its own clock, which only this response
            // has told. Records before the requested time are skipped anyway.
            let past = time.now().saturating_sub(std::time::Duration::from_secs(2));
            self.metrics.requests.increment(1);
            response = request(past).await;
        }
        let response = response.map_err(|failed| {
            let invalid = is_invalid(&failed);
            let error = error::request(kinesis.what("GetShardIterator"), failed);
            match start {
                IteratorStart::Sequence(sequence) if invalid => self.unknown(sequence, error),
                _ => error,
            }
        })?;
        response.shard_iterator.ok_or_else(|| {
            let what = kinesis.what("GetShardIterator");
            Error::new(
                ErrorKind::Unavailable,
                format!("{what}: the response has no shard iterator"),
            )
        })
    }

    /// Calls GetRecords once.
    ///
    /// # Errors
    /// `PositionExpired` if the iterator has expired.
    pub(super) async fn records(&self, iterator: String, limit: i32) -> Result<GetRecordsResponse> {
        let kinesis = &self.context.kinesis;
        self.metrics.requests.increment(1);
        let reader = ResponseReader::<GetRecordsResponse>::new(kinesis.direct);
        let response = kinesis
            .client
            .get_records()
            .set_stream_arn(kinesis.arn())
            .shard_iterator(iterator)
            .limit(limit)
            .customize()
            .interceptor(reader.clone())
            .send()
            .await
            .map_err(|failed| error::request(kinesis.what("GetRecords"), failed))?;
        Ok(reader.take().unwrap_or_else(|| response.into()))
    }

    /// Returns the error for a sequence number that the shard does not have.
    pub(super) fn unknown(&self, sequence: &str, refusal: Error) -> Error {
        let from = sequence.parse().map_or(ReadFrom::Earliest, ReadFrom::At);
        let why = "and the service no longer knows it";
        self.context
            .expired(&self.shard.id, from, why)
            .with_source(refusal)
    }
}

/// Returns whether the service rejected an argument.
pub(super) fn is_invalid<E>(failed: &aqueduct_aws::SdkError<E>) -> bool
where
    E: aws_sdk_kinesis::error::ProvideErrorMetadata,
{
    let code = failed.as_service_error().and_then(|error| error.code());
    matches!(
        code,
        Some("InvalidArgumentException" | "ValidationException")
    )
}
