use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::claim_rules;
use aqueduct_core::sync::lock;
use aqueduct_core::{
    Claimed, ErrorKind, EventClaim, IdempotencyScope, IdempotencyStore, Instant, Result, Timestamp,
};
use async_trait::async_trait;
use rusqlite::{Connection, Transaction};

use crate::error::SqlResultExt as _;
use crate::handled_records::{find, index_age, purge_completed, put, raise_heartbeat, remove};
use crate::store::SqliteStore;

/// The result of [`SqliteStore::complete_in`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "if the event was handled already, the transaction must not take effect again"]
pub enum Completed {
    /// The event is recorded as handled with this transaction.
    Now,
    /// The event was handled before: roll back, or write nothing.
    Already,
}

impl SqliteStore {
    /// Records an event as handled within `tx`, together with the effects of handling it: the
    /// event takes effect exactly once in this file, however often it comes.
    ///
    /// Needs no claim. A stored claim is completed by its owner only.
    ///
    /// # Errors
    /// `Conflict` if another claim holds the event: it is handled there.
    pub fn complete_in(
        &self,
        tx: &Transaction<'_>,
        scope: &IdempotencyScope,
        claim: &EventClaim,
    ) -> Result<Completed> {
        complete(tx, scope, claim, self.0.runtime.wall())
    }
}

/// Idempotency records in the file.
pub(crate) struct SqliteRecords {
    store: SqliteStore,
    /// Claims that others held when last seen, and since when each stands still.
    standing: Mutex<BTreeMap<Standing, Instant>>,
}

/// The scope, the event, and the claim as it stood.
type Standing = ((String, String, u64), (String, String), (u64, u64));

impl SqliteRecords {
    pub(crate) fn new(store: SqliteStore) -> Self {
        Self {
            store,
            standing: Mutex::default(),
        }
    }

    /// Returns the held claims whose heartbeat stood still for a claim's ttl on this process's clock.
    /// Anyone may take them over: a claim from a queue lapses by its heartbeat alone (rule 12).
    fn lapsed(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
        answers: &[Claimed],
    ) -> Vec<(usize, u64, u64)> {
        let now = self.store.0.runtime.now();
        let life = self.store.options().claim_life;
        let mut standing = lock(&self.standing);
        standing.retain(|_, since| now.since(*since) < life * 4);
        let mut lapsed = Vec::new();
        for (at, (claim, answer)) in claims.iter().zip(answers).enumerate() {
            if let Claimed::Held { nonce, heartbeat } = *answer
                && claim.partition.is_none()
            {
                let seen = (
                    (
                        scope.group.to_string(),
                        scope.handlers.to_string(),
                        scope.replay,
                    ),
                    (claim.source.to_string(), claim.id.to_string()),
                    (nonce, heartbeat),
                );
                if now.since(*standing.entry(seen).or_insert(now)) >= life {
                    lapsed.push((at, nonce, heartbeat));
                }
            }
        }
        lapsed
    }

    /// Applies `one` to each claim; a failed call is the same error for each.
    async fn each(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
        one: impl Fn(&Connection, &IdempotencyScope, &EventClaim) -> Result<()> + Send + 'static,
    ) -> Vec<Result<()>> {
        if claims.is_empty() {
            return Vec::new();
        }
        let (scope, owned) = (scope.clone(), claims.to_vec());
        let all = move |tx: &Transaction<'_>| {
            let answers = owned.iter().map(|claim| one(tx, &scope, claim));
            // A conflict concerns one claim, any other error the whole transaction.
            answers
                .map(|answer| match answer {
                    Err(error) if !error.is(ErrorKind::Conflict) => Err(error),
                    answer => Ok(answer),
                })
                .collect::<Result<Vec<_>>>()
        };
        match self.store.0.writer.run(false, all).await {
            Ok(answers) => answers,
            Err(error) => claims.iter().map(|_| Err(error.clone())).collect(),
        }
    }
}

