//! The object of one event: who claims it, or that it was handled.

use aqueduct_core::claim_rules::ClaimRecord;
use aqueduct_core::{
    Error, ErrorKind, EventClaim, IdempotencyScope, PartitionId, Result, StreamName, Timestamp,
};
use serde::{Deserialize, Serialize};

use crate::names::segment;

const VERSION: u32 = 1;

/// The folder of every record.
pub(super) const FOLDER: &str = "idempotency";

/// A record with what the store adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) record: ClaimRecord,
    /// Set instead of deleting the object: no store deletes on a condition.
    pub(super) released: bool,
    /// When it was written.
    pub(super) at: Timestamp,
    /// Drawn for each write. A writer whose condition failed finds its own earlier write by it.
    pub(super) stamp: u64,
}

#[derive(Deserialize, Serialize)]
struct Wire {
    v: u32,
    state: State,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition: Option<String>,
    generation: u64,
    nonce: u64,
    heartbeat: u64,
    at: String,
    stamp: u64,
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Claimed,
    Completed,
    Released,
}

/// Returns the name of an event's record.
pub(super) fn name(scope: &IdempotencyScope, claim: &EventClaim) -> String {
    let id = claim.id.with_str(segment);
    format!(
        "{FOLDER}/{}/{}/{}/{}/{id}",
        segment(scope.group.as_str()),
        segment(&scope.handlers),
        scope.replay,
        segment(&claim.source),
    )
}

impl Stored {
    /// Returns the record that rules decide on; `None` if the claim was given up.
    pub(super) fn claim(&self) -> Option<&ClaimRecord> {
        (!self.released).then_some(&self.record)
    }

    pub(super) fn to_json(&self) -> Result<Vec<u8>> {
        let record = &self.record;
        let state = match (self.released, record.completed) {
            (true, _) => State::Released,
            (false, true) => State::Completed,
            (false, false) => State::Claimed,
        };
        let wire = Wire {
            v: VERSION,
            state,
            stream: record.stream.as_ref().map(|it| it.as_str().to_owned()),
            partition: record.partition.as_ref().map(|it| it.as_str().to_owned()),
            generation: record.generation,
            nonce: record.nonce,
            heartbeat: record.heartbeat,
            at: self.at.to_string(),
            stamp: self.stamp,
        };
        serde_json::to_vec(&wire).map_err(|error| {
            Error::new(ErrorKind::Internal, "an idempotency record does not encode")
                .with_source(error)
        })
    }

    /// # Errors
    /// `Corrupt`, without the name of the object.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        let wire: Wire = serde_json::from_slice(json).map_err(|error| {
            Error::new(ErrorKind::Corrupt, "it is not an idempotency record").with_source(error)
        })?;
        if wire.v != VERSION {
            let why = format!(
                "it has version {} of the format, and this program reads version {VERSION}",
                wire.v
            );
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        let at = wire.at.parse().map_err(|_| {
            let why = format!("its field `at` has the invalid value `{}`", wire.at);
            Error::new(ErrorKind::Corrupt, why)
        })?;
        Ok(Self {
            record: ClaimRecord {
                completed: wire.state == State::Completed,
                stream: wire.stream.map(StreamName::new),
                partition: wire.partition.map(PartitionId::new),
                generation: wire.generation,
                nonce: wire.nonce,
                heartbeat: wire.heartbeat,
            },
            released: wire.state == State::Released,
            at,
            stamp: wire.stamp,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_field_survives(
            names in proptest::option::of((".{0,9}", ".{0,9}")),
            numbers: [u64; 4],
            state in 0..3,
        ) {
            let stored = Stored {
                record: ClaimRecord {
                    completed: state == 1,
                    stream: names.as_ref().map(|(stream, _)| StreamName::new(stream.as_str())),
                    partition: names.as_ref().map(|(_, it)| PartitionId::new(it.as_str())),
                    generation: numbers[0],
                    nonce: numbers[1],
                    heartbeat: numbers[2],
                },
                released: state == 2,
                at: Timestamp::from_millis(1_770_000_000_123),
                stamp: numbers[3],
            };
            let json = stored.to_json().unwrap();
            prop_assert_eq!(Stored::from_json(&json).unwrap(), stored);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            if let Err(error) = Stored::from_json(&bytes) {
                prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }
}
