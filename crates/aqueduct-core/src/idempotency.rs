use std::time::Duration;

use async_trait::async_trait;

use crate::{Event, EventId, GroupName, PartitionId, Result, SmallStr, Timestamp};

/// Remembers which events were handled, so that one that comes twice takes effect once.
///
/// Batch first: each answer stands under the index of its question.
#[async_trait]
pub trait IdempotencyStore: Send + Sync {
    /// Claims each event for a run of its handler. Claiming again with the same `nonce` is
    /// claiming once.
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>>;

    /// Records each as handled. Idempotent; an event already completed stays so. Answers per event:
    /// `Conflict` where a newer claim took it over and it is not completed.
    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>>;

    /// Gives each claim up: the next attempt claims anew. A claim of another nonce stays.
    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>>;

    /// Says that these claims are still worked on: raises their heartbeat.
    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>>;

    /// Removes records completed before `before`, of every scope; answers how many.
    async fn purge(&self, before: Timestamp) -> Result<u64>;

    /// How long completed records are kept; `None` for ever.
    fn retention(&self) -> Option<Duration>;
}

/// Within what an event counts once: another group, another set of handlers or a replay is
/// another scope.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyScope {
    /// The group.
    pub group: GroupName,
    /// The handler set, so that two workers of one group with different handlers are told apart.
    pub handlers: SmallStr,
    /// The group's replay generation.
    pub replay: u64,
}

/// One event and who wants to handle it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventClaim {
    /// The event's source.
    pub source: SmallStr,
    /// The event's id.
    pub id: EventId,
    /// The partition that it came from, where the backend has any.
    pub partition: Option<PartitionId>,
    /// The generation that owns the partition; 0 on queues.
    pub generation: u64,
    /// Drawn by the claimer, the same for its repeated calls.
    pub nonce: u64,
}

impl EventClaim {
    /// The claim to `event` from a queue, or from no partition.
    pub fn new(event: &Event, nonce: u64) -> Self {
        Self {
            source: event.source_text().clone(),
            id: event.id().clone(),
            partition: None,
            generation: 0,
            nonce,
        }
    }

    /// The claim of the owner of `partition` at `generation`.
    #[must_use]
    pub fn from_partition(mut self, partition: PartitionId, generation: u64) -> Self {
        self.partition = Some(partition);
        self.generation = generation;
        self
    }
}

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claimed {
    /// It is yours: handle it.
    New,
    /// It was yours, or an older generation's of the same partition: handle it, again perhaps.
    Again,
    /// It was handled: acknowledge it unseen.
    Completed,
    /// Somebody else is at it. Whoever sees its heartbeat stand still for a life, on a clock of its
    /// own, releases it in the holder's name, by the holder's nonce, and claims it then.
    Held {
        /// The claimer's nonce.
        nonce: u64,
        /// Rises with each of the claimer's heartbeats.
        heartbeat: u64,
    },
}
