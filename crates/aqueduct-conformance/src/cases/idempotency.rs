use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Capability, Claimed, ErrorKind, Event, EventClaim, GroupName, IdempotencyScope,
    IdempotencyStore, PartitionId,
};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::stop::{Outcome, Stop, check, check_eq};
use crate::workload::{counted, keyed};

pub(super) const CASES: &[Case] = &[
    case!(Store claim_is_new_once, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store completed_stays_completed, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store released_claim_is_free, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store newer_generation_takes_over, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store generations_compare_within_one_stream, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store fenced_completion_is_refused, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store heartbeat_shows_a_living_claimer, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store scopes_do_not_suppress_each_other, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store source_and_id_make_the_event, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store batches_of_claims_are_index_aligned, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store one_of_many_claimers_wins, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store purge_removes_the_old_alone, [12], [Need::Can(Capability::Idempotency)]),
    case!(Store peer_sees_the_same_records, [12], [Need::Can(Capability::Idempotency), Need::Peer]),
];

async fn claim_is_new_once(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, theirs) = two_claims();
    check_eq!(
        claim(&*store, &mine).await?,
        Claimed::New,
        "the first claim"
    );
    let repeated = claim(&*store, &mine).await?;
    let once = matches!(repeated, Claimed::New | Claimed::Again);
    check!(once, "repeating a claim returned {repeated:?}");
    match claim(&*store, &theirs).await? {
        Claimed::Held { nonce, .. } => check_eq!(nonce, mine.nonce, "the nonce of the claimer"),
        other => check!(false, "a second claimer got {other:?}"),
    }
    Ok(())
}

async fn completed_stays_completed(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, theirs) = two_claims();
    claim(&*store, &mine).await?;
    for time in ["the first time", "the second time"] {
        let done = store.complete(&scope(0), std::slice::from_ref(&mine)).await;
        check!(matches!(done[..], [Ok(())]), "completing {time}: {done:?}");
    }
    for who in [&mine, &theirs, &newer(&mine)] {
        check_eq!(
            claim(&*store, who).await?,
            Claimed::Completed,
            "a claim after completion"
        );
    }
    let released = store.release(&scope(0), std::slice::from_ref(&mine)).await;
    check_eq!(released.len(), 1, "outcomes of a release");
    check_eq!(
        claim(&*store, &theirs).await?,
        Claimed::Completed,
        "a claim after a late release"
    );
    Ok(())
}

async fn released_claim_is_free(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, theirs) = two_claims();
    claim(&*store, &mine).await?;
    let _ = store
        .release(&scope(0), std::slice::from_ref(&theirs))
        .await;
    let held = claim(&*store, &theirs).await?;
    check!(
        matches!(held, Claimed::Held { .. }),
        "a stranger's release freed it: {held:?}"
    );
    let released = store.release(&scope(0), std::slice::from_ref(&mine)).await;
    check!(
        matches!(released[..], [Ok(())]),
        "the release: {released:?}"
    );
    let free = claim(&*store, &theirs).await?;
    check!(
        matches!(free, Claimed::New | Claimed::Again),
        "a claim after the release: {free:?}"
    );
    Ok(())
}

async fn newer_generation_takes_over(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, _) = two_claims();
    claim(&*store, &mine).await?;
    let successor = newer(&mine);
    let taken = claim(&*store, &successor).await?;
    check_eq!(taken, Claimed::Again, "a claim of the next generation");
    let late = claim(&*store, &mine).await?;
    check!(
        matches!(late, Claimed::Held { .. }),
        "the older generation claims again: {late:?}"
    );
    let mut elsewhere = newer(&successor);
    elsewhere.partition = Some(PartitionId::new("another"));
    elsewhere.nonce = 99;
    let other = claim(&*store, &elsewhere).await?;
    check!(
        matches!(other, Claimed::Held { .. }),
        "generations of two partitions must not be compared, but a claim returned {other:?}"
    );
    Ok(())
}

