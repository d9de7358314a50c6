use aqueduct_core::{
    Checkpoint, GroupKey, HashRange, Lease, OwnerId, PartitionId, Position, ReadFrom, Result,
    ResumeToken, StoredAttempts, Timestamp, lease_rows,
};

use crate::expression::Expression;
use crate::item::{Row, names, number, text};

use super::columns as col;
use super::kcl_checkpoint::{KclCheckpoint, Meaning};
use super::layout::Place;

/// A lease as read from a row.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// The lease; its checkpoint is valid only if `meaning` is a place.
    pub(crate) lease: Lease,
    pub(crate) meaning: Meaning,
    /// Whether the last writer was not Aqueduct.
    pub(crate) foreign: bool,
    /// Whether KCL prepared a checkpoint and did not complete it.
    pub(crate) pending: bool,
}

impl Stored {
    /// Reads a row of `partition`.
    pub(crate) fn read(row: Row<'_>, partition: PartitionId) -> Result<Self> {
        let kcl_checkpoint = KclCheckpoint::read(row)?;
        let Some(mut meaning) = kcl_checkpoint.meaning() else {
            return Err(row.damaged(col::CHECKPOINT, "neither a sentinel nor a sequence number"));
        };
        let mut is_exact = false;
        let counter = row.need_number(col::COUNTER)?;
        let foreign = row.number(col::OUR_COUNTER)? != Some(counter);
        // KCL's start wins if KCL wrote since our last write.
        let theirs =
            foreign && ["TRIM_HORIZON", "AT_TIMESTAMP"].contains(&&*kcl_checkpoint.sequence);
        if let Some(exact) = row.parsed::<Checkpoint>(col::WATERMARK)?
            && !theirs
            && kcl_checkpoint.says(exact)
        {
            meaning = Meaning::Place(exact);
            is_exact = true;
        }
        let checkpoint = match meaning {
            Meaning::Place(checkpoint) => checkpoint,
            Meaning::Latest | Meaning::AtTimestamp => Checkpoint::Start(ReadFrom::Earliest),
        };
        let mut lease = Lease::new(partition, checkpoint);
        lease.owner = match row.text(col::CHECKPOINT_OWNER)? {
            Some(until_done) => Some(OwnerId::new(until_done)),
            None => row.text(col::OWNER)?.map(OwnerId::new),
        };
        lease.counter = counter;
        lease.generation = row.number(col::GENERATION)?.unwrap_or(KCL_GENERATION);
        lease.parents = partitions(row.names(col::PARENTS)?);
        lease.children = partitions(row.names(col::CHILDREN)?);
        lease.range = range(row)?;
        if !foreign {
            lease.nonce = row.number(col::NONCE)?.unwrap_or(0);
            lease.wanted_by = row.text(col::WANTED_BY)?.map(OwnerId::new);
            lease.handed_out = row.parsed(col::HANDED_OUT)?;
            lease.attempts = attempts(row)?;
            lease.unclean = row.number(col::UNCLEAN)?.unwrap_or(0);
        }
        // Valid only for the checkpoint that Aqueduct wrote: KCL may have moved it since.
        if !foreign && is_exact {
            lease.resume_token = row.text(col::RESUME_TOKEN)?.map(ResumeToken::new);
            lease.caught_up_at = row.parsed(col::CAUGHT_UP_AT)?;
        }
        Ok(Self {
            lease,
            meaning,
            foreign,
            pending: row.has(col::PENDING[0]),
        })
    }
}

