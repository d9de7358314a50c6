//! The fields of a lease as one JSON object, the same in both layouts.

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, HashRange, Lease, OwnerId, PartitionId, Position, Result,
    ResumeToken, StoredAttempts,
};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;

/// A lease with what the store adds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) lease: Lease,
    /// The replay generation of the group in which it was written.
    pub(super) replay: u64,
    /// Set instead of deleting the object: no store deletes on a condition.
    pub(super) deleted: bool,
    /// Drawn for each write. A writer whose condition failed finds its own earlier write by it.
    pub(super) stamp: u64,
}

/// The JSON object: its parts are one level in it.
#[derive(Deserialize, Serialize)]
struct Wire {
    v: u32,
    partition: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
    #[serde(flatten)]
    ownership: Ownership,
    #[serde(flatten)]
    progress: Progress,
    #[serde(flatten)]
    lineage: Lineage,
    replay: u64,
    stamp: u64,
}

/// Who reads the partition.
#[derive(Deserialize, Serialize)]
struct Ownership {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
    generation: u64,
    counter: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wanted_by: Option<String>,
    nonce: u64,
}

/// How far the partition is settled.
#[derive(Deserialize, Serialize)]
struct Progress {
    checkpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resume_token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caught_up_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handed_out: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    attempts: Option<Attempts>,
    #[serde(default, skip_serializing_if = "is_zero")]
    unclean: u32,
}

/// Where the partition comes from, and what became of it.
#[derive(Deserialize, Serialize)]
struct Lineage {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    parents: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    children: Vec<String>,
    /// First and last hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    range: Option<(String, String)>,
}

