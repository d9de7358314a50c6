use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Abandoned, Admission, Assignment, Claimed, Delivery, Error, ErrorKind, EventClaim,
    IdempotencyScope, IdempotencyStore, Interceptor, Next, Parts, Result, Revocation, Runtime,
    Settlement, Settler, Settling,
};
use async_trait::async_trait;
use metrics::counter;

use super::IdempotencyOptions;
use super::claims::{Claims, EventKey, Local, Origin};
use super::completer::Completer;

pub(super) struct Once {
    pub(super) options: IdempotencyOptions,
    store: Arc<dyn IdempotencyStore>,
    runtime: Runtime,
    nonce: u64,
    claims: Arc<Mutex<Claims>>,
    completer: Arc<Completer>,
}

/// The shortest wait for a delivery that is being handled here. Most handlers are done by then.
const SOON: Duration = Duration::from_millis(50);

/// A delivery whose event is looked up in the store.
struct Asked {
    at: usize,
    key: EventKey,
    origin: Origin,
    ticket: u64,
    scope: IdempotencyScope,
    claim: EventClaim,
    /// Whether other deliveries of the event come to this process alone, by the lease of its partition.
    fenced: bool,
    /// Whether the store has the claim.
    stored: bool,
}

impl Once {
    pub(super) fn new(
        store: Arc<dyn IdempotencyStore>,
        options: IdempotencyOptions,
        runtime: &Runtime,
    ) -> Self {
        Self {
            completer: Completer::new(store.clone(), runtime),
            store,
            options,
            nonce: runtime.random(),
            runtime: runtime.clone(),
            claims: Arc::default(),
        }
    }

    pub(super) fn claim_for(
        &self,
        assignment: &Assignment,
        parts: &Parts,
    ) -> (IdempotencyScope, EventClaim) {
        let scope = IdempotencyScope {
            group: assignment.group.clone(),
            handlers: self.options.handlers.clone(),
            replay: assignment.replay,
        };
        let claim = EventClaim::new(&parts.event, self.nonce).from_assignment(assignment);
        (scope, claim)
    }

    fn asked(&self, at: usize, assignment: &Assignment, parts: &Parts) -> Asked {
        let (scope, claim) = self.claim_for(assignment, parts);
        Asked {
            at,
            key: EventKey::of(&scope, &claim),
            origin: Origin::of(assignment, parts),
            ticket: parts.ticket,
            // Without a key a repetition may be in any partition. A later attempt may follow one of a
            // member that still runs.
            fenced: claim.partition.is_some()
                && parts.event.key_text().is_some()
                && parts.attempt <= 1,
            stored: true,
            scope,
            claim,
        }
    }

    /// Makes one call for each scope; in practice there is one.
    async fn claim(&self, asked: &mut [Asked]) -> Result<Vec<Claimed>> {
        let mut answers = Vec::with_capacity(asked.len());
        for same in asked.chunk_by_mut(|one, next| one.scope == next.scope) {
            let mut known = self.peek(same).await?;
            let rest: Vec<EventClaim> = same
                .iter()
                .zip(&known)
                .filter(|(_, known)| known.is_none())
                .map(|(asked, _)| asked.claim.clone())
                .collect();
            if !rest.is_empty() {
                let claimed = self.store.claim(&same[0].scope, &rest).await?;
                check_count(claimed.len(), rest.len())?;
                let unknown = known.iter_mut().filter(|known| known.is_none());
                for (unknown, claimed) in unknown.zip(claimed) {
                    *unknown = Some(claimed);
                }
            }
            answers.extend(known.into_iter().flatten());
        }
        Ok(answers)
    }

    /// Looks up the events whose lease keeps other claimers away: these need no stored claim, only to
    /// know whether they were handled. Returns `None` for each one to claim in the store.
    async fn peek(&self, asked: &mut [Asked]) -> Result<Vec<Option<Claimed>>> {
        let mut known = vec![None; asked.len()];
        let fenced: Vec<usize> = (0..asked.len()).filter(|at| asked[*at].fenced).collect();
        let claims: Vec<EventClaim> = fenced.iter().map(|at| asked[*at].claim.clone()).collect();
        if claims.is_empty() {
            return Ok(known);
        }
        let Some(seen) = self.store.peek(&asked[0].scope, &claims).await? else {
            return Ok(known);
        };
        check_count(seen.len(), claims.len())?;
        for (at, seen) in fenced.into_iter().zip(seen) {
            // A claim that is stored was made before: by a queue's rules, or by another version.
            if matches!(seen, Claimed::New | Claimed::Completed) {
                asked[at].stored = false;
                known[at] = Some(seen);
            }
        }
        Ok(known)
    }

