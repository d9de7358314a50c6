//! Tracks the records of one owned partition between reader and ack floor: a state machine without
//! I/O, clock or randomness of its own.
//!
//! ```text
//! fetched ─> waiting ─take─> out ─ack──> settled ─> ack floor
//!              ^  ^           │
//!              │  └─superseded┤
//!              └──due── retry <┘ nack, abandon, defer
//! ```
//!
//! The caller's part:
//! - It asks [`Tracker::room`] before each read and gives what it read to [`Tracker::fetched`].
//!   Room opens again with `take`, `settle`, `abandon`: it looks after each where its reader waits.
//! - It calls [`Tracker::take`] when a receiver waits and something may be deliverable: after
//!   `fetched` and `committed`, at [`Tracker::next_due`], and if [`Settled::deliverable`] is set.
//! - After an unclean take-over it asks [`Tracker::mark_needed`] before `take`. If that is true, or
//!   [`Progress::urgent`] is set, it commits the progress at once.
//! - It commits [`Tracker::progress`] and reports that with [`Tracker::committed`].
//! - Giving the partition up, it calls [`Tracker::revoke_all`] first and writes the progress after:
//!   this removes the mark of a running attempt, so that a release counts against no event.

mod guard;
mod keys;
mod machine;
mod settle;
mod slots;
mod status;
mod take;
#[cfg(test)]
mod tests;
mod tokens;
mod trial;

use aqueduct_core::{Backoff, Checkpoint, Position, ResumeToken, StoredAttempts, Timestamp};

pub(crate) use self::machine::Tracker;

/// The limits of one partition, and when a failed event comes again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TrackerOptions {
    /// Events fetched and not settled, without those parked.
    pub(crate) max_unsettled: usize,
    /// Bytes of all events held, parked or not.
    pub(crate) max_unsettled_bytes: usize,
    /// Events parked behind failing keys.
    pub(crate) max_parked: usize,
    /// Events from the ack floor to the newest one fetched; the settled ones among them take four
    /// bytes each.
    pub(crate) max_span: usize,
    /// The wait before a nacked event without a delay of its own, or an abandoned one, comes again.
    pub(crate) redelivery: Backoff,
    /// Seeds the hash of the keys, so that no producer can choose keys that collide. The order of
    /// hand-out does not depend on it.
    pub(crate) hash_seed: u64,
}

/// The traces of the owner before, from the lease.
#[derive(Clone, Debug, Default)]
pub(crate) struct Takeover {
    /// The token of the record at the checkpoint.
    pub(crate) resume_token: Option<ResumeToken>,
    /// The attempts kept with the lease.
    pub(crate) attempts: Option<StoredAttempts>,
    /// Up to there events run on trial: in batches, then one at a time, each after a durable mark.
    pub(crate) isolated_until: Option<Position>,
    /// The lease was taken without a release: nothing is handed out that a commit has not
    /// announced as handed out, until the first events so announced are settled. Without it an
    /// event that kills the process faster than the commit interval would never be found.
    pub(crate) announce: bool,
}

/// The effects of a settlement beyond its event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Settled {
    /// Bytes that are no longer held.
    pub(crate) released: usize,
    /// Later members of the run are revoked: waiters for revocations look again.
    pub(crate) superseded: bool,
    /// Whether an event became deliverable now: a waiting receiver should take.
    pub(crate) deliverable: bool,
    /// Whether a retry was planned: `next_due` may be earlier than before.
    pub(crate) planned: bool,
}

/// The content of the next commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// All up to here is settled; `End` once the reader has ended and everything is settled.
    pub(crate) ack_floor: Checkpoint,
    /// The token of the record at the ack floor, if it has one (rule 17).
    pub(crate) resume_token: Option<ResumeToken>,
    /// The highest position handed out, or about to be.
    pub(crate) handed_out: Option<Position>,
    /// Attempts to store with the lease.
    pub(crate) attempts: Option<StoredAttempts>,
    /// Whether it differs from the last commit.
    pub(crate) dirty: bool,
    /// Do not wait for the commit interval: a hand-out waits for this commit, or it follows an
    /// attempt in isolation mode.
    pub(crate) urgent: bool,
    /// It is urgent for an announcement alone, which may wait: it delays events and risks none.
    pub(crate) announces: bool,
    /// Events settled since the last commit.
    pub(crate) settled: usize,
    /// The time until which everything stored is settled, if the partition was at its end since.
    pub(crate) caught_up_at: Option<Timestamp>,
}
