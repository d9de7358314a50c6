use aqueduct_core::{ReadFrom, Timestamp};
use aws_sdk_kinesis::error::BuildError;
use aws_sdk_kinesis::primitives::DateTime;
use aws_sdk_kinesis::types::{ShardIteratorType, StartingPosition};

/// Where in a shard the next shard iterator or subscription starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IteratorStart {
    /// At the oldest record kept.
    Horizon,
    /// At the first record stored at or after a time in the past.
    Time(Timestamp),
    /// At that sequence number, inclusive.
    Sequence(String),
}

impl IteratorStart {
    /// Returns a start at or before everything that `from` asks for. A position may be within an
    /// aggregated record, so its record is read again.
    pub(super) fn before(from: ReadFrom) -> Self {
        match from {
            ReadFrom::Earliest => Self::Horizon,
            ReadFrom::Time(time) => Self::Time(time),
            ReadFrom::At(position) | ReadFrom::After(position) => {
                Self::Sequence(position.sequence_text())
            }
        }
    }

    pub(super) fn kind(&self) -> ShardIteratorType {
        match self {
            Self::Horizon => ShardIteratorType::TrimHorizon,
            Self::Time(_) => ShardIteratorType::AtTimestamp,
            Self::Sequence(_) => ShardIteratorType::AtSequenceNumber,
        }
    }

    pub(super) fn sequence(&self) -> Option<String> {
        match self {
            Self::Sequence(sequence) => Some(sequence.clone()),
            _ => None,
        }
    }

    /// Returns its time, at most `now`: the service rejects times in the future.
    pub(super) fn time(&self, now: Timestamp) -> Option<DateTime> {
        match self {
            Self::Time(time) => Some(DateTime::from_millis((*time).min(now).as_millis())),
            _ => None,
        }
    }

    /// Returns the starting position of a subscription.
    pub(super) fn starting_position(&self, now: Timestamp) -> Result<StartingPosition, BuildError> {
        StartingPosition::builder()
            .r#type(self.kind())
            .set_sequence_number(self.sequence())
            .set_timestamp(self.time(now))
            .build()
    }
}
