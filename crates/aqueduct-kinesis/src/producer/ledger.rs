use std::collections::HashSet;

use aqueduct_core::{Effect, Error, ErrorKind, Receipt, Result, SendReport};
use foldhash::fast::RandomState;

use super::draft::Draft;
use super::not_sent;

/// A key, told from the others by its hash: two keys that hash alike are kept in order like one.
/// 0 is no key.
pub(super) type KeyId = u64;

/// The outcomes of one call, and the keys whose later events must not be stored.
#[derive(Default)]
pub(super) struct Ledger {
    /// A receipt without a partition stands for an event that has no outcome yet.
    outcomes: Vec<Result<Receipt>>,
    failed: HashSet<KeyId, RandomState>,
}

impl Ledger {
    pub(super) fn new(events: usize) -> Self {
        Self {
            outcomes: (0..events).map(|_| Ok(Receipt::default())).collect(),
            failed: HashSet::default(),
        }
    }

    /// Whether an earlier event of `key` is not stored.
    #[inline]
    pub(super) fn is_blocked(&self, key: KeyId) -> bool {
        !self.failed.is_empty() && key != 0 && self.failed.contains(&key)
    }

    /// The events that could not be sent have blocked those behind them; those before them go.
    pub(super) fn drafted(&mut self) {
        self.failed.clear();
    }

    /// The event is stored, at that partition.
    #[inline]
    pub(super) fn stored(&mut self, event: usize, receipt: Receipt) {
        self.outcomes[event] = Ok(receipt);
    }

    /// The event was sent, or could not be, and `error` befell it.
    pub(super) fn failed(&mut self, event: usize, key: KeyId, error: Error) {
        if key != 0 {
            self.failed.insert(key);
        }
        self.outcomes[event] = Err(error);
    }

    /// The event is not sent: behind an earlier one of its key, or because of `error`.
    pub(super) fn left_out(&mut self, event: usize, key: KeyId, error: &Error) {
        let error = if self.is_blocked(key) {
            blocked()
        } else {
            not_sent(error)
        };
        self.failed(event, key, error);
    }

    /// Leaves a record out where an earlier event of one of its keys is not stored; answers
    /// whether it did. From then on its other keys are blocked as well.
    pub(super) fn leave_out_if_blocked(&mut self, draft: &Draft, item: u32, why: &Error) -> bool {
        if self.failed.is_empty() {
            return false;
        }
        let mut keys = draft
            .members(item)
            .iter()
            .map(|&at| draft.keys[at as usize]);
        let blocked = keys.any(|key| self.is_blocked(key));
        if blocked {
            self.leave_out(draft, item, why);
        }
        blocked
    }

    /// A record is not sent because of `why`.
    pub(super) fn leave_out(&mut self, draft: &Draft, item: u32, why: &Error) {
        for &at in draft.members(item) {
            self.left_out(at as usize, draft.keys[at as usize], why);
        }
    }

    pub(super) fn into_report(mut self) -> SendReport {
        for outcome in &mut self.outcomes {
            if matches!(outcome, Ok(receipt) if receipt.partition.is_none()) {
                *outcome = Err(unanswered());
            }
        }
        SendReport::new(self.outcomes)
    }
}

fn blocked() -> Error {
    Error::new(
        ErrorKind::Blocked,
        "blocked: an earlier event of the same key is not stored, so this one was not sent",
    )
}

fn unanswered() -> Error {
    let error = Error::new(ErrorKind::Internal, "the event was forgotten by its call");
    error.with_effect(Effect::Unknown)
}
