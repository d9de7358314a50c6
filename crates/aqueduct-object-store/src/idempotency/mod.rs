mod held;
mod record;

use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::claim_rules::{self, ClaimRecord};
use aqueduct_core::{
    Claimed, Error, ErrorKind, EventClaim, IdempotencyScope, IdempotencyStore, Result, Runtime,
    Timestamp,
};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt as _;

use self::held::HeldClaims;
use self::record::Stored;
use crate::bucket::{Bucket, Content, Expect, Put, Version};

/// The number of records read or written at once.
const CONCURRENCY: usize = 32;

/// How often a write is repeated because another one came between.
const ROUNDS: usize = 16;

/// Stores idempotency records, one object per event.
#[derive(Clone)]
pub(crate) struct ObjectRecords {
    bucket: Bucket,
    retention: Option<Duration>,
    runtime: Runtime,
    held: Arc<HeldClaims>,
}

/// The next step for a record as stored.
enum Decision<T> {
    Write(ClaimRecord, T),
    Release(T),
    Keep(T),
}

/// A record and its version, if there is one.
type Found = Option<(Stored, Version)>;

/// Where the knowledge of a record comes from.
enum Known {
    Assumed(Found),
    Read(Found),
}

enum Written {
    Done(Version),
    /// Another write came first; the record as it stands.
    Lost(Found),
}

impl ObjectRecords {
    pub(crate) fn new(bucket: Bucket, retention: Option<Duration>, runtime: &Runtime) -> Self {
        Self {
            bucket,
            retention,
            runtime: runtime.clone(),
            held: Arc::default(),
        }
    }

    async fn claim_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<Claimed> {
        // Most events are new: the first write finds out.
        self.change(scope, claim, Some(None), |stored| {
            let claimed = claim_rules::claim(stored, claim);
            Ok(match claimed {
                Claimed::New | Claimed::Again => Decision::Write(ClaimRecord::of(claim), claimed),
                _ => Decision::Keep(claimed),
            })
        })
        .await
    }

    async fn complete_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<()> {
        self.change(scope, claim, None, |stored| {
            if !claim_rules::complete(stored, claim)? {
                return Ok(Decision::Keep(()));
            }
            let record = ClaimRecord {
                completed: true,
                ..ClaimRecord::of(claim)
            };
            Ok(Decision::Write(record, ()))
        })
        .await
    }

    async fn release_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<()> {
        self.change(scope, claim, None, |stored| {
            Ok(match claim_rules::release(stored, claim) {
                true => Decision::Release(()),
                false => Decision::Keep(()),
            })
        })
        .await
    }

    async fn heartbeat_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<()> {
        self.change(scope, claim, None, |stored| {
            let raises = claim_rules::heartbeat(stored, claim)?;
            Ok(match stored {
                Some(stored) if raises => {
                    let record = ClaimRecord {
                        heartbeat: stored.heartbeat + 1,
                        ..stored.clone()
                    };
                    Decision::Write(record, ())
                }
                _ => Decision::Keep(()),
            })
        })
        .await
    }