    async fn decide(&self, asked: Asked, claimed: Claimed) -> Result<Admission> {
        match claimed {
            Claimed::New | Claimed::Again => Ok(self.pass(asked)),
            Claimed::Completed => {
                let mut claims = self.claims();
                claims.forget_theirs(&asked.key);
                // Claimed in an interrupted round, and completed by another process since.
                claims.drop_ours(&asked.key, &asked.origin, asked.ticket);
                drop(claims);
                counter!("aqueduct_idempotency_repetitions_total",
                    "group" => asked.scope.group.to_string())
                .increment(1);
                Ok(Admission::Settle(Settlement::Ack))
            }
            Claimed::Held { nonce, heartbeat } => {
                let (now, life) = (self.runtime.now(), self.options.life);
                let still = self
                    .claims()
                    .see_theirs(&asked.key, nonce, heartbeat, now, life);
                if !still {
                    return Ok(self.later());
                }
                // Not renewed for a life: released in its holder's name (rule 12).
                let dead = EventClaim {
                    nonce,
                    ..asked.claim.clone()
                };
                for released in self.store.release(&asked.scope, &[dead]).await {
                    released?;
                }
                tracing::warn!(event = %asked.claim.id, group = %asked.scope.group,
                    "a claim whose holder stopped renewing it was taken over");
                let again = std::slice::from_ref(&asked.claim);
                match self.store.claim(&asked.scope, again).await?.pop() {
                    Some(Claimed::New | Claimed::Again) => Ok(self.pass(asked)),
                    Some(Claimed::Completed) => Ok(Admission::Settle(Settlement::Ack)),
                    _ => Ok(self.later()),
                }
            }
            _ => Ok(self.later()),
        }
    }

    fn pass(&self, asked: Asked) -> Admission {
        let now = self.runtime.now();
        let starts = {
            let mut claims = self.claims();
            let holder = (asked.origin, asked.ticket);
            let stored = asked.stored;
            claims.hold(asked.key, holder, (asked.scope, asked.claim), stored, now);
            !std::mem::replace(&mut claims.beating, true)
        };
        if starts {
            let beat = beat(
                self.store.clone(),
                self.claims.clone(),
                self.runtime.clone(),
                self.options.heartbeat,
            );
            self.runtime.spawn(beat).detach();
        }
        Admission::Pass
    }

    /// Returns the delay if the event has been handled here for `busy`: short at first, since no
    /// store call is needed, then longer, since each delay is a request to a queue.
    fn soon(&self, busy: Duration) -> Admission {
        let short = (busy / 4).max(SOON).min(self.options.heartbeat / 4);
        let delay = short + self.runtime.jitter(short);
        Admission::Settle(Settlement::Defer { delay })
    }

    /// Returns the delay if another member handles it: jittered, a few looks in a claim's life.
    fn later(&self) -> Admission {
        let short = self.options.heartbeat / 4;
        let delay = short + self.runtime.jitter(short);
        Admission::Settle(Settlement::Defer { delay })
    }

    /// Completes a claim, with retries while the store is unavailable and the delivery may be
    /// settled.
    async fn complete(&self, parts: &Parts, settler: &dyn Settler) -> Result<()> {
        let mut tries = 0;
        loop {
            let (scope, claim) = self.claim_for(settler.assignment(), parts);
            let error = match self.completer.complete(scope, claim).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            tries += 1;
            let gone = settler.revocation(parts).is_some();
            if gone || !error.is_retryable() || tries > self.options.retries {
                return Err(error.context("the event was not recorded as handled"));
            }
            let wait = self.options.backoff.delay(tries, &self.runtime);
            self.runtime.sleep(wait).await;
        }
    }

    fn claims(&self) -> MutexGuard<'_, Claims> {
        lock(&self.claims)
    }
}

