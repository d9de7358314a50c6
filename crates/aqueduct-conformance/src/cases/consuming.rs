use std::time::Duration;

use aqueduct_core::{Capability, Event};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::ack_all;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{Seen, counted, interleaved, keyed, number};
use crate::wrap::cancel_after;

pub(super) const CASES: &[Case] = &[
    case!(Flow two_groups_see_all, [1], [Need::Producer, Need::Consumer, Need::Can(Capability::Groups)]),
    case!(Flow consumer_keeps_key_order, [2], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow delivery_says_where_it_comes_from, [6], [Need::Producer, Need::Group]),
    case!(Flow key_in_flight_is_not_delivered_elsewhere, [2], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow out_of_order_acks_resume_at_the_first_unsettled, [1, 3], [Need::Producer, Need::Consumer]),
    case!(Flow flushed_acks_survive_a_crash, [1, 3], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
    case!(Flow acks_are_committed_in_time, [3], [Need::Producer, Need::Consumer]),
    case!(Flow commits_do_not_follow_the_event_rate, [3], [Need::Producer, Need::Group]),
    case!(Flow cancelled_receive_gains_no_attempt, [1, 2], [Need::Producer, Need::Consumer]),
];

async fn two_groups_see_all(context: &Context<'_>) -> Outcome {
    let harness = context.harness(3).await?;
    let (one, other) = (
        harness.join("one").open().await?,
        harness.join("other").open().await?,
    );
    let events = interleaved(&["a", "b", "c", "d", "e"], 10);
    harness.send(&events).await?;
    for member in [one, other] {
        let mut seen = Seen::default();
        member.work(context, &mut seen, events.len()).await?;
        member.silent(context).await?;
        seen.check_complete(&events)?;
        seen.check_once()?;
        member.close(context).await?;
    }
    Ok(())
}

async fn consumer_keeps_key_order(context: &Context<'_>) -> Outcome {
    let harness = context.harness(3).await?;
    let member = harness.join("group").open().await?;
    let events = interleaved(&["a", "b", "c", "d", "e", "f", "g", "h"], 60);
    let mut seen = Seen::default();
    let sending = harness.send(&events);
    let working = member.work(context, &mut seen, events.len());
    futures::try_join!(sending, working)?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    member.close(context).await
}

async fn delivery_says_where_it_comes_from(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let member = harness.join("group").open().await?;
    // One event of each key: a second need not be delivered while the first is in flight.
    let events = interleaved(&["a", "b", "c", "d", "e", "f", "g", "h"], 1);
    let receipts = harness.send(&events).await?;
    for delivery in member.take(context, events.len()).await? {
        let key = delivery.event().key().unwrap_or_default().to_owned();
        check_eq!(
            delivery.stream(),
            harness.subject.stream.stream(),
            "the stream of {key}"
        );
        check_eq!(
            delivery.assignment().group.as_str(),
            "group",
            "the group of {key}"
        );
        check!(delivery.generation() > 0, "{key} has no generation");
        check_eq!(delivery.attempt(), 1, "the attempt at {key}");
        let at = events
            .iter()
            .position(|event| event.id() == delivery.event().id());
        let receipt = at
            .and_then(|at| receipts.get(at))
            .cloned()
            .unwrap_or_default();
        let place = (delivery.partition().cloned(), delivery.position());
        check!(
            place.0.is_some() && place.1.is_some(),
            "{key} has no position: {place:?}"
        );
        if receipt.position.is_some() {
            check_eq!(
                place,
                (receipt.partition, receipt.position),
                "the position of {key}"
            );
        }
        check!(
            delivery.revoked().reason().is_none(),
            "{key} is revoked at once"
        );
        delivery
            .extend(Duration::from_secs(1))
            .await
            .during("extending without a deadline")?;
        delivery.ack().await?;
    }
    member.close(context).await
}

async fn key_in_flight_is_not_delivered_elsewhere(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..12).map(|n| keyed("k", n)).collect();
    let member = harness.join("group").open().await?;
    harness.send(&events).await?;
    let mut next = 0;
    while next < 12 {
        let run = member.consumer().receive_batch(3);
        let run = context.within("a run", run).await??;
        check!(
            !run.is_empty() && run.len() <= 3,
            "asked for 3, got {}",
            run.len()
        );
        for delivery in &run {
            check_eq!(number(delivery.event())?, next, "the next event of the key");
            next += 1;
        }
        if next <= 6 {
            member
                .silent(context)
                .await
                .during("while a run of its key is in flight")?;
        }
        ack_all(run).await?;
    }
    member.close(context).await
}