/// Partition ids repeat across streams: a group over several streams has a partition `0` in each.
async fn generations_compare_within_one_stream(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, _) = two_claims();
    claim(&*store, &mine).await?;
    let mut elsewhere = newer(&mine);
    elsewhere.stream = Some("returns".into());
    match claim(&*store, &elsewhere).await? {
        Claimed::Held { nonce, .. } => check_eq!(nonce, mine.nonce, "the nonce of the claimer"),
        other => check!(
            false,
            "a newer generation of the same partition of another stream claimed: {other:?}"
        ),
    }
    let done = store.complete(&scope(0), &[elsewhere]).await;
    let refused = matches!(&done[..], [Err(error)] if error.is(ErrorKind::Conflict));
    check!(
        refused,
        "completion for another stream's partition: {done:?}"
    );
    let done = store.complete(&scope(0), &[newer(&mine)]).await;
    check!(
        matches!(done[..], [Ok(())]),
        "completion by the newer generation of the stream: {done:?}"
    );
    Ok(())
}

async fn fenced_completion_is_refused(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, _) = two_claims();
    claim(&*store, &mine).await?;
    let successor = newer(&mine);
    claim(&*store, &successor).await?;
    let late = store.complete(&scope(0), std::slice::from_ref(&mine)).await;
    let kind = late
        .into_iter()
        .next()
        .and_then(Result::err)
        .map(|error| error.kind());
    check_eq!(
        kind,
        Some(ErrorKind::Conflict),
        "completion by the older generation"
    );
    let done = store
        .complete(&scope(0), std::slice::from_ref(&successor))
        .await;
    check!(
        matches!(done[..], [Ok(())]),
        "completion by the newer generation: {done:?}"
    );
    let late = store.complete(&scope(0), std::slice::from_ref(&mine)).await;
    check!(
        matches!(late[..], [Ok(())]),
        "completing a completed record: {late:?}"
    );
    Ok(())
}

async fn heartbeat_shows_a_living_claimer(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, theirs) = two_claims();
    claim(&*store, &mine).await?;
    let mut last = heartbeat(&*store, &theirs).await?;
    for _ in 0..3 {
        let still = heartbeat(&*store, &theirs).await?;
        check_eq!(still, last, "the heartbeat of an idle claimer");
        let beat = store
            .heartbeat(&scope(0), std::slice::from_ref(&mine))
            .await;
        check!(matches!(beat[..], [Ok(())]), "the heartbeat: {beat:?}");
        let next = heartbeat(&*store, &theirs).await?;
        check!(next > last, "the heartbeat stays at {last}");
        last = next;
    }
    Ok(())
}

async fn scopes_do_not_suppress_each_other(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let (mine, _) = two_claims();
    claim(&*store, &mine).await?;
    let _ = store.complete(&scope(0), std::slice::from_ref(&mine)).await;
    let mut group = scope(0);
    group.group = GroupName::new("another");
    let mut handlers = scope(0);
    handlers.handlers = "another".into();
    for other in [group, handlers, scope(1)] {
        let claimed = store.claim(&other, std::slice::from_ref(&mine)).await?;
        check_eq!(claimed, vec![Claimed::New], "a claim in {other:?}");
    }
    Ok(())
}

async fn source_and_id_make_the_event(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let event = keyed("k", 0).with_id("7");
    let others = [
        keyed("k", 0).with_id("8"),
        keyed("k", 0).with_id("7").with_source("/elsewhere"),
        keyed("k", 0).with_id("ü7"),
    ];
    claim(&*store, &EventClaim::new(&event, 1)).await?;
    for other in &others {
        let claimed = claim(&*store, &EventClaim::new(other, 2)).await?;
        check_eq!(
            claimed,
            Claimed::New,
            "event {} of {}",
            other.id(),
            other.source()
        );
    }
    Ok(())
}

async fn batches_of_claims_are_index_aligned(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let events: Vec<Event> = (0..120).map(counted).collect();
    let claims: Vec<EventClaim> = events
        .iter()
        .map(|event| EventClaim::new(event, 1))
        .collect();
    let third: Vec<EventClaim> = claims.iter().step_by(3).cloned().collect();
    store.claim(&scope(0), &third).await?;
    let done = store.complete(&scope(0), &third).await;
    check!(
        done.len() == third.len() && done.iter().all(Result::is_ok),
        "completions: {done:?}"
    );
    let outcomes = store.claim(&scope(0), &claims).await?;
    check_eq!(
        outcomes.len(),
        claims.len(),
        "outcomes of a batch of claims"
    );
    for (at, outcome) in outcomes.iter().enumerate() {
        let expected = if at % 3 == 0 {
            Claimed::Completed
        } else {
            Claimed::New
        };
        check_eq!(*outcome, expected, "the outcome at index {at}");
    }
    check!(
        store.claim(&scope(0), &[]).await?.is_empty(),
        "an empty batch of claims returned outcomes"
    );
    Ok(())
}

