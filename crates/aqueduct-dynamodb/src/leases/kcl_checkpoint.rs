use aqueduct_core::{Checkpoint, Position, ReadFrom, Timestamp};

use crate::item::Row;

use super::columns as col;

/// A checkpoint in KCL's two columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KclCheckpoint {
    pub(crate) sequence: String,
    pub(crate) sub: i64,
}

/// The meaning of a KCL checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A place that does not depend on the group or configuration.
    Place(Checkpoint),
    /// The end of the shard when the application began.
    Latest,
    /// The start time in the application's configuration.
    AtTimestamp,
}

impl KclCheckpoint {
    /// Encodes `checkpoint` for KCL. A start that KCL cannot express becomes `TRIM_HORIZON`, so that no
    /// event is lost.
    pub(crate) fn of(checkpoint: Checkpoint, at_timestamp: Option<Timestamp>) -> Self {
        let sentinel = |name: &str| Self {
            sequence: name.to_owned(),
            sub: 0,
        };
        let inclusive = |position: Position| Self {
            sequence: position.sequence_text(),
            sub: clamp(position.sub()),
        };
        match checkpoint {
            Checkpoint::Start(ReadFrom::Earliest) => sentinel("TRIM_HORIZON"),
            // KCL reads the time from its configuration, and fails if it is missing there.
            Checkpoint::Start(ReadFrom::Time(time)) if at_timestamp == Some(time) => {
                sentinel("AT_TIMESTAMP")
            }
            Checkpoint::Start(ReadFrom::Time(_)) => sentinel("TRIM_HORIZON"),
            // KCL reads from the sequence number on and skips sub-sequences up to this one.
            Checkpoint::Start(ReadFrom::At(position)) => Self {
                sub: clamp(position.sub()) - 1,
                ..inclusive(position)
            },
            Checkpoint::Start(ReadFrom::After(position)) | Checkpoint::At(position) => {
                inclusive(position)
            }
            Checkpoint::End => sentinel("SHARD_END"),
        }
    }

    /// Returns whether `exact` is encoded as this, under any configuration.
    pub(crate) fn says(&self, exact: Checkpoint) -> bool {
        let told = match exact {
            Checkpoint::Start(ReadFrom::Time(time)) => Some(time),
            _ => None,
        };
        *self == Self::of(exact, None) || *self == Self::of(exact, told)
    }

    pub(crate) fn read(row: Row<'_>) -> aqueduct_core::Result<Self> {
        Ok(Self {
            sequence: row.need_text(col::CHECKPOINT)?.to_owned(),
            sub: row.number(col::SUB_SEQUENCE)?.unwrap_or(0),
        })
    }

    /// Returns its meaning; `None` if it is neither a sentinel nor a sequence number.
    pub(crate) fn meaning(&self) -> Option<Meaning> {
        Some(match self.sequence.as_str() {
            "TRIM_HORIZON" => Meaning::Place(Checkpoint::Start(ReadFrom::Earliest)),
            "LATEST" => Meaning::Latest,
            "AT_TIMESTAMP" => Meaning::AtTimestamp,
            "SHARD_END" => Meaning::Place(Checkpoint::End),
            digits => {
                let position = Position::from_sequence_text(digits).ok()?;
                Meaning::Place(match u64::try_from(self.sub) {
                    Ok(sub) => Checkpoint::At(position.with_sub(sub)),
                    Err(_) => Checkpoint::Start(ReadFrom::At(position)),
                })
            }
        })
    }
}

/// Limits a sub-sequence number to the signed integers that KCL reads.
fn clamp(sub: u64) -> i64 {
    i64::try_from(sub).unwrap_or(i64::MAX)
}