/// Returns the write that creates a lease.
pub(crate) fn creation(
    place: &Place,
    lease: &Lease,
    replay: u64,
    at_timestamp: Option<Timestamp>,
) -> Expression {
    let mut write = Expression::default();
    let missing = write.missing(col::LEASE_KEY);
    write.expect(missing);
    fields(&mut write, &place.key, lease, at_timestamp);
    write.set(col::REPLAY, number(replay));
    write.set(col::SWITCHES, number(0));
    write.set(col::ENTITY_TYPE, text(col::ENTITY_LEASE));
    if let Some(id) = &place.stream_id {
        write.set(col::STREAM_NAME, text(id.as_str()));
        write.set(col::SHARD_ID, text(lease.partition.as_str()));
    }
    for (attribute, value) in [
        (
            col::WANTED_BY,
            lease.wanted_by.as_ref().map(OwnerId::as_str),
        ),
        (col::OWNER, lease.owner.as_ref().map(OwnerId::as_str)),
    ] {
        if let Some(value) = value {
            write.set(attribute, text(value));
        }
    }
    for (attribute, value) in [
        (col::PARENTS, &lease.parents),
        (col::CHILDREN, &lease.children),
    ] {
        if let Some(value) = names(value.iter().map(PartitionId::as_str)) {
            write.set(attribute, value);
        }
    }
    write
}

/// Returns the write that replaces `current` with `next`, and keeps foreign attributes of the row.
pub(crate) fn replacement(
    place: &Place,
    current: &Lease,
    next: &Lease,
    at_timestamp: Option<Timestamp>,
) -> Expression {
    let mut write = Expression::default();
    expect_same(&mut write, current);
    fields(&mut write, &place.key, next, at_timestamp);
    write.set_or_remove(col::OWNER, next.owner.as_ref().map(|it| text(it.as_str())));
    // Remove the remains of a KCL hand-off or of a checkpoint that was never completed.
    write.remove(col::CHECKPOINT_OWNER);
    for pending in col::PENDING {
        write.remove(pending);
    }
    let changes_hands =
        next.owner.is_some() && current.owner.is_some() && next.owner != current.owner;
    match (next.checkpoint != current.checkpoint, changes_hands) {
        (true, switched) => write.set(col::SWITCHES, number(u8::from(switched))),
        (false, true) => write.increment(col::SWITCHES),
        (false, false) => write.set_if_missing(col::SWITCHES, number(0)),
    }
    // A transfer to a requester that has withdrawn must fail: no member would renew the lease.
    if let Some(asker) = lease_rows::rules::asker(current, next) {
        let asks = write.equals(col::WANTED_BY, text(asker.as_str()));
        write.expect(asks);
    }
    let wanted = |lease: &Lease| lease.wanted_by.as_ref().map(|it| text(it.as_str()));
    if next.owner != current.owner {
        write.set_or_remove(col::WANTED_BY, wanted(next));
    } else if next.wanted_by != current.wanted_by {
        match wanted(next) {
            Some(by) if current.wanted_by.is_none() => write.set_if_missing(col::WANTED_BY, by),
            other => write.set_or_remove(col::WANTED_BY, other),
        }
    }
    for (attribute, before, after) in [
        (col::PARENTS, &current.parents, &next.parents),
        (col::CHILDREN, &current.children, &next.children),
    ] {
        if before != after {
            write.set_or_remove(attribute, names(after.iter().map(PartitionId::as_str)));
        }
    }
    write
}

/// Expects owner, generation and counter of the row to be those of `lease`.
pub(crate) fn expect_same(write: &mut Expression, lease: &Lease) {
    let counter = write.equals(col::COUNTER, number(lease.counter));
    write.expect(counter);
    expect_generation(write, lease.generation);
    // A row as KCL wrote it is told by its counter alone.
    if lease.nonce != 0 {
        let nonce = write.equals(col::NONCE, number(lease.nonce));
        write.expect(nonce);
    }
    let nobody_hands_off = write.missing(col::CHECKPOINT_OWNER);
    match &lease.owner {
        None => {
            let nobody = write.missing(col::OWNER);
            write.expect(format!("{nobody} AND {nobody_hands_off}"));
        }
        Some(owner) => {
            let owns = write.equals(col::OWNER, text(owner.as_str()));
            let hands_off = write.equals(col::CHECKPOINT_OWNER, text(owner.as_str()));
            write.expect(format!("({owns} AND {nobody_hands_off}) OR {hands_off}"));
        }
    }
}

