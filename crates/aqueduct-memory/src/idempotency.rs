use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::claim_rules::{self, ClaimRecord};
use aqueduct_core::{
    Claimed, EventClaim, EventId, IdempotencyScope, IdempotencyStore, Result, Runtime, SmallStr,
    Timestamp,
};
use async_trait::async_trait;

use crate::faults::Operation;
use crate::stream::Stream;

/// Hashes with fixed keys, so that every run iterates in the same order.
type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// The idempotency records of every scope.
#[derive(Default)]
pub(crate) struct Records {
    scopes: FixedMap<IdempotencyScope, Scope>,
}

#[derive(Default)]
struct Scope {
    entries: FixedMap<Key, ClaimRecord>,
    /// Completed records, oldest first, so that a purge reads only those that it removes.
    completed: VecDeque<(Timestamp, Key)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(SmallStr, EventId);

impl Scope {
    fn claim(&mut self, claim: &EventClaim) -> Claimed {
        let key = key_of(claim);
        let claimed = claim_rules::claim(self.entries.get(&key), claim);
        if matches!(claimed, Claimed::New | Claimed::Again) {
            self.entries.insert(key, ClaimRecord::of(claim));
        }
        claimed
    }

    fn complete(&mut self, claim: &EventClaim, now: Timestamp) -> Result<()> {
        let key = key_of(claim);
        if claim_rules::complete(self.entries.get(&key), claim)? {
            let completed = ClaimRecord {
                completed: true,
                ..ClaimRecord::of(claim)
            };
            self.completed.push_back((now, key.clone()));
            self.entries.insert(key, completed);
        }
        Ok(())
    }

    fn release(&mut self, claim: &EventClaim) {
        let key = key_of(claim);
        if claim_rules::release(self.entries.get(&key), claim) {
            self.entries.remove(&key);
        }
    }

    fn heartbeat(&mut self, claim: &EventClaim) -> Result<()> {
        let mut stored = self.entries.get_mut(&key_of(claim));
        if claim_rules::heartbeat(stored.as_deref(), claim)?
            && let Some(stored) = &mut stored
        {
            stored.heartbeat += 1;
        }
        Ok(())
    }

    fn purge(&mut self, before: Timestamp) -> u64 {
        let mut purged = 0;
        while self.completed.front().is_some_and(|(at, _)| *at < before) {
            if let Some((_, key)) = self.completed.pop_front() {
                self.entries.remove(&key);
                purged += 1;
            }
        }
        purged
    }
}

fn key_of(claim: &EventClaim) -> Key {
    Key(claim.source.clone(), claim.id.clone())
}

pub(crate) struct MemoryRecords {
    stream: Arc<Stream>,
    runtime: Runtime,
    retention: Option<Duration>,
}

impl MemoryRecords {
    pub(crate) fn new(stream: Arc<Stream>, runtime: Runtime, retention: Option<Duration>) -> Self {
        Self {
            stream,
            runtime,
            retention,
        }
    }

    async fn ask<T>(&self, work: impl FnOnce(&mut Records) -> T) -> Result<T> {
        let now = self.runtime.wall();
        let asked = || {
            let mut records = self.stream.records();
            if let Some(retention) = self.retention {
                for scope in records.scopes.values_mut() {
                    scope.purge(now.saturating_sub(retention));
                }
            }
            Ok(work(&mut records))
        };
        self.stream
            .plan
            .run(Operation::Idempotency, &self.runtime, asked)
            .await
    }

    /// Applies `one` to each claim; if the call fails, each claim gets the same error.
    async fn each(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
        mut one: impl FnMut(&mut Scope, &EventClaim) -> Result<()>,
    ) -> Vec<Result<()>> {
        let all = |records: &mut Records| {
            let scope = records.scopes.entry(scope.clone()).or_default();
            claims.iter().map(|claim| one(scope, claim)).collect()
        };
        match self.ask(all).await {
            Ok(answers) => answers,
            Err(error) => claims.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

#[async_trait]
impl IdempotencyStore for MemoryRecords {
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        let all = |records: &mut Records| {
            let scope = records.scopes.entry(scope.clone()).or_default();
            claims.iter().map(|claim| scope.claim(claim)).collect()
        };
        self.ask(all).await
    }

    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        let now = self.runtime.wall();
        self.each(scope, claims, |scope, claim| scope.complete(claim, now))
            .await
    }

    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        let release = |scope: &mut Scope, claim: &EventClaim| {
            scope.release(claim);
            Ok(())
        };
        self.each(scope, claims, release).await
    }

    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.each(scope, claims, Scope::heartbeat).await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        self.ask(|records| {
            records
                .scopes
                .values_mut()
                .map(|scope| scope.purge(before))
                .sum()
        })
        .await
    }

    fn retention(&self) -> Option<Duration> {
        self.retention
    }
}
