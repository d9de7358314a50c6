use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Capability, Event, Start};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_layers::{Idempotency, IdempotencyOptions};

use crate::bench::Bench;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::{Join, Member};
use crate::stop::{During as _, Outcome, check_eq};
use crate::workload::{Seen, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow repeated_event_is_handled_once, [12], [Need::Producer, Need::Consumer, Need::Can(Capability::Idempotency)]),
    case!(Flow two_groups_on_one_store_both_handle, [12], [Need::Producer, Need::Consumer, Need::Can(Capability::Idempotency), Need::Can(Capability::Groups)]),
    case!(Flow failed_event_is_handled_again, [12], [Need::Producer, Need::Consumer, Need::Can(Capability::Idempotency), Need::Can(Capability::KeyOrder)]),
    case!(Flow handled_event_stays_handled_after_a_crash, [12], [Need::Producer, Need::Group, Need::Can(Capability::Idempotency)]),
    case!(Flow new_owner_handles_what_the_dead_one_claimed, [12], [Need::Producer, Need::Group, Need::Can(Capability::Idempotency)]),
    case!(Flow replay_handles_everything_again, [7, 12], [Need::Producer, Need::Group, Need::Can(Capability::Idempotency), Need::Can(Capability::Replay)]),
];

async fn repeated_event_is_handled_once(context: &Context<'_>) -> Outcome {
    let bench = context.bench(2).await?;
    let member = once(&bench, bench.join("group")).await?.open().await?;
    let events: Vec<Event> = (0..5).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
    bench.send(&events).await?;
    let end = keyed("k", 99);
    bench.send(std::slice::from_ref(&end)).await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 6).await?;
    member.silent(context).await?;
    seen.check_once()?;
    seen.check_order(&events)?;
    member.close(context).await?;
    let plain = bench.join("group").open().await?;
    plain
        .silent(context)
        .await
        .during("checking that suppressed duplicates are settled")?;
    plain.close(context).await
}

async fn two_groups_on_one_store_both_handle(context: &Context<'_>) -> Outcome {
    let bench = context.bench(1).await?;
    let one = once(&bench, bench.join("one")).await?.open().await?;
    let other = once(&bench, bench.join("other")).await?.open().await?;
    let events: Vec<Event> = (0..4).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
    for member in [one, other] {
        let mut seen = Seen::default();
        member.work(context, &mut seen, events.len()).await?;
        seen.check_order(&events)?;
        member.close(context).await?;
    }
    Ok(())
}

async fn failed_event_is_handled_again(context: &Context<'_>) -> Outcome {
    let bench = context.bench(1).await?;
    let member = once(&bench, bench.join("group")).await?.open().await?;
    bench.send(&[keyed("k", 0), keyed("k", 1)]).await?;
    member.next(context).await?.nack(None).await?;
    drop(member.next(context).await?);
    let again = member.next(context).await?;
    check_eq!(number(again.event())?, 0, "the event that failed");
    again.ack().await?;
    let next = member.next(context).await?;
    check_eq!(
        (number(next.event())?, next.attempt()),
        (1, 1),
        "the event behind it"
    );
    next.ack().await?;
    member.silent(context).await?;
    member.close(context).await
}

async fn handled_event_stays_handled_after_a_crash(context: &Context<'_>) -> Outcome {
    let bench = context.bench(1).await?;
    let forgetful = bench.join("group").mortal().with(|options| {
        options.commit_interval = context.timing.case;
        options.commit_count = usize::MAX;
    });
    let member = once(&bench, forgetful).await?.open().await?;
    let events: Vec<Event> = (0..6).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
    for _ in 0..4 {
        member.next(context).await?.ack().await?;
    }
    member.crash();
    let successor = bench.join("group").mortal().elsewhere();
    let successor = once(&bench, successor).await?.open().await?;
    let mut seen = Seen::default();
    successor.work(context, &mut seen, 2).await?;
    successor.silent(context).await?;
    seen.check_complete(&events[4..])?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn new_owner_handles_what_the_dead_one_claimed(context: &Context<'_>) -> Outcome {
    let bench = context.bench(1).await?;
    // The claim outlives the suite's deadline, so only a newer generation can take it.
    let life = context.timing.case * 3;
    let joining = bench.join("group").mortal();
    let member = once_for(&bench, joining, life).await?.open().await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
    let held = member.next(context).await?;
    member.crash();
    // Not dropped: a process that dies does not release its claim.
    std::mem::forget(held);
    let successor = bench.join("group").mortal().elsewhere();
    let successor = once_for(&bench, successor, life).await?.open().await?;
    let mut seen = Seen::default();
    successor.work(context, &mut seen, events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn replay_handles_everything_again(context: &Context<'_>) -> Outcome {
    let bench = context.bench(1).await?;
    let events: Vec<Event> = (0..5).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
    handles_all(&bench, &events)
        .await
        .during("before the reset")?;
    let life = context.timing.lease_ttl;
    let options = GroupOptions::new("group".into()).with_lease_ttl(life);
    let (log, leases) = (bench.log().await?, bench.leases().await?);
    let resetting = Group::reset(&*log, &*leases, &Start::Earliest, &options, context.runtime);
    context
        .within("the reset", resetting)
        .await?
        .during("resetting")?;
    handles_all(&bench, &events).await.during("after the reset")
}

async fn handles_all(bench: &Bench<'_>, events: &[Event]) -> Outcome {
    let context = bench.context;
    let member: Member = once(bench, bench.join("group")).await?.open().await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    seen.check_complete(events)?;
    seen.check_once()?;
    member.close(context).await
}

/// Adds an idempotency layer to the member.
async fn once<'a>(bench: &Bench<'_>, join: Join<'a>) -> Outcome<Join<'a>> {
    once_for(bench, join, bench.context.timing.lease_ttl).await
}

/// Adds an idempotency layer whose claims live for `life`.
async fn once_for<'a>(bench: &Bench<'_>, join: Join<'a>, life: Duration) -> Outcome<Join<'a>> {
    let options = IdempotencyOptions {
        life,
        heartbeat: life / 3,
        ..IdempotencyOptions::default()
    };
    let store = bench.idempotency().await?;
    let layer = Idempotency::new(store, options, bench.runtime())?;
    Ok(join.behind(Arc::new(layer)))
}