#[async_trait]
impl Interceptor for Once {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        let mut admissions = vec![Admission::Pass; deliveries.len()];
        let mut asked: Vec<Asked> = Vec::with_capacity(deliveries.len());
        let mut in_batch = std::collections::BTreeSet::new();
        for (at, delivery) in deliveries.iter().enumerate() {
            let one = self.asked(at, delivery.assignment(), delivery.parts());
            let local = self
                .claims()
                .look(&one.key, &one.origin, self.runtime.now());
            // The store could not tell the two apart: both are claimed by us.
            match local {
                Local::Busy(busy) => admissions[at] = self.soon(busy),
                Local::Free if in_batch.insert(one.key.clone()) => asked.push(one),
                Local::Free => admissions[at] = self.soon(Duration::ZERO),
            }
        }
        let claimed = self.claim(&mut asked).await?;
        for (asked, claimed) in asked.into_iter().zip(claimed) {
            let at = asked.at;
            admissions[at] = self.decide(asked, claimed).await?;
        }
        Ok(admissions)
    }

    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        Settling::pending(async move {
            let asked = self.asked(0, next.settler().assignment(), parts);
            if matches!(settlement, Settlement::Ack) && is_recorded(parts, next.settler()) {
                self.complete(parts, next.settler()).await?;
                self.claims()
                    .drop_ours(&asked.key, &asked.origin, asked.ticket);
                return next.settle(parts, settlement).await;
            }
            // Dropped at the end, or with this future, but after the claim is given up: otherwise
            // the redelivered event could meet its own claim.
            let _dropping = Dropping {
                claims: &self.claims,
                asked: &asked,
            };
            release(&*self.store, &self.claims, &asked).await;
            next.settle(parts, settlement).await
        })
    }

    fn abandoned(&self, parts: &Parts, settler: &dyn Settler, _: Abandoned) {
        let asked = self.asked(0, settler.assignment(), parts);
        let (store, claims) = (self.store.clone(), self.claims.clone());
        let releasing = async move {
            let dropping = Dropping {
                claims: &claims,
                asked: &asked,
            };
            release(&*store, &claims, &asked).await;
            drop(dropping);
        };
        self.runtime.spawn(releasing).detach();
    }
}

fn check_count(outcomes: usize, claims: usize) -> Result<()> {
    if outcomes == claims {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Internal,
        format!("the store returned {outcomes} outcomes for {claims} claims"),
    ))
}

/// Removes a claim from those held here.
struct Dropping<'a> {
    claims: &'a Mutex<Claims>,
    asked: &'a Asked,
}

impl Drop for Dropping<'_> {
    fn drop(&mut self) {
        let Asked {
            key,
            origin,
            ticket,
            ..
        } = self.asked;
        lock(self.claims).drop_ours(key, origin, *ticket);
    }
}

/// Returns whether an ack records the event as handled, given why it may no longer be settled.
///
/// It does not if the delivery is superseded: an earlier event of its key must be handled first and
/// this one again after it, which a record would prevent. For every other reason (the lease is lost
/// or handed over, the deadline has passed, the consumer is closed) the effect has happened in
/// order, and only the settlement in the stream is refused. The record keeps the next receiver from
/// repeating it, unless that one holds the claim already: then the store refuses the record.
fn is_recorded(parts: &Parts, settler: &dyn Settler) -> bool {
    settler.revocation(parts) != Some(Revocation::Superseded)
}

/// Gives a claim up, unless a later delivery of the event works on it. If that fails, the claim
/// expires or is claimed again by this process.
async fn release(store: &dyn IdempotencyStore, claims: &Mutex<Claims>, asked: &Asked) {
    let is_another_or_local = {
        let claims = lock(claims);
        claims.is_with_another(&asked.key, &asked.origin, asked.ticket)
            || claims.is_local(&asked.key)
    };
    if is_another_or_local {
        return;
    }
    let claims = std::slice::from_ref(&asked.claim);
    for released in store.release(&asked.scope, claims).await {
        if let Err(error) = released {
            tracing::debug!(event = %asked.claim.id, %error, "a claim was not released");
        }
    }
}

/// Renews the claims of long-running handlers, until none is left.
async fn beat(
    store: Arc<dyn IdempotencyStore>,
    claims: Arc<Mutex<Claims>>,
    runtime: Runtime,
    every: Duration,
) {
    loop {
        runtime.sleep(every).await;
        let old = {
            let mut claims = lock(&claims);
            if claims.is_idle() {
                claims.beating = false;
                return;
            }
            claims.older_than(every / 2, runtime.now())
        };
        for (scope, old) in old {
            let renewed = store.heartbeat(&scope, &old).await;
            for (claim, error) in old
                .iter()
                .zip(renewed)
                .filter_map(|(it, e)| Some((it, e.err()?)))
            {
                tracing::warn!(event = %claim.id, group = %scope.group, %error,
                    "a claim was not renewed");
            }
        }
    }
}
