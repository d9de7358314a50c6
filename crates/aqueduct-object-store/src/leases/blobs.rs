//! The blobs of Microsoft's event processors: empty, with metadata.
//!
//! `ownership/PARTITION` has `ownerid`, empty after a release. Their claims replace all metadata, so
//! our entry [`FIELDS`] is there only if Aqueduct wrote last. `checkpoint/PARTITION` has `offset` and
//! `sequencenumber` of the last event handled.

use std::collections::BTreeMap;

use aqueduct_core::{
    Checkpoint, Error, ErrorKind, Lease, OwnerId, PartitionId, Position, Result, ResumeToken,
    SmallStr, Timestamp,
};

use super::fields::Row;
use crate::bucket::{Content, Object};
use crate::json::ascii;

/// The metadata entry with our fields.
const FIELDS: &str = "aqueduct";
const OWNER: &str = "ownerid";
const OFFSET: &str = "offset";
const SEQUENCE: &str = "sequencenumber";

/// An ownership blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// Written by Aqueduct.
    Ours(Box<Row>),
    /// Written by a processor; `None` after a release.
    Foreign(Option<OwnerId>),
}

/// How far a processor has come, as its checkpoint blob says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForeignCheckpoint {
    pub(super) checkpoint: Checkpoint,
    pub(super) resume_token: Option<ResumeToken>,
}

/// Returns an ownership blob's content.
pub(super) fn ownership(row: &Row) -> Result<Content> {
    let owner = row.lease.owner.as_ref().filter(|_| !row.deleted);
    // A name is ASCII in a header; our field has it in full.
    let owner = owner.map(|it| ascii(it.as_str())).unwrap_or_default();
    Ok(Content {
        metadata: vec![(OWNER, owner), (FIELDS, ascii(&row.to_json()?))],
        ..Content::default()
    })
}

/// # Errors
/// `Corrupt`, without the blob's name.
pub(super) fn read_ownership(metadata: &BTreeMap<String, String>) -> Result<Ownership> {
    let Some(owner) = metadata.get(OWNER) else {
        let names: Vec<_> = metadata.keys().map(String::as_str).collect();
        let why = format!(
            "it is not an ownership blob: metadata `{OWNER}` is missing (found: {})",
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        );
        return Err(Error::new(ErrorKind::Corrupt, why));
    };
    let Some(fields) = metadata.get(FIELDS) else {
        let owner = Some(owner).filter(|it| !it.is_empty());
        return Ok(Ownership::Foreign(owner.map(OwnerId::new)));
    };
    let row = Row::from_json(fields.as_bytes())?;
    let ours = row.lease.owner.as_ref().filter(|_| !row.deleted);
    if ours.map(|it| ascii(it.as_str())).unwrap_or_default() != *owner {
        let why = format!(
            "metadata `{OWNER}` is `{owner}`, and `{FIELDS}` names another owner: something else \
             edited it; delete the blob to go on from the checkpoint blob"
        );
        return Err(Error::new(ErrorKind::Corrupt, why));
    }
    Ok(Ownership::Ours(Box::new(row)))
}

/// Returns a checkpoint blob's content; `None` if processors cannot express the checkpoint.
pub(super) fn checkpoint(lease: &Lease) -> Option<Content> {
    let Checkpoint::At(position) = lease.checkpoint else {
        return None;
    };
    let mut metadata = vec![(SEQUENCE, position.sequence_text())];
    if let Some(token) = &lease.resume_token {
        metadata.push((OFFSET, ascii(token.as_str())));
    }
    Some(Content {
        metadata,
        ..Content::default()
    })
}

