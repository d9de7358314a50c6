use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Capability, Event, Start};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_layers::{Idempotency, IdempotencyOptions};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
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
    let harness = context.harness(2).await?;
    let member = once(&harness, harness.join("group")).await?.open().await?;
    let events: Vec<Event> = (0..5).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    harness.send(&events).await?;
    let end = keyed("k", 99);
    harness.send(std::slice::from_ref(&end)).await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 6).await?;
    member.silent(context).await?;
    seen.check_once()?;
    seen.check_order(&events)?;
    member.close(context).await?;
    let plain = harness.join("group").open().await?;
    plain
        .silent(context)
        .await
        .during("checking that suppressed duplicates are settled")?;
    plain.close(context).await
}

async fn two_groups_on_one_store_both_handle(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let one = once(&harness, harness.join("one")).await?.open().await?;
    let other = once(&harness, harness.join("other")).await?.open().await?;
    let events: Vec<Event> = (0..4).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    for member in [one, other] {
        let mut seen = Seen::default();
        member.work(context, &mut seen, events.len()).await?;
        seen.check_order(&events)?;
        member.close(context).await?;
    }
    Ok(())
}

async fn failed_event_is_handled_again(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = once(&harness, harness.join("group")).await?.open().await?;
    harness.send(&[keyed("k", 0), keyed("k", 1)]).await?;
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
    let harness = context.harness(1).await?;
    let forgetful = harness.join("group").mortal().with(|options| {
        options.commit_interval = context.timing.case;
        options.commit_count = usize::MAX;
    });
    let member = once(&harness, forgetful).await?.open().await?;
    let events: Vec<Event> = (0..6).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    for _ in 0..4 {
        member.next(context).await?.ack().await?;
    }
    member.crash();
    let successor = harness.join("group").mortal().elsewhere();
    let successor = once(&harness, successor).await?.open().await?;
    let mut seen = Seen::default();
    successor.work(context, &mut seen, 2).await?;
    successor.silent(context).await?;
    seen.check_complete(&events[4..])?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn new_owner_handles_what_the_dead_one_claimed(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    // The claim outlives the suite's deadline, so only a newer generation can take it.
    let life = context.timing.case * 3;
    let joining = harness.join("group").mortal();
    let member = once_for(&harness, joining, life).await?.open().await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let held = member.next(context).await?;
    member.crash();
    // Not dropped: a process that dies does not release its claim.
    std::mem::forget(held);
    let successor = harness.join("group").mortal().elsewhere();
    let successor = once_for(&harness, successor, life).await?.open().await?;
    let mut seen = Seen::default();
    successor.work(context, &mut seen, events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn replay_handles_everything_again(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..5).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    handles_all(&harness, &events)
        .await
        .during("before the reset")?;
    let life = context.timing.lease_ttl;
    let options = GroupOptions::new("group".into()).with_lease_ttl(life);
    let (log, leases) = (harness.log().await?, harness.leases().await?);
    let resetting = Group::reset(&*log, &*leases, &Start::Earliest, &options, context.runtime);
    context
        .within("the reset", resetting)
        .await?
        .during("resetting")?;
    handles_all(&harness, &events)
        .await
        .during("after the reset")
}

async fn handles_all(harness: &Harness<'_>, events: &[Event]) -> Outcome {
    let context = harness.context;
    let member: Member = once(harness, harness.join("group")).await?.open().await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    seen.check_complete(events)?;
    seen.check_once()?;
    member.close(context).await
}

/// Adds an idempotency layer to the member.
async fn once<'a>(harness: &Harness<'_>, join: Join<'a>) -> Outcome<Join<'a>> {
    once_for(harness, join, harness.context.timing.lease_ttl).await
}

/// Adds an idempotency layer whose claims live for `life`.
async fn once_for<'a>(harness: &Harness<'_>, join: Join<'a>, life: Duration) -> Outcome<Join<'a>> {
    let options = IdempotencyOptions {
        life,
        heartbeat: life / 3,
        ..IdempotencyOptions::default()
    };
    let store = harness.idempotency().await?;
    let layer = Idempotency::new(store, options, harness.runtime())?;
    Ok(join.behind(Arc::new(layer)))
}
