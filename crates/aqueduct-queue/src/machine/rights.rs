use std::collections::BTreeMap;

use aqueduct_core::Revocation;

use super::numbered::Numbered;

/// The deliveries that are out: which may be settled, and why the others may not.
#[derive(Debug, Default)]
pub(super) struct Rights {
    /// The message of each ticket that may be settled.
    valid: Numbered<u64>,
    /// The reason of each ticket that was revoked and is not dropped yet.
    revoked: BTreeMap<u64, Revocation>,
    changed: bool,
}

impl Rights {
    pub(super) fn grant(&mut self, ticket: u64, message: u64) {
        self.valid.insert(ticket, message);
    }

    /// Ends the right of a delivery that was settled.
    pub(super) fn end(&mut self, ticket: u64) {
        self.valid.remove(&ticket);
    }

    /// Revokes the right of a delivery that its receiver still has.
    pub(super) fn revoke(&mut self, ticket: u64, why: Revocation) {
        if self.valid.remove(&ticket).is_some() {
            self.revoked.insert(ticket, why);
            self.changed = true;
        }
    }

    /// Returns the message that `ticket` may settle.
    pub(super) fn message(&self, ticket: u64) -> Option<u64> {
        self.valid.get(&ticket).copied()
    }

    pub(super) fn reason(&self, ticket: u64) -> Option<Revocation> {
        self.revoked.get(&ticket).copied()
    }

    /// Forgets a delivery that was dropped; returns whether it had been revoked.
    pub(super) fn forget(&mut self, ticket: u64) -> bool {
        self.revoked.remove(&ticket).is_some()
    }

    pub(super) fn are_out(&self) -> bool {
        !self.valid.is_empty()
    }

    /// Returns whether rights were revoked since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_right_is_known_until_its_delivery_is_dropped() {
        let mut rights = Rights::default();
        rights.grant(1, 7);
        assert_eq!((rights.message(1), rights.reason(1)), (Some(7), None));
        rights.revoke(1, Revocation::Superseded);
        rights.revoke(2, Revocation::Expired);
        assert!(rights.take_changed() && !rights.take_changed());
        assert_eq!(rights.reason(1), Some(Revocation::Superseded));
        assert_eq!(rights.reason(2), None, "it was never granted");
        assert!(rights.forget(1) && !rights.forget(1) && !rights.are_out());
    }
}
