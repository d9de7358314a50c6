mod record;

use std::time::Duration;

use aqueduct_core::{
    Claimed, Error, ErrorKind, EventClaim, IdempotencyScope, IdempotencyStore, Result, Runtime,
    Timestamp, claim_rules,
};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::ReturnValue;
use futures::StreamExt as _;

use self::record::{COMPLETED, EXPIRES};
use crate::expression::Expression;
use crate::item::Item;
use crate::table::{Table, Written};

/// The number of concurrent writes of one call.
const CONCURRENCY: usize = 32;

/// Added to the retention, since the clocks of machines differ.
const SKEW: Duration = Duration::from_secs(3600);

/// Stores idempotency records in the state table, one row per event.
#[derive(Clone)]
pub(crate) struct DynamoDbRecords {
    state: Table,
    retention: Option<Duration>,
    runtime: Runtime,
}

impl DynamoDbRecords {
    pub(crate) async fn open(
        state: Table,
        retention: Option<Duration>,
        create: bool,
        runtime: &Runtime,
    ) -> Result<Self> {
        if create && retention.is_some() {
            state.expire_by(EXPIRES).await?;
        }
        Ok(Self {
            state,
            retention,
            runtime: runtime.clone(),
        })
    }

    /// Returns when the row expires, in seconds; `None` if it does not.
    fn expiry(&self, now: Timestamp) -> Option<i64> {
        let kept = self.retention? + SKEW;
        Some(now.saturating_add(kept).as_millis() / 1000)
    }

    async fn claim_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<Claimed> {
        let key = record::key(scope, claim);
        let write = record::claim(claim, self.expiry(self.runtime.wall()));
        match self.state.update(&key, write, ReturnValue::AllNew).await? {
            Written::Done(Some(now)) => record::claimed(self.state.row(&now)),
            Written::Done(None) => Ok(Claimed::Again),
            Written::Refused(Some(stored)) => record::held(self.state.row(&stored)),
            Written::Refused(None) => Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "event {}: its record was deleted while it was being claimed",
                    claim.id
                ),
            )),
        }
    }

    async fn complete_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<()> {
        let now = self.runtime.wall();
        let write = record::complete(claim, now, self.expiry(now));
        self.change(scope, claim, write).await
    }

    async fn heartbeat_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<()> {
        let write = record::heartbeat(claim, self.expiry(self.runtime.wall()));
        self.change(scope, claim, write).await
    }

    /// Writes if the claim is still the caller's; succeeds without a write if the event is completed.
    async fn change(
        &self,
        scope: &IdempotencyScope,
        claim: &EventClaim,
        write: Expression,
    ) -> Result<()> {
        let key = record::key(scope, claim);
        match self.state.update(&key, write, ReturnValue::None).await? {
            Written::Done(_) => Ok(()),
            Written::Refused(Some(stored)) if stored.contains_key(COMPLETED) => Ok(()),
            Written::Refused(_) => Err(claim_rules::taken_over(claim)),
        }
    }

    async fn release_one(&self, scope: &IdempotencyScope, claim: &EventClaim) -> Result<()> {
        let key = record::key(scope, claim);
        let deleted = self.state.delete(&key, record::release(claim)).await;
        deleted.map(drop)
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

    /// Deletes the records of a page that were completed before `before`; returns how many.
    async fn purge_page(&self, items: Vec<Item>, before: i64) -> Result<u64> {
        let mut purged = 0;
        let deletions = items.into_iter().map(|item| {
            let state = self.state.clone();
            async move {
                let key = state.row(&item).need_text(state.key)?.to_owned();
                state.delete(&key, record::completed_before(before)).await
            }
        });
        let mut deletions = futures::stream::iter(deletions).buffer_unordered(CONCURRENCY);
        while let Some(deleted) = deletions.next().await {
            purged += u64::from(matches!(deleted?, Written::Done(Some(_))));
        }
        Ok(purged)
    }
}

#[async_trait]
impl IdempotencyStore for DynamoDbRecords {
    async fn claim(&self, scope: &IdempotencyScope, claims: &[EventClaim]) -> Result<Vec<Claimed>> {
        let answers = self
            .each(scope, claims, |store, scope, claim| async move {
                store.claim_one(&scope, &claim).await
            })
            .await;
        claim_rules::all_claimed(answers)
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
        let before = before.as_millis();
        let (mut purged, mut start) = (0, None);
        loop {
            let filter = record::completed_before(before);
            let (items, next) = self.state.scan_page(Some(filter), start).await?;
            purged += self.purge_page(items, before).await?;
            match next {
                Some(next) => start = Some(next),
                None => return Ok(purged),
            }
        }
    }

    fn retention(&self) -> Option<Duration> {
        self.retention
    }
}