#[derive(Deserialize, Serialize)]
struct Attempts {
    position: String,
    count: u32,
    started: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Row {
    pub(super) fn new(lease: Lease, replay: u64, stamp: u64) -> Self {
        Self {
            lease,
            replay,
            deleted: false,
            stamp,
        }
    }

    pub(super) fn to_json(&self) -> Result<String> {
        let lease = &self.lease;
        let wire = Wire {
            v: VERSION,
            partition: lease.partition.as_str().to_owned(),
            deleted: self.deleted,
            ownership: Ownership::of(lease),
            progress: Progress::of(lease),
            lineage: Lineage::of(lease),
            replay: self.replay,
            stamp: self.stamp,
        };
        serde_json::to_string(&wire).map_err(|error| {
            let message = format!("lease of partition {} does not encode", lease.partition);
            Error::new(ErrorKind::Internal, message).with_source(error)
        })
    }

    /// # Errors
    /// `Corrupt`, without the name of the object.
    pub(super) fn from_json(json: &[u8]) -> Result<Self> {
        let wire: Wire = serde_json::from_slice(json).map_err(|error| {
            let why = "it is not a lease of Aqueduct (expected a JSON object with `v`)";
            Error::new(ErrorKind::Corrupt, why).with_source(error)
        })?;
        if wire.v != VERSION {
            let why = format!(
                "it has version {} of the format, and this program reads version {VERSION}",
                wire.v
            );
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
        let mut lease = wire.progress.lease(PartitionId::new(wire.partition))?;
        wire.ownership.add_to(&mut lease);
        wire.lineage.add_to(&mut lease)?;
        Ok(Self {
            lease,
            replay: wire.replay,
            deleted: wire.deleted,
            stamp: wire.stamp,
        })
    }
}

impl Ownership {
    fn of(lease: &Lease) -> Self {
        let name = |owner: &Option<OwnerId>| owner.as_ref().map(|it| it.as_str().to_owned());
        Self {
            owner: name(&lease.owner),
            generation: lease.generation,
            counter: lease.counter,
            wanted_by: name(&lease.wanted_by),
            nonce: lease.nonce,
        }
    }

    fn add_to(self, lease: &mut Lease) {
        lease.owner = self.owner.map(OwnerId::new);
        lease.generation = self.generation;
        lease.counter = self.counter;
        lease.wanted_by = self.wanted_by.map(OwnerId::new);
        lease.nonce = self.nonce;
    }
}

impl Progress {
    fn of(lease: &Lease) -> Self {
        Self {
            checkpoint: lease.checkpoint.to_string(),
            resume_token: lease.resume_token.as_ref().map(|it| it.as_str().to_owned()),
            caught_up_at: lease.caught_up_at.map(|it| it.to_string()),
            handed_out: lease.handed_out.map(|it| it.to_string()),
            attempts: lease.attempts.map(|it| Attempts {
                position: it.position.to_string(),
                count: it.count,
                started: it.started,
            }),
            unclean: lease.unclean,
        }
    }

    /// Returns the lease of the partition, without an owner.
    fn lease(self, partition: PartitionId) -> Result<Lease> {
        let checkpoint: Checkpoint = parsed("checkpoint", &self.checkpoint)?;
        let mut lease = Lease::new(partition, checkpoint);
        lease.resume_token = self.resume_token.map(ResumeToken::new);
        lease.caught_up_at = optional("caught_up_at", self.caught_up_at.as_deref())?;
        lease.handed_out = optional("handed_out", self.handed_out.as_deref())?;
        lease.attempts = match self.attempts {
            None => None,
            Some(it) => Some(StoredAttempts {
                position: parsed::<Position>("attempts", &it.position)?,
                count: it.count,
                started: it.started,
            }),
        };
        lease.unclean = self.unclean;
        Ok(lease)
    }
}

impl Lineage {
    fn of(lease: &Lease) -> Self {
        let names = |all: &[PartitionId]| all.iter().map(|it| it.as_str().to_owned()).collect();
        Self {
            parents: names(&lease.parents),
            children: names(&lease.children),
            range: lease
                .range
                .map(|it| (it.first.to_string(), it.last.to_string())),
        }
    }

    fn add_to(self, lease: &mut Lease) -> Result<()> {
        let names = |all: Vec<String>| all.into_iter().map(PartitionId::new).collect();
        lease.parents = names(self.parents);
        lease.children = names(self.children);
        lease.range = match self.range {
            None => None,
            Some((first, last)) => Some(HashRange {
                first: parsed("range", &first)?,
                last: parsed("range", &last)?,
            }),
        };
        Ok(())
    }
}

fn optional<T: std::str::FromStr>(field: &str, text: Option<&str>) -> Result<Option<T>> {
    text.map(|text| parsed(field, text)).transpose()
}

fn parsed<T: std::str::FromStr>(field: &str, text: &str) -> Result<T> {
    text.parse().map_err(|_| {
        Error::new(
            ErrorKind::Corrupt,
            format!("its field `{field}` has the invalid value `{text}`"),
        )
    })
}

#[cfg(test)]
mod tests {
    use aqueduct_core::ReadFrom;
    use proptest::prelude::*;

    use super::*;
    use crate::json::ascii;

    fn any_position() -> impl Strategy<Value = Position> {
        (any::<[u8; 32]>()).prop_map(Position::from_bytes)
    }

    fn any_checkpoint() -> impl Strategy<Value = Checkpoint> {
        prop_oneof![
            Just(Checkpoint::Start(ReadFrom::Earliest)),
            Just(Checkpoint::End),
            any_position().prop_map(Checkpoint::At),
            any_position().prop_map(|at| Checkpoint::Start(ReadFrom::At(at))),
            any_position().prop_map(|at| Checkpoint::Start(ReadFrom::After(at))),
        ]
    }

    fn any_lease() -> impl Strategy<Value = Lease> {
        let texts = (
            proptest::option::of(".{0,20}"),
            proptest::option::of(".{0,20}"),
            proptest::option::of(".{0,20}"),
            proptest::collection::vec(".{0,9}", 0..3),
        );
        let numbers = any::<(u64, u64, u64, u32, Option<(u128, u128)>)>();
        let attempts = proptest::option::of((any_position(), any::<u32>(), any::<bool>()));
        (any_checkpoint(), texts, numbers, attempts).prop_map(
            |(checkpoint, texts, numbers, attempts)| {
                let mut lease = Lease::new(PartitionId::new("0"), checkpoint);
                let (owner, wanted_by, token, parents) = texts;
                let (generation, counter, nonce, unclean, range) = numbers;
                lease.owner = owner.map(OwnerId::new);
                lease.wanted_by = wanted_by.map(OwnerId::new);
                lease.resume_token = token.map(ResumeToken::new);
                lease.parents = parents.into_iter().map(PartitionId::new).collect();
                lease.generation = generation;
                lease.counter = counter;
                lease.nonce = nonce;
                lease.unclean = unclean;
                lease.range = range.map(|(first, last)| HashRange { first, last });
                lease.attempts = attempts.map(|(position, count, started)| StoredAttempts {
                    position,
                    count,
                    started,
                });
                lease.handed_out = attempts.map(|(position, ..)| position);
                lease
            },
        )
    }

    proptest! {
        #[test]
        fn every_field_survives_as_a_header(lease in any_lease(), replay: u64, deleted: bool) {
            let row = Row { deleted, ..Row::new(lease, replay, 7) };
            let header = ascii(&row.to_json().unwrap());
            prop_assert!(header.is_ascii());
            prop_assert_eq!(Row::from_json(header.as_bytes()).unwrap(), row);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Err(error) = Row::from_json(&bytes) {
                prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
            }
        }
    }

    #[test]
    fn a_later_version_is_refused_by_name() {
        let lease = Lease::new(PartitionId::new("0"), Checkpoint::End);
        let json = Row::new(lease, 0, 0).to_json().unwrap();
        let later = json.replace("\"v\":1", "\"v\":2");
        let error = Row::from_json(later.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("version 2"), "{error}");
    }
}
