//! Tests queues (rule 13): free delivery if the queue claims no order, and followers that wait
//! behind a failing event if it does. Logs run the same cases.

use std::time::Duration;

use aqueduct_core::{Capability, DeadLetterQuery, DeadLetterReason, Event};
use aqueduct_layers::OnExhausted;

use super::dead::{layer, only_dead_letter};
use super::dead_letters::listed;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::ack_all;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{Seen, interleaved, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow every_failure_of_an_event_is_counted, [4, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::HandlerAttempts)]),
    case!(Flow exhausted_event_alone_becomes_a_dead_letter, [4, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::HandlerAttempts)]),
    case!(Flow long_handling_keeps_its_event, [1, 13], [Need::Producer, Need::Consumer]),
    case!(Flow delayed_event_is_not_delivered_early, [13], [Need::Producer, Need::Consumer, Need::Can(Capability::DelayedNack)]),
    case!(Flow followers_of_a_failing_event_stay_innocent, [4, 5, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder), Need::Can(Capability::HandlerAttempts), Need::Can(Capability::DeadLetters)]),
    case!(Flow failing_key_is_given_back_in_order, [2, 13, 14], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow dead_consumers_key_comes_again_in_order, [1, 2, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
];

async fn every_failure_of_an_event_is_counted(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    for attempt in 1..=4 {
        let delivery = member.next(context).await?;
        check_eq!(delivery.attempt(), attempt, "the attempt");
        match attempt % 2 {
            0 => drop(delivery),
            _ => delivery.nack(Duration::from_millis(5)).await?,
        }
    }
    let last = member.next(context).await?;
    check_eq!(last.attempt(), 5, "the attempt after four failures");
    last.ack().await?;
    member.silent(context).await?;
    member.close(context).await
}

async fn exhausted_event_alone_becomes_a_dead_letter(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let layer = layer(context, &dead_letters, 3, OnExhausted::DeadLetter)?;
    let member = harness.join("group").behind(layer).open().await?;
    let event = keyed("k", 0);
    harness.send(std::slice::from_ref(&event)).await?;
    for attempt in 1..=3 {
        let delivery = member.next(context).await?;
        check_eq!(delivery.attempt(), attempt, "the attempt");
        delivery.nack(Duration::from_millis(5)).await?;
    }
    member.silent(context).await?;
    let dead_letter = only_dead_letter(context, &*dead_letters).await?.dead_letter;
    check_eq!(
        dead_letter.event.id(),
        event.id(),
        "the event in the dead letter"
    );
    check_eq!(
        dead_letter.reason,
        DeadLetterReason::Exhausted,
        "why it is a dead letter"
    );
    check_eq!(dead_letter.attempts, 3, "its attempts");
    member.close(context).await
}

async fn long_handling_keeps_its_event(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").mortal().open().await?;
    let other = harness.join("group").mortal().elsewhere().open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    let (member, other) = match context.quiet(other.next(context)).await {
        // Either consumer may receive it.
        Some(delivery) => hold(context, delivery?, member, other).await?,
        None => {
            let delivery = member.next(context).await?;
            hold(context, delivery, other, member).await?
        }
    };
    member.close(context).await?;
    other.close(context).await
}

/// Handles an event for three visibility time-outs, while another consumer looks for it.
async fn hold(
    context: &Context<'_>,
    delivery: aqueduct_core::Delivery,
    other: crate::member::Member,
    owner: crate::member::Member,
) -> Outcome<(crate::member::Member, crate::member::Member)> {
    for _ in 0..3 {
        context.runtime.sleep(context.timing.lease_ttl).await;
        other.silent(context).await.during("while it is handled")?;
    }
    check!(
        delivery.revoked().reason().is_none(),
        "a running handler lost its event"
    );
    delivery
        .ack()
        .await
        .during("acknowledging after a long time")?;
    context
        .within("a flush", owner.consumer().flush())
        .await??;
    other.silent(context).await.during("after it was handled")?;
    owner.silent(context).await.during("after it was handled")?;
    Ok((owner, other))
}

async fn delayed_event_is_not_delivered_early(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").mortal().open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    let delay = context.timing.lease_ttl * 2;
    let nacked = context.runtime.now();
    member.next(context).await?.nack(delay).await?;
    let other = harness.join("group").mortal().elsewhere().open().await?;
    let delivery = {
        let (mine, theirs) = (member.next(context), other.next(context));
        futures::pin_mut!(mine, theirs);
        futures::future::select(mine, theirs)
            .await
            .factor_first()
            .0?
    };
    let waited = context.runtime.now().since(nacked);
    check!(
        waited >= delay.mul_f64(0.9),
        "redelivered after {waited:?}, expected {delay:?}"
    );
    delivery.ack().await?;
    member.close(context).await?;
    other.close(context).await
}

async fn followers_of_a_failing_event_stay_innocent(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let layer = layer(context, &dead_letters, 6, OnExhausted::DeadLetter)?;
    let member = harness.join("group").mortal().behind(layer).open().await?;
    let events: Vec<Event> = (0..8).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let pause = context.timing.lease_ttl / 2;
    for attempt in 1..=5 {
        let delivery = member.next(context).await?;
        check_eq!(
            (number(delivery.event())?, delivery.attempt()),
            (0, attempt),
            "the failing event"
        );
        delivery.nack(pause).await?;
    }
    member.next(context).await?.ack().await?;
    for n in 1..8 {
        let delivery = member.next(context).await?;
        check_eq!(
            (number(delivery.event())?, delivery.attempt()),
            (n, 1),
            "a follower and its attempt"
        );
        delivery.ack().await?;
    }
    let found = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check!(found.is_empty(), "a follower became a dead letter");
    member.close(context).await
}

async fn failing_key_is_given_back_in_order(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    let events: Vec<Event> = (0..6).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let delay = context.timing.quiet;
    member.next(context).await?.nack(delay).await?;
    member.close(context).await?;
    let successor = harness.join("group").elsewhere().open().await?;
    let mut seen = Seen::default();
    successor.work(context, &mut seen, events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn dead_consumers_key_comes_again_in_order(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").mortal().open().await?;
    let events = interleaved(&["a", "b"], 6);
    harness.send(&events).await?;
    let out = member.take(context, 2).await?;
    member.crash();
    drop(out);
    let successor = harness.join("group").mortal().elsewhere().open().await?;
    let mut seen = Seen::default();
    while seen.distinct() < events.len() {
        let receiving = successor.consumer().receive_batch(3);
        let received = context
            .within("the events of the dead consumer", receiving)
            .await??;
        for delivery in &received {
            seen.note(delivery.event());
        }
        ack_all(received).await?;
    }
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    successor.close(context).await
}
