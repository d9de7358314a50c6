use aqueduct_core::{Error, ErrorKind, ReadFrom, Result};

use super::answer::Answer;
use super::feed::Link;
use super::log::expired;
use super::place::Place;
use crate::direct::Direct;
use crate::error;

impl Link {
    /// Requests a new shard iterator at `place`.
    ///
    /// # Errors
    /// `PositionExpired` if the service does not know the sequence number.
    pub(super) async fn iterator(&self, place: &Place) -> Result<String> {
        let kinesis = &self.source.kinesis;
        self.metrics.requests.increment(1);
        let request = |now| {
            kinesis
                .client
                .get_shard_iterator()
                .set_stream_name(kinesis.name())
                .set_stream_arn(kinesis.arn())
                .shard_id(self.shard.id.as_str())
                .shard_iterator_type(place.kind())
                .set_starting_sequence_number(place.sequence())
                .set_timestamp(place.time(now))
                .send()
        };
        let time = &self.source.time;
        let mut answer = request(time.now()).await;
        if let (Place::Time(_), Err(failed)) = (place, &answer)
            && is_invalid(failed)
        {
            // The service rejects a time in the future by its own clock, which only this response
            // has told. Records before the requested time are skipped anyway.
            let past = time.now().saturating_sub(std::time::Duration::from_secs(2));
            self.metrics.requests.increment(1);
            answer = request(past).await;
        }
        let answer = answer.map_err(|failed| {
            let invalid = is_invalid(&failed);
            let error = error::request(kinesis.what("GetShardIterator"), failed);
            match place {
                Place::Sequence(sequence) if invalid => self.unknown(sequence, error),
                _ => error,
            }
        })?;
        answer.shard_iterator.ok_or_else(|| {
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
    pub(super) async fn records(&self, iterator: String, limit: i32) -> Result<Answer> {
        let kinesis = &self.source.kinesis;
        self.metrics.requests.increment(1);
        let direct = Direct::<Answer>::new();
        let answer = kinesis
            .client
            .get_records()
            .set_stream_arn(kinesis.arn())
            .shard_iterator(iterator)
            .limit(limit)
            .customize()
            .interceptor(direct.clone())
            .send()
            .await
            .map_err(|failed| error::request(kinesis.what("GetRecords"), failed))?;
        Ok(direct.take().unwrap_or_else(|| answer.into()))
    }

    /// Returns the error for a sequence number that the shard does not have.
    pub(super) fn unknown(&self, sequence: &str, refusal: Error) -> Error {
        let from = sequence.parse().map_or(ReadFrom::Earliest, ReadFrom::At);
        let why = "and the service no longer knows it";
        expired(&self.source, &self.shard.id, from, why).with_source(refusal)
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
