pub mod rules;

use std::time::Duration;

use async_trait::async_trait;

use crate::{
    Assignment, Event, EventId, GroupName, PartitionId, Result, SmallStr, StreamName, Timestamp,
};

/// Records which events were handled, so that an event that comes twice takes effect once.
///
/// Batch first: results are aligned with the claims. The [`rules`](crate::claim_rules) decide for
/// every store.
///
/// # Errors
/// Every method returns `Unavailable`, `Throttled` or `TimedOut` if the store cannot be reached now,
/// `Denied` if access is refused, `Full` if there is no room, and `Corrupt` for a record that cannot
/// be read. With `Effect::Unknown` a part of the call may have been applied: repeating it is safe.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Claims each event for a run of its handler. Repeating a claim with the same `nonce` has no
    /// further effect.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>>;

    /// Returns what [`claim`](Self::claim) would return, and stores nothing; `None`, the default, if the
    /// store cannot read for less than a claim costs.
    ///
    /// Enough where a lease keeps two claimers of an event apart.
    async fn peek(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
    ) -> Result<Option<Vec<Claimed>>> {
        let _ = (scope, claims);
        Ok(None)
    }

    /// Records each event as handled. Idempotent: a completed event stays completed.
    ///
    /// # Errors
    /// `Conflict` for each event that a newer claim took over before it was completed.
    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>>;

    /// Gives each claim up, so that the next attempt claims the event again. Claims of another nonce
    /// and completed events stay as they are.
    ///
    /// # Errors
    /// Those of every method of this trait, one result for each claim.
    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>>;

    /// Raises the heartbeat of claims whose handlers are still running.
    ///
    /// # Errors
    /// `Conflict` for each claim that was taken over or released.
    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>>;

    /// Removes records completed before `before`, in every scope, and returns how many.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn purge(&self, before: Timestamp) -> Result<u64>;

    /// How long completed records are kept; `None` if they are kept for ever.
    fn retention(&self) -> Option<Duration>;
}

/// Within a scope an event counts once. Another group, another set of handlers and a replay are
/// other scopes.
///
/// ```
/// use aqueduct_core::IdempotencyScope;
///
/// let scope = IdempotencyScope { group: "billing".into(), handlers: "v1".into(), replay: 0 };
/// // After a reset of the group every event counts again.
/// assert_ne!(scope, IdempotencyScope { replay: 1, ..scope.clone() });
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyScope {
    /// The group.
    pub group: GroupName,
    /// The handler set: workers of one group with different handlers do not suppress each other.
    pub handlers: SmallStr,
    /// The replay generation of the group.
    pub replay: u64,
}

/// One event and who wants to handle it.
///
/// ```
/// use aqueduct_core::{Event, EventClaim};
///
/// let event = Event::new("order.placed").with_source("/shop").with_id("7");
/// let claim = EventClaim::new(&event, 1).from_partition("orders".into(), "0".into(), 3);
/// assert_eq!((claim.source.as_str(), claim.generation), ("/shop", 3));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventClaim {
    /// The event's source.
    pub source: SmallStr,
    /// The event's id.
    pub id: EventId,
    /// The stream of `partition`: a group may read several streams, and names of partitions and
    /// generations mean something within one stream only.
    pub stream: Option<StreamName>,
    /// The partition that the event was read from, if the backend has any.
    pub partition: Option<PartitionId>,
    /// The generation that owns the partition; 0 on queues.
    pub generation: u64,
    /// Drawn by the claimer, the same for its repeated calls.
    pub nonce: u64,
}

impl EventClaim {
    /// Creates a claim to `event` from a queue.
    pub fn new(event: &Event, nonce: u64) -> Self {
        Self {
            source: event.source_text().clone(),
            id: event.id().clone(),
            stream: None,
            partition: None,
            generation: 0,
            nonce,
        }
    }

    /// Makes it the claim of the owner of `partition` of `stream` at `generation`.
    #[must_use]
    pub fn from_partition(
        mut self,
        stream: StreamName,
        partition: PartitionId,
        generation: u64,
    ) -> Self {
        self.stream = Some(stream);
        self.partition = Some(partition);
        self.generation = generation;
        self
    }

    /// Makes it the claim of the owner of the assignment's partition, if it has one.
    #[must_use]
    pub fn from_assignment(self, assignment: &Assignment) -> Self {
        match &assignment.partition {
            None => self,
            Some(partition) => self.from_partition(
                assignment.stream.clone(),
                partition.clone(),
                assignment.generation,
            ),
        }
    }
}

/// The result of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claimed {
    /// The caller may handle the event: it was not claimed before.
    New,
    /// The caller may handle the event: an earlier attempt of the caller, or of an older owner of the
    /// partition, may have handled it in part.
    Again,
    /// The event was handled: acknowledge it without handling it.
    Completed,
    /// Another claimer is handling the event. A caller that sees the heartbeat stand still for a
    /// claim's ttl, on its own clock, releases the claim with the holder's nonce and claims it.
    Held {
        /// The holder's nonce.
        nonce: u64,
        /// Rises with each heartbeat of the holder.
        heartbeat: u64,
    },
}
