//! The rows of idempotency records. A row counts until DynamoDB removes it, even after `expires`.

use aqueduct_core::{Claimed, EventClaim, IdempotencyScope, Result, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::backend::STATE_KEY;
use crate::expression::Expression;
use crate::item::{Row, number, text};
use crate::leases::escape;

/// When it was completed, in milliseconds; missing on a claim.
pub(super) const COMPLETED: &str = "completed";
/// When DynamoDB may remove the row, in seconds.
pub(super) const EXPIRES: &str = "expires";
/// The stream of the partition; missing on older rows.
const STREAM: &str = "stream";
const PARTITION: &str = "partition";
const GENERATION: &str = "generation";
const NONCE: &str = "nonce";
const HEARTBEAT: &str = "heartbeat";

/// DynamoDB's limit for the size of a key, in bytes.
const LONGEST_KEY: usize = 2048;

/// Returns the key of an event's row. If its parts are too long, it contains their digest instead.
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

/// Claims an event that is free, claimed by the caller, or claimed by an older generation of the
/// same partition.
pub(super) fn claim(claim: &EventClaim, expiry: Option<i64>) -> Expression {
    let mut write = Expression::default();
    let free = free_or_ours(&mut write, claim);
    write.expect(free);
    holder(&mut write, claim);
    write.increment(HEARTBEAT);
    set_expiry(&mut write, expiry);
    write
}

/// Completes an event under the same conditions as [`claim`].
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

/// Returns the outcome of a successful claim. Each claim increments the heartbeat, and the first one
/// sets it to 1.
pub(super) fn claimed(row: Row<'_>) -> Result<Claimed> {
    match row.need_number::<u64>(HEARTBEAT)? {
        1 => Ok(Claimed::New),
        _ => Ok(Claimed::Again),
    }
}

/// Returns the outcome of a refused claim.
pub(super) fn held(row: Row<'_>) -> Result<Claimed> {
    if row.has(COMPLETED) {
        return Ok(Claimed::Completed);
    }
    Ok(Claimed::Held {
        nonce: row.need_number(NONCE)?,
        heartbeat: row.number(HEARTBEAT)?.unwrap_or(0),
    })
}

/// Expects a claim with this nonce.
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
    // DynamoDB refuses redundant parentheses.
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
