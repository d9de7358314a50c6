use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Claimed, Error, ErrorKind, EventClaim, EventId, IdempotencyScope, IdempotencyStore,
    PartitionId, Result, Runtime, SmallStr, Timestamp,
};
use async_trait::async_trait;

use crate::faults::Operation;
use crate::stream::Stream;

/// Fixed keys, so that nothing depends on the run.
type FixedMap<K, V> = HashMap<K, V, BuildHasherDefault<DefaultHasher>>;

/// Which events were handled, or are, within each scope.
#[derive(Default)]
pub(crate) struct Records {
    scopes: FixedMap<IdempotencyScope, Scope>,
}

#[derive(Default)]
struct Scope {
    entries: FixedMap<Key, Entry>,
    /// Completed ones, oldest first, so that a purge looks at no others.
    completed: VecDeque<(Timestamp, Key)>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Key(SmallStr, EventId);

enum Entry {
    Claimed(Holder),
    Completed,
}

struct Holder {
    partition: Option<PartitionId>,
    generation: u64,
    nonce: u64,
    heartbeat: u64,
}

impl Scope {
    fn claim(&mut self, claim: &EventClaim) -> Claimed {
        let holder = Holder {
            partition: claim.partition.clone(),
            generation: claim.generation,
            nonce: claim.nonce,
            heartbeat: 0,
        };
        match self.entries.get_mut(&key_of(claim)) {
            Some(Entry::Completed) => Claimed::Completed,
            Some(Entry::Claimed(held)) if held.yields_to(claim) => {
                *held = holder;
                Claimed::Again
            }
            Some(Entry::Claimed(held)) => Claimed::Held {
                nonce: held.nonce,
                heartbeat: held.heartbeat,
            },
            None => {
                self.entries.insert(key_of(claim), Entry::Claimed(holder));
                Claimed::New
            }
        }
    }

    fn complete(&mut self, claim: &EventClaim, now: Timestamp) -> Result<()> {
        let key = key_of(claim);
        match self.entries.get(&key) {
            Some(Entry::Completed) => return Ok(()),
            Some(Entry::Claimed(held)) if held.nonce != claim.nonce => return taken_over(claim),
            _ => {}
        }
        self.completed.push_back((now, key.clone()));
        self.entries.insert(key, Entry::Completed);
        Ok(())
    }

    fn release(&mut self, claim: &EventClaim) {
        let key = key_of(claim);
        if let Some(Entry::Claimed(held)) = self.entries.get(&key)
            && held.nonce == claim.nonce
        {
            self.entries.remove(&key);
        }
    }

    fn heartbeat(&mut self, claim: &EventClaim) -> Result<()> {
        match self.entries.get_mut(&key_of(claim)) {
            Some(Entry::Completed) => Ok(()),
            Some(Entry::Claimed(held)) if held.nonce == claim.nonce => {
                held.heartbeat += 1;
                Ok(())
            }
            _ => taken_over(claim),
        }
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

impl Holder {
    /// The same claimer asks again, or a newer owner of the partition does.
    fn yields_to(&self, claim: &EventClaim) -> bool {
        let newer = self.partition.is_some()
            && self.partition == claim.partition
            && self.generation < claim.generation;
        newer || (self.nonce == claim.nonce && self.generation <= claim.generation)
    }
}

fn key_of(claim: &EventClaim) -> Key {
    Key(claim.source.clone(), claim.id.clone())
}

fn taken_over(claim: &EventClaim) -> Result<()> {
    Err(Error::new(
        ErrorKind::Conflict,
        format!("event {}: the claim is no longer yours", claim.id),
    )
    .with_retry(aqueduct_core::Retry::Never))
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

    /// One answer for each claim; a call that fails gives each the same.
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
