//! The rows of idempotency records. A row that is there counts, whatever its `expires` says.

use aqueduct_core::{Claimed, EventClaim, IdempotencyScope, Result, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::backend::STATE_KEY;
use crate::expression::Expression;
use crate::item::{Row, number, text};
use crate::leases::escape;

/// When it was completed, in milliseconds; a claim has none.
pub(super) const COMPLETED: &str = "completed";
/// When DynamoDB may remove the row, in seconds.
pub(super) const EXPIRES: &str = "expires";
/// The stream of the partition; rows from before it was stored have none.
const STREAM: &str = "stream";
const PARTITION: &str = "partition";
const GENERATION: &str = "generation";
const NONCE: &str = "nonce";
const HEARTBEAT: &str = "heartbeat";

/// DynamoDB takes keys up to this many bytes.
const LONGEST_KEY: usize = 2048;

/// The key of an event's row. Where its parts are too long, their digest stands for them.
pub(super) fn key(scope: &IdempotencyScope, claim: &EventClaim) -> String {
    let scope = format!(
        "event/{}/{}/{}",
        escape(scope.group.as_str()),
        escape(&scope.handlers),
        scope.replay
    );
    let event = claim
        .id
        .with_str(|id| format!("{}/{}", escape(&claim.source), escape(id)));
    let key = format!("{scope}/{event}");
    if key.len() <= LONGEST_KEY {
        return key;
    }
    let digest = Sha256::digest(key.as_bytes());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("digest/{digest}")
}

/// Claims what is free, one's own, or an older generation's of the same partition.
pub(super) fn claim(claim: &EventClaim, expiry: Option<i64>) -> Expression {
    let mut write = Expression::default();
    let free = free_or_ours(&mut write, claim);
    write.expect(free);
    holder(&mut write, claim);
    write.increment(HEARTBEAT);
    set_expiry(&mut write, expiry);
    write
}

/// Completes what [`claim`] would get.
pub(super) fn complete(claim: &EventClaim, now: Timestamp, expiry: Option<i64>) -> Expression {
    let mut write = Expression::default();
    let free = free_or_ours(&mut write, claim);
    write.expect(free);
    holder(&mut write, claim);
    write.set(COMPLETED, number(now.as_millis()));
    set_expiry(&mut write, expiry);
    write
}

pub(super) fn heartbeat(claim: &EventClaim, expiry: Option<i64>) -> Expression {
    let mut write = ours(claim);
    write.increment(HEARTBEAT);
    set_expiry(&mut write, expiry);
    write
}

pub(super) fn release(claim: &EventClaim) -> Expression {
    ours(claim)
}

pub(super) fn completed_before(before: i64) -> Expression {
    let mut condition = Expression::default();
    let (completed, before) = (condition.name(COMPLETED), condition.value(number(before)));
    condition.expect(format!("{completed} < {before}"));
    condition
}

/// What a row says to the claim that it was just given to: each one raises the heartbeat, and the
/// first of a row raises it to 1.
pub(super) fn claimed(row: Row<'_>) -> Result<Claimed> {
    match row.need_number::<u64>(HEARTBEAT)? {
        1 => Ok(Claimed::New),
        _ => Ok(Claimed::Again),
    }
}

/// What a row says to a claim that it does not yield to.
pub(super) fn held(row: Row<'_>) -> Result<Claimed> {
    if row.has(COMPLETED) {
        return Ok(Claimed::Completed);
    }
    Ok(Claimed::Held {
        nonce: row.need_number(NONCE)?,
        heartbeat: row.number(HEARTBEAT)?.unwrap_or(0),
    })
}

/// A claim that stands under this nonce.
fn ours(claim: &EventClaim) -> Expression {
    let mut write = Expression::default();
    let running = write.missing(COMPLETED);
    let same = write.equals(NONCE, number(claim.nonce));
    write.expect(running);
    write.expect(same);
    write
}

fn free_or_ours(write: &mut Expression, claim: &EventClaim) -> String {
    let missing = write.missing(STATE_KEY);
    let running = write.missing(COMPLETED);
    let generation = write.name(GENERATION);
    let this = write.value(number(claim.generation));
    let nonce = write.equals(NONCE, number(claim.nonce));
    // DynamoDB refuses parentheses that are not needed.
    let ours = format!("{running} AND {nonce} AND {generation} <= {this}");
    match &claim.partition {
        None => format!("{missing} OR ({ours})"),
        Some(partition) => {
            let mut same = write.equals(PARTITION, text(partition.as_str()));
            if let Some(stream) = &claim.stream {
                let unsaid = write.missing(STREAM);
                let stream = write.equals(STREAM, text(stream.as_str()));
                same = format!("{same} AND ({unsaid} OR {stream})");
            }
            let older = format!("{running} AND {same} AND {generation} < {this}");
            format!("{missing} OR ({ours}) OR ({older})")
        }
    }
}

fn holder(write: &mut Expression, claim: &EventClaim) {
    let partition = claim.partition.as_ref().map(|it| text(it.as_str()));
    write.set_or_remove(PARTITION, partition);
    let stream = claim.stream.as_ref().map(|it| text(it.as_str()));
    write.set_or_remove(STREAM, stream);
    write.set(GENERATION, number(claim.generation));
    write.set(NONCE, number(claim.nonce));
}

fn set_expiry(write: &mut Expression, expiry: Option<i64>) {
    if let Some(expiry) = expiry {
        write.set(EXPIRES, number(expiry));
    }
}
