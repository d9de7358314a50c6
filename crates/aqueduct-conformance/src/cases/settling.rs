use std::time::Duration;

use aqueduct_core::{Capability, ErrorKind, Event, Revocation, Settlement};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::settle_late;
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{Seen, interleaved, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow nacked_event_comes_again_in_place, [2, 4, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow nack_waits_for_its_delay, [4, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::DelayedNack)]),
    case!(Flow attempts_count_runs_of_the_handler, [4, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder), Need::Can(Capability::HandlerAttempts)]),
    case!(Flow attempts_survive_a_hand_off, [4, 5], [Need::Producer, Need::Group, Need::Can(Capability::HandlerAttempts)]),
    case!(Flow nack_supersedes_the_rest_of_its_run, [2], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow abandoned_delivery_comes_again, [1, 2], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow deferred_delivery_gains_no_attempt, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::HandlerAttempts)]),
    case!(Store rejection_without_dead_letters_is_refused, [15], [Need::Producer, Need::Group]),
    case!(Flow failing_key_lets_the_others_flow, [2, 4, 13], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
];

async fn nacked_event_comes_again_in_place(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    let events: Vec<Event> = (0..8).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let mut settled = Vec::new();
    let mut failures = 0;
    while settled.len() < events.len() {
        let delivery = member.next(context).await?;
        let n = number(delivery.event())?;
        check_eq!(n, settled.len() as u64, "the next event of the key");
        if n % 3 == 1 && failures % 3 < 2 {
            failures += 1;
            delivery.nack(Duration::from_millis(20)).await?;
        } else {
            failures = 0;
            settled.push(n);
            delivery.ack().await?;
        }
    }
    member.silent(context).await?;
    member.close(context).await
}

async fn nack_waits_for_its_delay(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    for delay in [context.timing.quiet * 2, context.timing.quiet] {
        let delivery = member.next(context).await?;
        let nacked = context.runtime.now();
        delivery.nack(delay).await?;
        let again = member.next(context).await?;
        let waited = context.runtime.now().since(nacked);
        check!(
            waited >= delay.mul_f64(0.9),
            "redelivered after {waited:?}, expected {delay:?}"
        );
        again.nack(None).await?;
    }
    member.next(context).await?.ack().await?;
    member.close(context).await
}

async fn attempts_count_runs_of_the_handler(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0), keyed("k", 1)]).await?;
    for attempt in 1..=4 {
        let delivery = member.next(context).await?;
        check_eq!(number(delivery.event())?, 0, "the failing event");
        check_eq!(delivery.attempt(), attempt, "its attempt");
        delivery.nack(Duration::from_millis(5)).await?;
    }
    let delivery = member.next(context).await?;
    check_eq!(delivery.attempt(), 5, "the attempt after four failures");
    delivery.ack().await?;
    let next = member.next(context).await?;
    check_eq!(
        (number(next.event())?, next.attempt()),
        (1, 1),
        "the event behind it"
    );
    next.ack().await?;
    member.close(context).await
}

async fn attempts_survive_a_hand_off(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0), keyed("k", 1)]).await?;
    member
        .next(context)
        .await?
        .nack(Duration::from_millis(1))
        .await?;
    member
        .next(context)
        .await?
        .nack(context.timing.deadline)
        .await?;
    member.close(context).await?;
    let successor = harness.join("group").elsewhere().open().await?;
    let delivery = successor.next(context).await?;
    check_eq!(number(delivery.event())?, 0, "the failing event");
    check_eq!(
        delivery.attempt(),
        3,
        "its attempt after two failures and a hand-off"
    );
    delivery.ack().await?;
    let next = successor.next(context).await?;
    check_eq!(
        (number(next.event())?, next.attempt()),
        (1, 1),
        "the event behind it"
    );
    next.ack().await?;
    successor.close(context).await
}

async fn nack_supersedes_the_rest_of_its_run(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    let events: Vec<Event> = (0..40).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let mut settled = 0;
    let run = loop {
        let run = context
            .within("a run", member.consumer().receive_batch(5))
            .await??;
        if run.len() > 1 {
            break run;
        }
        for delivery in run {
            delivery.ack().await?;
            settled += 1;
        }
        if settled == events.len() {
            return Err(Stop::NotClaimed(
                "it hands out one event of a key at a time".to_owned(),
            ));
        }
    };
    let count = run.len();
    let mut run = run.into_iter();
    if let Some(first) = run.next() {
        first.nack(Duration::from_millis(10)).await?;
    }
    for later in run {
        check_eq!(
            later.revoked().reason(),
            Some(Revocation::Superseded),
            "why it is revoked"
        );
        let failed = settle_late(context, later).await;
        check_eq!(
            failed,
            Some(ErrorKind::Superseded),
            "settling behind a nacked event"
        );
    }
    for n in settled..settled + count {
        let again = member.next(context).await?;
        check_eq!(
            number(again.event())?,
            n as u64,
            "the redelivered events, in order"
        );
        again.ack().await?;
    }
    member.close(context).await
}

async fn abandoned_delivery_comes_again(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let first = member.next(context).await?;
    check_eq!(
        (number(first.event())?, first.attempt()),
        (0, 1),
        "the first delivery"
    );
    drop(first);
    let again = member.next(context).await?;
    check_eq!(
        (number(again.event())?, again.attempt()),
        (0, 2),
        "the delivery after it"
    );
    again.ack().await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 2).await?;
    seen.check_complete(&events[1..])?;
    member.close(context).await
}

async fn deferred_delivery_gains_no_attempt(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    for _ in 0..3 {
        let delivery = member.next(context).await?;
        check_eq!(delivery.attempt(), 1, "the attempt at a deferred event");
        let delay = Duration::from_millis(10);
        delivery.settle(Settlement::Defer { delay }).await?;
    }
    let delivery = member.next(context).await?;
    check_eq!(delivery.attempt(), 1, "the attempt at a deferred event");
    delivery.ack().await?;
    member.close(context).await
}

async fn rejection_without_dead_letters_is_refused(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    let delivery = member.next(context).await?;
    match delivery.reject("invalid order").await {
        Ok(()) => check!(
            false,
            "a rejection was accepted although there is no dead letter store"
        ),
        Err(failed) => {
            check_eq!(
                failed.error.kind(),
                ErrorKind::Unsupported,
                "rejecting without dead letters"
            );
            failed
                .delivery
                .ack()
                .await
                .during("acknowledging the rejected delivery")?;
        }
    }
    member.silent(context).await?;
    member.close(context).await
}

async fn failing_key_lets_the_others_flow(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    let events = interleaved(&["failing", "a", "b", "c"], 10);
    harness.send(&events).await?;
    let mut others = 0;
    while others < 30 {
        let delivery = member.next(context).await?;
        if delivery.event().key() == Some("failing") {
            check_eq!(
                number(delivery.event())?,
                0,
                "the first event of the failing key"
            );
            delivery.nack(Duration::from_millis(30)).await?;
        } else {
            others += 1;
            delivery.ack().await?;
        }
    }
    for n in 0..10 {
        let delivery = member.next(context).await?;
        check_eq!(
            number(delivery.event())?,
            n,
            "the next event of the key that failed"
        );
        delivery.ack().await?;
    }
    member.close(context).await
}