async fn out_of_order_acks_resume_at_the_first_unsettled(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..10).map(counted).collect();
    let member = harness.join("group").mortal().open().await?;
    harness.send(&events).await?;
    let mut taken = member.take(context, 10).await?;
    taken.sort_by_key(|delivery| number(delivery.event()).unwrap_or(u64::MAX));
    let unsettled = taken.remove(4);
    while let Some(delivery) = taken.pop() {
        delivery
            .ack()
            .await
            .during("acknowledging from the last to the first")?;
    }
    context
        .within("a flush", member.consumer().flush())
        .await??;
    member.crash();
    drop(unsettled);
    let successor = harness.join("group").mortal().elsewhere().open().await?;
    let first = successor.next(context).await?;
    check_eq!(number(first.event())?, 4, "the first event after the crash");
    first.ack().await?;
    let later = context.quiet(successor.take(context, 6)).await;
    check!(
        later.is_none(),
        "events before the first unsettled one were redelivered"
    );
    successor.close(context).await
}

async fn flushed_acks_survive_a_crash(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..10).map(|n| keyed("k", n)).collect();
    let member = harness
        .join("group")
        .mortal()
        .with(|options| {
            options.commit_interval = context.timing.case;
            options.commit_count = usize::MAX;
        })
        .open()
        .await?;
    harness.send(&events).await?;
    for _ in 0..5 {
        member.next(context).await?.ack().await?;
    }
    context
        .within("a flush", member.consumer().flush())
        .await??;
    member.crash();
    let successor = harness.join("group").mortal().elsewhere().open().await?;
    let mut seen = Seen::default();
    successor.work(context, &mut seen, 5).await?;
    successor.silent(context).await?;
    seen.check_complete(&events[5..])?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn acks_are_committed_in_time(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events: Vec<Event> = (0..6).map(|n| keyed("k", n)).collect();
    let member = harness.join("group").mortal().open().await?;
    harness.send(&events).await?;
    let mut seen = Seen::default();
    member.work(context, &mut seen, 6).await?;
    context.runtime.sleep(context.timing.lease_ttl).await;
    member.crash();
    let successor = harness.join("group").mortal().elsewhere().open().await?;
    harness.send(&[keyed("k", 6)]).await?;
    let next = successor.next(context).await?;
    check_eq!(
        number(next.event())?,
        6,
        "the first event after those acknowledged long ago"
    );
    next.ack().await?;
    successor.close(context).await
}

async fn commits_do_not_follow_the_event_rate(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let min = context.timing.quiet;
    let member = harness
        .join("group")
        .with(|options| {
            options.commit_interval = min * 4;
            options.commit_min = min;
            options.commit_count = 10;
        })
        .open()
        .await?;
    let events: Vec<Event> = (0..1_000).map(counted).collect();
    harness.send(&events).await?;
    let began = context.runtime.now();
    let mut seen = Seen::default();
    member.work(context, &mut seen, events.len()).await?;
    let took = context.runtime.now().since(began);
    let writes = member.lease_faults().writes();
    let fit = (took.as_secs_f64() / min.as_secs_f64()) as usize + 4;
    check!(
        writes <= fit,
        "{writes} commits in {took:?}, expected at most one every {min:?}"
    );
    member.close(context).await
}

async fn cancelled_receive_gains_no_attempt(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let member = harness.join("group").open().await?;
    let events = interleaved(&["a", "b", "c", "d"], 20);
    let mut seen = member.seen();
    let mut note = |delivery: &aqueduct_core::Delivery| {
        check_eq!(
            delivery.attempt(),
            1,
            "the attempt at {:?}",
            delivery.event()
        );
        check!(
            seen.note(delivery.event()),
            "{:?} came twice",
            delivery.event()
        );
        Ok(())
    };
    for (round, call) in events.chunks(4).enumerate() {
        harness.send(call).await?;
        for polls in [1, 2, 1 + round % 7] {
            let limit = context.runtime.sleep(Duration::from_millis(4));
            let receiving = member.consumer().receive_batch(3);
            if let Some(received) = cancel_after(polls, receiving, limit).await {
                for delivery in received.during("receiving")? {
                    note(&delivery)?;
                    delivery.ack().await?;
                }
            }
        }
    }
    let mut left = events.len();
    loop {
        left = left.saturating_sub(1);
        let receiving = member.consumer().receive_batch(10);
        let Some(received) = context.quiet(receiving).await else {
            break;
        };
        for delivery in received.during("receiving")? {
            note(&delivery)?;
            delivery.ack().await?;
        }
        check!(left > 0, "deliveries do not stop");
    }
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    member.close(context).await
}