/// The generation of a row that only KCL wrote. It counts as begun, so that parents whose rows KCL
/// deleted are not read again.
const KCL_GENERATION: u64 = 1;

pub(crate) fn expect_generation(write: &mut Expression, generation: u64) {
    let same = write.equals(col::GENERATION, number(generation));
    match generation {
        KCL_GENERATION => {
            let none = write.missing(col::GENERATION);
            write.expect(format!("{none} OR {same}"));
        }
        _ => write.expect(same),
    }
}

/// Sets the attributes that every write of Aqueduct sets.
fn fields(write: &mut Expression, key: &GroupKey, lease: &Lease, at: Option<Timestamp>) {
    let kcl_checkpoint = KclCheckpoint::of(lease.checkpoint, at);
    write.set(col::COUNTER, number(lease.counter));
    write.set(col::CHECKPOINT, text(kcl_checkpoint.sequence));
    write.set(col::SUB_SEQUENCE, number(kcl_checkpoint.sub));
    write.set(col::GROUP, text(key.group.as_str()));
    write.set(col::STREAM, text(key.stream.as_str()));
    write.set(col::GENERATION, number(lease.generation));
    write.set(col::OUR_COUNTER, number(lease.counter));
    write.set(col::NONCE, number(lease.nonce));
    write.set(col::WATERMARK, text(lease.checkpoint.to_string()));
    write.set(col::UNCLEAN, number(lease.unclean));
    let handed_out = lease.handed_out.map(|it| text(it.to_string()));
    write.set_or_remove(col::HANDED_OUT, handed_out);
    write.set_or_remove(col::ATTEMPTS, lease.attempts.map(write_attempts));
    let token = lease.resume_token.as_ref().map(|it| text(it.as_str()));
    write.set_or_remove(col::RESUME_TOKEN, token);
    let caught_up_at = lease.caught_up_at.map(|it| text(it.to_string()));
    write.set_or_remove(col::CAUGHT_UP_AT, caught_up_at);
    if let Some(range) = lease.range {
        write.set(col::FIRST_HASH, text(range.first.to_string()));
        write.set(col::LAST_HASH, text(range.last.to_string()));
    }
}

fn write_attempts(attempts: StoredAttempts) -> aws_sdk_dynamodb::types::AttributeValue {
    let state = if attempts.started {
        "started"
    } else {
        "failed"
    };
    text(format!("{} {} {state}", attempts.position, attempts.count))
}

fn attempts(row: Row<'_>) -> Result<Option<StoredAttempts>> {
    let Some(stored) = row.text(col::ATTEMPTS)? else {
        return Ok(None);
    };
    let parse = || {
        let mut parts = stored.split(' ');
        let position: Position = parts.next()?.parse().ok()?;
        let count = parts.next()?.parse().ok()?;
        let started = match (parts.next()?, parts.next()) {
            ("started", None) => true,
            ("failed", None) => false,
            _ => return None,
        };
        Some(StoredAttempts {
            position,
            count,
            started,
        })
    };
    match parse() {
        Some(attempts) => Ok(Some(attempts)),
        None => Err(row.damaged(col::ATTEMPTS, "not `POSITION COUNT started|failed`")),
    }
}

fn range(row: Row<'_>) -> Result<Option<HashRange>> {
    let hash = |name| {
        let Some(digits) = row.text(name)? else {
            return Ok(None);
        };
        match digits.parse::<u128>() {
            Ok(hash) => Ok(Some(hash)),
            Err(_) => Err(row.damaged(name, "not a hash key")),
        }
    };
    let (first, last) = (hash(col::FIRST_HASH)?, hash(col::LAST_HASH)?);
    Ok(first
        .zip(last)
        .map(|(first, last)| HashRange { first, last }))
}

fn partitions(names: Vec<&str>) -> Vec<PartitionId> {
    names.into_iter().map(PartitionId::new).collect()
}