/// # Errors
/// `Corrupt`, without the blob's name.
pub(super) fn read_checkpoint(metadata: &BTreeMap<String, String>) -> Result<ForeignCheckpoint> {
    let present = |name| metadata.get(name).filter(|text| !text.is_empty());
    let resume_token = present(OFFSET).map(ResumeToken::new);
    let position = match present(SEQUENCE) {
        Some(text) => Position::from_sequence_text(text).map_err(|_| {
            let why = format!("metadata `{SEQUENCE}` is `{text}` (expected a number)");
            Error::new(ErrorKind::Corrupt, why)
        })?,
        // The reader resumes behind the offset, and no event there has a lower number.
        None if resume_token.is_some() => Position::MIN,
        None => {
            let why = format!(
                "it is not a checkpoint blob: metadata `{OFFSET}` and `{SEQUENCE}` are missing"
            );
            return Err(Error::new(ErrorKind::Corrupt, why));
        }
    };
    Ok(ForeignCheckpoint {
        checkpoint: Checkpoint::At(position),
        resume_token,
    })
}

/// Returns the lease of a blob that a processor wrote.
///
/// Processors have no generation. The time of the blob's last write serves: it rises, and is above
/// every generation that rose by one from a smaller one, so a handler's fence holds across both.
pub(super) fn foreign_lease(
    partition: PartitionId,
    owner: Option<OwnerId>,
    blob: &Object,
    from: ForeignCheckpoint,
    version: SmallStr,
) -> Lease {
    let mut lease = Lease::new(partition, from.checkpoint);
    lease.owner = owner;
    lease.generation = seconds(blob.modified);
    lease.counter = lease.generation;
    lease.resume_token = from.resume_token;
    lease.version = version;
    lease
}

fn seconds(time: Timestamp) -> u64 {
    u64::try_from(time.as_seconds()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        entries.iter().map(owned).collect()
    }

    #[test]
    fn checkpoints_of_every_processor_are_read() {
        let both = read_checkpoint(&metadata(&[(OFFSET, "3:77"), (SEQUENCE, "41")])).unwrap();
        assert_eq!(both.checkpoint, Checkpoint::At(Position::new(41)));
        assert_eq!(both.resume_token, Some(ResumeToken::new("3:77")));
        let number = read_checkpoint(&metadata(&[(OFFSET, ""), (SEQUENCE, "41")])).unwrap();
        assert_eq!(number.resume_token, None);
        let offset = read_checkpoint(&metadata(&[(OFFSET, "77")])).unwrap();
        assert_eq!(offset.checkpoint, Checkpoint::At(Position::MIN));
        for wrong in [&[][..], &[(SEQUENCE, "x")], &[(OFFSET, "")]] {
            let error = read_checkpoint(&metadata(wrong)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            assert!(error.to_string().contains(SEQUENCE), "{error}");
        }
    }

    #[test]
    fn a_blob_of_a_foreign_shape_is_refused_by_what_it_lacks() {
        let error = read_ownership(&metadata(&[("colour", "red")])).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`ownerid` is missing (found: colour)")
        );
        let error = read_ownership(&metadata(&[(OWNER, "a"), (FIELDS, "{}")])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let lease = Lease::new(PartitionId::new("0"), Checkpoint::End);
        let json = Row::new(lease, 0, 0).to_json().unwrap();
        let error = read_ownership(&metadata(&[(OWNER, "thief"), (FIELDS, &json)])).unwrap_err();
        assert!(error.to_string().contains("thief"), "{error}");
        let released = read_ownership(&metadata(&[(OWNER, "")])).unwrap();
        assert_eq!(released, Ownership::Foreign(None));
    }

    #[test]
    fn a_name_that_is_not_ascii_is_kept() {
        let mut lease = Lease::new(PartitionId::new("0"), Checkpoint::End);
        lease.owner = Some(OwnerId::new("me/äöü 1"));
        let row = Row::new(lease, 3, 4);
        let content = ownership(&row).unwrap();
        let read: BTreeMap<String, String> = content
            .metadata
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        assert!(read[OWNER].is_ascii());
        assert_eq!(
            read_ownership(&read).unwrap(),
            Ownership::Ours(Box::new(row))
        );
    }
}