    /// Decides on the record and writes over the version decided on, until no other write comes
    /// between. `first` is what to assume about the record before it is read.
    async fn change<T>(
        &self,
        scope: &IdempotencyScope,
        claim: &EventClaim,
        first: Option<Found>,
        decide: impl Fn(Option<&ClaimRecord>) -> Result<Decision<T>> + Send + Sync,
    ) -> Result<T> {
        let name = record::name(scope, claim);
        let stamp = self.runtime.random();
        let mut known = match first.or_else(|| self.held.get(&name).map(Some)) {
            Some(assumed) => Known::Assumed(assumed),
            None => Known::Read(self.read(&name).await?),
        };
        for _ in 0..ROUNDS {
            let (Known::Assumed(stored) | Known::Read(stored)) = &known;
            let record = stored.as_ref().and_then(|(stored, _)| stored.claim());
            let (next, result) = match decide(record) {
                Ok(Decision::Write(record, result)) => (self.stored(record, false, stamp), result),
                Ok(Decision::Release(result)) => {
                    let record = record.cloned().unwrap_or_else(|| ClaimRecord::of(claim));
                    (self.stored(record, true, stamp), result)
                }
                // What this process remembers may be out of date.
                Ok(Decision::Keep(_)) | Err(_) if matches!(known, Known::Assumed(_)) => {
                    known = Known::Read(self.read(&name).await?);
                    continue;
                }
                Ok(Decision::Keep(result)) => return Ok(result),
                Err(error) => return Err(error),
            };
            let expect = match stored {
                None => Expect::Absent,
                Some((_, version)) => Expect::Version(version),
            };
            match self.write(&name, &next, expect).await? {
                Written::Done(version) => {
                    self.held.keep(&name, &next, &version);
                    return Ok(result);
                }
                Written::Lost(found) => {
                    self.held.forget(&name);
                    known = Known::Read(found);
                }
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "event {}: its record changed {ROUNDS} times during one write",
                claim.id
            ),
        ))
    }

    fn stored(&self, record: ClaimRecord, released: bool, stamp: u64) -> Stored {
        Stored {
            record,
            released,
            at: self.runtime.wall(),
            stamp,
        }
    }

    /// Writes a record. A refused write whose stamp is stored was carried out before, and its
    /// response lost on the way.
    async fn write(&self, name: &str, stored: &Stored, expect: Expect<'_>) -> Result<Written> {
        let content = Content {
            body: Bytes::from(stored.to_json()?),
            metadata: Vec::new(),
        };
        if let Put::Done(version) = self.bucket.put(name, content, expect).await? {
            return Ok(Written::Done(version));
        }
        Ok(match self.read(name).await? {
            Some((found, version)) if found.stamp == stored.stamp => Written::Done(version),
            found => Written::Lost(found),
        })
    }

    async fn read(&self, name: &str) -> Result<Found> {
        let Some(object) = self.bucket.get(name).await? else {
            return Ok(None);
        };
        let stored = Stored::from_json(&object.body)
            .map_err(|error| error.context(self.bucket.shown(name)))?;
        Ok(Some((stored, object.version)))
    }

    /// Calls `one` for each claim, several concurrently; returns the results in the order of the claims.
    async fn each<T, F>(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
        one: impl Fn(Self, IdempotencyScope, EventClaim) -> F,
    ) -> Vec<Result<T>>
    where
        F: Future<Output = Result<T>>,
    {
        let calls: Vec<F> = claims
            .iter()
            .map(|claim| one(self.clone(), scope.clone(), claim.clone()))
            .collect();
        futures::stream::iter(calls)
            .buffered(CONCURRENCY)
            .collect()
            .await
    }

    async fn purge_one(&self, below: &str, before: Timestamp) -> Result<bool> {
        let name = format!("{}/{below}", record::FOLDER);
        let Some((stored, _)) = self.read(&name).await? else {
            return Ok(false);
        };
        let is_done = stored.record.completed || stored.released;
        if !is_done || stored.at >= before {
            return Ok(false);
        }
        self.bucket.delete(&name).await?;
        Ok(stored.record.completed)
    }
}

#[async_trait]
impl IdempotencyStore for ObjectRecords {
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        let results = self
            .each(scope, claims, |store, scope, claim| async move {
                store.claim_one(&scope, &claim).await
            })
            .await;
        claim_rules::all_claimed(results)
    }

    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.each(scope, claims, |store, scope, claim| async move {
            store.complete_one(&scope, &claim).await
        })
        .await
    }

    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.each(scope, claims, |store, scope, claim| async move {
            store.release_one(&scope, &claim).await
        })
        .await
    }

    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.each(scope, claims, |store, scope, claim| async move {
            store.heartbeat_one(&scope, &claim).await
        })
        .await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        let listed = self.bucket.list(record::FOLDER).await?;
        let purges: Vec<_> = listed
            .iter()
            .map(|object| self.purge_one(&object.name, before))
            .collect();
        let mut purges = futures::stream::iter(purges).buffer_unordered(CONCURRENCY);
        let mut purged = 0;
        while let Some(was_purged) = purges.next().await {
            purged += u64::from(was_purged?);
        }
        Ok(purged)
    }

    fn retention(&self) -> Option<Duration> {
        self.retention
    }
}
