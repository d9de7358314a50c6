use std::num::NonZeroU64;

use aqueduct_core::Error;
use aqueduct_core::outcomes::SendOutcomes;

use super::records::Records;

/// Identifies a key by its hash: two keys with one hash are kept in order like one.
pub(super) type KeyId = NonZeroU64;

/// The outcomes of one call.
pub(super) type Outcomes = SendOutcomes<KeyId>;

/// Makes a key's id of its hash.
#[inline]
pub(super) fn key_id(hash: u64) -> KeyId {
    KeyId::MIN | hash
}

/// Skips a record if an earlier event of one of its keys is not stored; returns whether it did. From
/// then on its other keys are blocked too, since their events in this record are not stored.
pub(super) fn skip_if_blocked(
    outcomes: &mut Outcomes,
    records: &Records,
    record: u32,
    why: &Error,
) -> bool {
    if !outcomes.any_blocked() {
        return false;
    }
    let mut members = records.members(record).iter();
    let blocked = members.any(|&at| outcomes.is_blocked(records.keys[at as usize]));
    if blocked {
        skip(outcomes, records, record, why);
    }
    blocked
}

/// Skips a record because of `why`.
pub(super) fn skip(outcomes: &mut Outcomes, records: &Records, record: u32, why: &Error) {
    for &at in records.members(record) {
        outcomes.skip(at as usize, records.keys[at as usize], why);
    }
}