#[async_trait]
impl IdempotencyStore for SqliteRecords {
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        if claims.is_empty() {
            return Ok(Vec::new());
        }
        let (asked, owned) = (scope.clone(), claims.to_vec());
        let mut answers = self
            .store
            .0
            .writer
            .run(false, move |tx| {
                let claims = owned.iter();
                claims
                    .map(|one| claim(tx, &asked, one))
                    .collect::<Result<Vec<_>>>()
            })
            .await?;
        let lapsed = self.lapsed(scope, claims, &answers);
        if lapsed.is_empty() {
            return Ok(answers);
        }
        let (asked, owned) = (scope.clone(), claims.to_vec());
        let taken = self
            .store
            .0
            .writer
            .run(false, move |tx| {
                let take = |(at, nonce, heartbeat): (usize, u64, u64)| {
                    Ok((at, take_over(tx, &asked, &owned[at], nonce, heartbeat)?))
                };
                lapsed.into_iter().map(take).collect::<Result<Vec<_>>>()
            })
            .await?;
        for (at, taken) in taken {
            if taken {
                answers[at] = Claimed::Again;
            }
        }
        Ok(answers)
    }

    async fn peek(
        &self,
        scope: &IdempotencyScope,
        claims: &[EventClaim],
    ) -> Result<Option<Vec<Claimed>>> {
        let (scope, owned) = (scope.clone(), claims.to_vec());
        let read = move |connection: &Connection| {
            let tx = connection
                .unchecked_transaction()
                .sql("begin to read idempotency records")?;
            let each = owned.iter().map(|claim| {
                let stored = find(&tx, &scope, claim)?;
                Ok(claim_rules::claim(stored.as_ref(), claim))
            });
            each.collect::<Result<Vec<_>>>().map(Some)
        };
        self.store.read(read).await
    }

    async fn complete(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        let known = self.store.0.handled.take(scope, claims);
        if known.iter().all(|known| *known) {
            return claims.iter().map(|_| Ok(())).collect();
        }
        let rest = claims.iter().zip(&known).filter(|(_, known)| !**known);
        let rest: Vec<EventClaim> = rest.map(|(claim, _)| claim.clone()).collect();
        let now = self.store.0.runtime.wall();
        let mut outcomes = self
            .each(scope, &rest, move |tx, scope, claim| {
                complete(tx, scope, claim, now).map(|_| ())
            })
            .await
            .into_iter();
        let each = known.iter().map(|known| match known {
            true => Ok(()),
            false => outcomes
                .next()
                .unwrap_or_else(|| Err(crate::writer::lost())),
        });
        each.collect()
    }

    async fn release(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.each(scope, claims, |tx, scope, claim| {
            if claim_rules::release(find(tx, scope, claim)?.as_ref(), claim) {
                remove(tx, scope, claim)?;
            }
            Ok(())
        })
        .await
    }

    async fn heartbeat(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Vec<Result<()>> {
        self.each(scope, claims, |tx, scope, claim| {
            if claim_rules::heartbeat(find(tx, scope, claim)?.as_ref(), claim)? {
                raise_heartbeat(tx, scope, claim)?;
            }
            Ok(())
        })
        .await
    }

    async fn purge(&self, before: Timestamp) -> Result<u64> {
        let before = before.as_millis();
        let mut purged = 0;
        loop {
            // In steps, so that others can write in between.
            let some = self
                .store
                .0
                .writer
                .run(false, move |tx| {
                    index_age(tx)
                        .and_then(|()| purge_completed(tx, before, 4096))
                        .sql("purge completed ids")
                })
                .await?;
            purged += some as u64;
            if some < 4096 {
                return Ok(purged);
            }
        }
    }

    fn retention(&self) -> Option<Duration> {
        self.store.options().idempotency_retention
    }
}

fn claim(connection: &Connection, scope: &IdempotencyScope, claim: &EventClaim) -> Result<Claimed> {
    let claimed = claim_rules::claim(find(connection, scope, claim)?.as_ref(), claim);
    if matches!(claimed, Claimed::New | Claimed::Again) {
        put(connection, scope, claim, None)?;
    }
    Ok(claimed)
}

/// Takes over a claim that still stands as it was seen to stand still.
fn take_over(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
    nonce: u64,
    heartbeat: u64,
) -> Result<bool> {
    let stored = find(connection, scope, claim)?;
    let lapsed = claim_rules::has_lapsed(stored.as_ref(), nonce, heartbeat);
    if lapsed {
        put(connection, scope, claim, None)?;
    }
    Ok(lapsed)
}

fn complete(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
    now: Timestamp,
) -> Result<Completed> {
    if !claim_rules::complete(find(connection, scope, claim)?.as_ref(), claim)? {
        return Ok(Completed::Already);
    }
    put(connection, scope, claim, Some(now))?;
    Ok(Completed::Now)
}
