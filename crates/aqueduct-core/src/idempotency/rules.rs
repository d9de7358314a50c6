//! Decides idempotency claims, once for every store. Pure: each function takes the stored record and
//! says what to store.
//!
//! A store that evaluates conditions on its side writes the same rules as conditions; the
//! conformance suite compares.

use super::{Claimed, EventClaim};
use crate::{Effect, Error, ErrorKind, PartitionId, Result, Retry, StreamName};

/// A stored record of one event in one scope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRecord {
    /// Whether the event was handled. The fields below describe who completed it then.
    pub completed: bool,
    /// The stream of `partition`; `None` on queues and in records from before it was stored.
    pub stream: Option<StreamName>,
    /// The partition that the holder owns.
    pub partition: Option<PartitionId>,
    /// The generation of the holder.
    pub generation: u64,
    /// The nonce of the holder.
    pub nonce: u64,
    /// Rises with each heartbeat of the holder.
    pub heartbeat: u64,
}

/// Returns the results of a batch whose claims were written one by one.
///
/// # Errors
/// The first one. Its effect is unknown if any claim was written; a retry is safe then, since the same
/// nonce gets the same claims again.
pub fn all_claimed(results: Vec<Result<Claimed>>) -> Result<Vec<Claimed>> {
    let some = results.iter().any(Result::is_ok);
    let all: Result<Vec<Claimed>> = results.into_iter().collect();
    all.map_err(|error| match some {
        true => error.with_effect(Effect::Unknown),
        false => error,
    })
}

impl ClaimRecord {
    /// Creates the record of a fresh claim.
    pub fn of(claim: &EventClaim) -> Self {
        Self {
            completed: false,
            stream: claim.stream.clone(),
            partition: claim.partition.clone(),
            generation: claim.generation,
            nonce: claim.nonce,
            heartbeat: 0,
        }
    }

    /// Whether `claim` may replace this one: the same claimer repeats it, or a newer owner of the
    /// partition fences the older one (rule 12).
    pub fn yields_to(&self, claim: &EventClaim) -> bool {
        let same_partition = self.partition.is_some()
            && self.partition == claim.partition
            && (self.stream.is_none() || self.stream == claim.stream);
        let newer = same_partition && self.generation < claim.generation;
        newer || (self.nonce == claim.nonce && self.generation <= claim.generation)
    }
}

/// Returns the result of a claim; [`ClaimRecord::of`] the claim is to be stored if it is `New` or
/// `Again`.
pub fn claim(stored: Option<&ClaimRecord>, claim: &EventClaim) -> Claimed {
    match stored {
        None => Claimed::New,
        Some(stored) if stored.completed => Claimed::Completed,
        Some(stored) if stored.yields_to(claim) => Claimed::Again,
        Some(stored) => Claimed::Held {
            nonce: stored.nonce,
            heartbeat: stored.heartbeat,
        },
    }
}

/// Whether the event is to be stored as completed; `false` if it is completed already.
///
/// # Errors
/// `Conflict` if another claim holds the event.
pub fn complete(stored: Option<&ClaimRecord>, claim: &EventClaim) -> Result<bool> {
    match stored {
        Some(stored) if stored.completed => Ok(false),
        Some(stored) if !stored.yields_to(claim) => Err(taken_over(claim)),
        _ => Ok(true),
    }
}

/// Whether the record is to be removed.
pub fn release(stored: Option<&ClaimRecord>, claim: &EventClaim) -> bool {
    stored.is_some_and(|stored| !stored.completed && stored.nonce == claim.nonce)
}

/// Whether the heartbeat is to be raised; `false` if the event is completed already.
///
/// # Errors
/// `Conflict` if the claim is not stored any more, or not the caller's.
pub fn heartbeat(stored: Option<&ClaimRecord>, claim: &EventClaim) -> Result<bool> {
    match stored {
        Some(stored) if stored.completed => Ok(false),
        Some(stored) if stored.nonce == claim.nonce => Ok(true),
        _ => Err(taken_over(claim)),
    }
}

/// Whether a claim stands as it was seen to stand still, so that another claimer may take it over.
pub fn has_lapsed(stored: Option<&ClaimRecord>, nonce: u64, heartbeat: u64) -> bool {
    stored.is_some_and(|stored| {
        !stored.completed && stored.nonce == nonce && stored.heartbeat == heartbeat
    })
}

/// The error for a claim that another claimer holds now.
pub fn taken_over(claim: &EventClaim) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "event {}: another claimer took the claim over; the event is handled there",
            claim.id
        ),
    )
    .with_retry(Retry::Never)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Event;

    #[test]
    fn a_generation_fences_within_its_stream_only() {
        let event = Event::new("x");
        let of = |stream: &str, generation, nonce| {
            EventClaim::new(&event, nonce).from_partition(stream.into(), "0".into(), generation)
        };
        let stored = ClaimRecord::of(&of("orders", 1, 7));
        assert_eq!(claim(Some(&stored), &of("orders", 2, 8)), Claimed::Again);
        let held = Claimed::Held {
            nonce: 7,
            heartbeat: 0,
        };
        assert_eq!(claim(Some(&stored), &of("returns", 2, 8)), held);
        assert!(complete(Some(&stored), &of("returns", 2, 8)).is_err());

        let before_streams = ClaimRecord {
            stream: None,
            ..stored
        };
        let next = of("orders", 2, 8);
        assert_eq!(claim(Some(&before_streams), &next), Claimed::Again);
    }
}