async fn one_of_many_claimers_wins(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    for round in 0..10 {
        let event = counted(round);
        let racing = (1..=8).map(|nonce| {
            let (store, claim) = (store.clone(), EventClaim::new(&event, nonce));
            context.spawn(async move { store.claim(&scope(0), &[claim]).await })
        });
        let mut winners = 0;
        for outcome in futures::future::join_all(racing).await {
            let outcomes = outcome??;
            winners += usize::from(matches!(outcomes[..], [Claimed::New | Claimed::Again]));
        }
        check_eq!(winners, 1, "claimers that won round {round}");
    }
    Ok(())
}

async fn purge_removes_the_old_alone(context: &Context<'_>) -> Outcome {
    let store = store(context).await?;
    let claim_of = |n: u64| EventClaim::new(&counted(n), n + 1);
    let (old, running) = (claim_of(0), claim_of(1));
    claim(&*store, &old).await?;
    claim(&*store, &running).await?;
    let _ = store.complete(&scope(0), std::slice::from_ref(&old)).await;
    let wall = context.runtime.wall();
    store
        .purge(wall.saturating_sub(Duration::from_secs(3600)))
        .await?;
    check_eq!(
        claim(&*store, &old).await?,
        Claimed::Completed,
        "a claim completed just now"
    );
    store
        .purge(wall.saturating_add(Duration::from_secs(3600)))
        .await?;
    check_eq!(claim(&*store, &old).await?, Claimed::New, "a purged record");
    let mut other = running.clone();
    other.nonce = 77;
    let held = claim(&*store, &other).await?;
    check!(
        matches!(held, Claimed::Held { .. }),
        "a running claim was purged: {held:?}"
    );
    Ok(())
}

async fn peer_sees_the_same_records(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let store = harness.idempotency().await?;
    let Some(peer) = &harness.subject.peer else {
        return Err(Stop::Lacking(
            "the fixture cannot open a stream as another process".to_owned(),
        ));
    };
    let Ok(theirs) = peer.idempotency(context.runtime).await else {
        return Err(Stop::NotClaimed(
            "the records are stored outside the stream".to_owned(),
        ));
    };
    let (mine, rival) = two_claims();
    claim(&*store, &mine).await?;
    let held = claim(&*theirs, &rival).await?;
    check!(
        matches!(held, Claimed::Held { .. }),
        "the peer's claim returned {held:?}"
    );
    let _ = store.complete(&scope(0), std::slice::from_ref(&mine)).await;
    check_eq!(
        claim(&*theirs, &rival).await?,
        Claimed::Completed,
        "the peer, after completion"
    );
    Ok(())
}

async fn store(context: &Context<'_>) -> Outcome<Arc<dyn IdempotencyStore>> {
    context.harness(1).await?.idempotency().await
}

fn scope(replay: u64) -> IdempotencyScope {
    IdempotencyScope {
        group: GroupName::new("group"),
        handlers: "handlers".into(),
        replay,
    }
}

/// Returns two claimers of one event in the same partition and generation.
fn two_claims() -> (EventClaim, EventClaim) {
    let event = keyed("k", 0);
    let claim = |nonce| {
        EventClaim::new(&event, nonce).from_partition("orders".into(), PartitionId::new("0"), 3)
    };
    (claim(1), claim(2))
}

fn newer(claim: &EventClaim) -> EventClaim {
    let mut newer = claim.clone();
    newer.generation += 1;
    newer.nonce += 10;
    newer
}

async fn claim(store: &dyn IdempotencyStore, claim: &EventClaim) -> Outcome<Claimed> {
    let mut outcomes = store.claim(&scope(0), std::slice::from_ref(claim)).await?;
    check_eq!(outcomes.len(), 1, "outcomes of one claim");
    Ok(outcomes.remove(0))
}

async fn heartbeat(store: &dyn IdempotencyStore, stranger: &EventClaim) -> Outcome<u64> {
    match claim(store, stranger).await? {
        Claimed::Held { heartbeat, .. } => Ok(heartbeat),
        other => Err(Stop::failed(format!("a second claimer got {other:?}"))),
    }
}
