use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{
    Assignment, EventClaim, EventId, IdempotencyScope, Instant, PartitionId, Parts, Position,
    SmallStr, StreamName,
};

/// The unsettled claims of this process, and the claims that it has seen others hold.
#[derive(Default)]
pub(super) struct Claims {
    ours: BTreeMap<EventKey, Ours>,
    theirs: BTreeMap<EventKey, Theirs>,
    /// Whether a task renews the claims.
    pub(super) beating: bool,
}

/// An event within one group.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EventKey {
    group: SmallStr,
    replay: u64,
    source: SmallStr,
    id: EventId,
}

/// The delivery: the same event may be in the stream twice.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Origin {
    stream: StreamName,
    partition: Option<PartitionId>,
    generation: u64,
    place: Option<Position>,
    ticket: u64,
}

struct Ours {
    origin: Origin,
    /// The delivery that works on it. An earlier delivery of the same origin, superseded by this
    /// one, may end after this one began.
    ticket: u64,
    scope: IdempotencyScope,
    claim: EventClaim,
    /// Whether the store has the claim.
    stored: bool,
    since: Instant,
}

struct Theirs {
    nonce: u64,
    heartbeat: u64,
    since: Instant,
}

/// The local state of an event, checked before the store is asked.
pub(super) enum Local {
    /// No other delivery of it is handled here.
    Free,
    /// Another delivery of it is being handled here, for that long.
    Busy(Duration),
}

impl EventKey {
    pub(super) fn of(scope: &IdempotencyScope, claim: &EventClaim) -> Self {
        Self {
            group: scope.group.text().clone(),
            replay: scope.replay,
            source: claim.source.clone(),
            id: claim.id.clone(),
        }
    }
}

impl Origin {
    pub(super) fn of(assignment: &Assignment, parts: &Parts) -> Self {
        Self {
            stream: assignment.stream.clone(),
            partition: assignment.partition.clone(),
            generation: assignment.generation,
            place: parts.position,
            // Only a queue's delivery is identified by its ticket: a redelivery in place may get
            // another.
            ticket: if parts.position.is_some() {
                0
            } else {
                parts.ticket
            },
        }
    }

    /// Returns whether `self` was read by a later owner of the same partition.
    fn succeeds(&self, other: &Self) -> bool {
        self.partition.is_some()
            && self.stream == other.stream
            && self.partition == other.partition
            && self.generation > other.generation
    }
}

impl Claims {
    pub(super) fn look(&self, key: &EventKey, origin: &Origin, now: Instant) -> Local {
        match self.ours.get(key) {
            Some(ours) if ours.origin != *origin && !origin.succeeds(&ours.origin) => {
                Local::Busy(now.since(ours.since))
            }
            _ => Local::Free,
        }
    }

    /// Returns whether another delivery works on the event: then this one must not give up its
    /// claim.
    pub(super) fn is_with_another(&self, key: &EventKey, origin: &Origin, ticket: u64) -> bool {
        self.ours
            .get(key)
            .is_some_and(|ours| ours.origin != *origin || ours.ticket != ticket)
    }

    pub(super) fn hold(
        &mut self,
        key: EventKey,
        (origin, ticket): (Origin, u64),
        (scope, claim): (IdempotencyScope, EventClaim),
        stored: bool,
        now: Instant,
    ) {
        self.theirs.remove(&key);
        self.ours.insert(
            key,
            Ours {
                origin,
                ticket,
                scope,
                claim,
                stored,
                since: now,
            },
        );
    }

    /// Returns whether the claim is held here alone, so that the store has nothing to release.
    pub(super) fn is_local(&self, key: &EventKey) -> bool {
        self.ours.get(key).is_some_and(|ours| !ours.stored)
    }

    /// Forgets a delivery that is no longer handled here. Another delivery's claim stays.
    pub(super) fn drop_ours(&mut self, key: &EventKey, origin: &Origin, ticket: u64) {
        if !self.is_with_another(key, origin, ticket) {
            self.ours.remove(key);
        }
    }

    pub(super) fn forget_theirs(&mut self, key: &EventKey) {
        self.theirs.remove(key);
    }

    /// Notes that another process holds the event. Returns whether its heartbeat is unchanged for
    /// `life`.
    pub(super) fn see_theirs(
        &mut self,
        key: &EventKey,
        nonce: u64,
        heartbeat: u64,
        now: Instant,
        life: Duration,
    ) -> bool {
        // Entries of deliveries that went away are never asked for again, and must not stay for
        // ever.
        if self.theirs.len() >= 10_000 {
            self.theirs
                .retain(|_, seen| now.since(seen.since) < life * 4);
        }
        let seen = self.theirs.entry(key.clone()).or_insert(Theirs {
            nonce,
            heartbeat,
            since: now,
        });
        if (seen.nonce, seen.heartbeat) != (nonce, heartbeat) {
            *seen = Theirs {
                nonce,
                heartbeat,
                since: now,
            };
        }
        now.since(seen.since) >= life
    }

    pub(super) fn is_idle(&self) -> bool {
        self.ours.is_empty()
    }

    /// Returns the stored claims that have been held for `age` or longer, by scope.
    pub(super) fn older_than(
        &self,
        age: Duration,
        now: Instant,
    ) -> Vec<(IdempotencyScope, Vec<EventClaim>)> {
        let mut scopes: Vec<(IdempotencyScope, Vec<EventClaim>)> = Vec::new();
        for ours in self.ours.values() {
            if !ours.stored || now.since(ours.since) < age {
                continue;
            }
            match scopes.iter_mut().find(|(scope, _)| *scope == ours.scope) {
                Some((_, claims)) => claims.push(ours.claim.clone()),
                None => scopes.push((ours.scope.clone(), vec![ours.claim.clone()])),
            }
        }
        scopes
    }
}
