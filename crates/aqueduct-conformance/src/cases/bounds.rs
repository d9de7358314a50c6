use aqueduct_core::{Capability, Event};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::Member;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{Seen, counted, interleaved, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow blocked_key_is_named_and_bounded, [10], [Need::Producer, Need::Group]),
    case!(Flow span_of_settled_events_is_bounded, [10], [Need::Producer, Need::Group]),
    case!(Flow unsettled_events_are_bounded, [10], [Need::Producer, Need::Group]),
    case!(Flow backlog_is_read_in_order, [1, 2, 10], [Need::Producer, Need::Consumer, Need::Can(Capability::KeyOrder)]),
];

async fn blocked_key_is_named_and_bounded(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness
        .join("group")
        .with(|options| {
            options.max_unsettled = 60;
            options.max_parked = 40;
            options.fetch_events = 20;
        })
        .open()
        .await?;
    let mut events = vec![keyed("stuck", 0)];
    events.extend((0..40).map(|n| keyed("other", n)));
    events.extend((1..200).map(|n| keyed("stuck", n)));
    events.extend((40..60).map(|n| keyed("other", n)));
    harness.send(&events).await?;
    let mut stuck = None;
    let mut others = 0;
    while others < 40 {
        let delivery = member
            .next(context)
            .await
            .during("receiving other keys beside a blocked one")?;
        if delivery.event().key() == Some("stuck") {
            check_eq!(
                number(delivery.event())?,
                0,
                "the first event of the blocked key"
            );
            stuck = Some(delivery);
        } else {
            others += 1;
            delivery.ack().await?;
        }
    }
    let Some(stuck) = stuck else {
        check!(false, "the first event of the stream did not come");
        return Ok(());
    };
    let consumer = member.consumer().clone();
    let mut asking = Box::pin(consumer.receive_batch(10));
    let (blocked, held) = context
        .until("the status to name the blocking key", async || {
            // Only a consumer that is asked for more can be blocked; otherwise it is idle.
            let came = futures::poll!(asking.as_mut()).is_ready();
            check!(
                !came,
                "an event came past a blocked key that fills the partition"
            );
            let status = member.consumer().status();
            let Some(partition) = status.partitions.first() else {
                return Ok(None);
            };
            let held = partition.unsettled + partition.parked;
            Ok(partition.blocked_by.clone().map(|blocked| (blocked, held)))
        })
        .await?;
    check_eq!(blocked.key.as_deref(), Some("stuck"), "the key that blocks");
    check_eq!(
        Some(blocked.position),
        stuck.position(),
        "the position that blocks"
    );
    check!(
        held <= 60 + 40 + 20,
        "{held} events are in flight, 60 and 40 were allowed"
    );
    stuck.ack().await?;
    let mut seen = Seen::default();
    let first = context
        .within("the partition to continue", asking)
        .await??;
    for delivery in first {
        seen.note(delivery.event());
        delivery.ack().await?;
    }
    member.work(context, &mut seen, 199 + 20).await?;
    seen.check_order(&events)?;
    let status = member.consumer().status();
    let free = status.partitions.iter().all(|it| it.blocked_by.is_none());
    check!(free, "the status still says blocked");
    member.close(context).await
}

async fn span_of_settled_events_is_bounded(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness
        .join("group")
        .with(|options| {
            options.max_unsettled = 100;
            options.max_span = 100;
            options.fetch_events = 20;
        })
        .open()
        .await?;
    let events: Vec<Event> = (0..400).map(counted).collect();
    harness.send(&events).await?;
    let first = member.next(context).await?;
    let settled = ack_until_quiet(context, &member).await?;
    check!(
        settled >= 50,
        "only {settled} events flowed beside an unsettled one"
    );
    check!(
        settled <= 140,
        "{settled} events were settled behind an unsettled one, 100 allowed"
    );
    first.ack().await?;
    let rest = ack_until_quiet(context, &member).await?;
    check_eq!(1 + settled + rest, events.len(), "events");
    member.close(context).await
}

async fn unsettled_events_are_bounded(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness
        .join("group")
        .with(|options| {
            options.max_unsettled = 30;
            options.fetch_events = 10;
        })
        .open()
        .await?;
    let events: Vec<Event> = (0..200).map(counted).collect();
    harness.send(&events).await?;
    let mut out = member.take(context, 20).await?;
    while let Some(received) = context.quiet(member.consumer().receive_batch(50)).await {
        out.extend(received?);
    }
    check!(
        out.len() <= 40,
        "{} events are in flight, 30 are allowed",
        out.len()
    );
    let mut seen = Seen::default();
    for delivery in out {
        seen.note(delivery.event());
        delivery.ack().await?;
    }
    member.work(context, &mut seen, events.len()).await?;
    seen.check_complete(&events)?;
    member.close(context).await
}

async fn backlog_is_read_in_order(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let member = harness
        .join("group")
        .with(|options| options.max_unsettled = 4_000)
        .open()
        .await?;
    let keys: Vec<String> = (0..50).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let per_key = context.timing.backlog.div_ceil(keys.len()) as u64;
    let events = interleaved(&keys, per_key);
    harness.send(&events).await.during("sending the backlog")?;
    let mut seen = Seen::default();
    while seen.distinct() < events.len() {
        let what = format!("{} events, {} came", events.len(), seen.distinct());
        let receiving = member.consumer().receive_batch(500);
        let received = context.within(&what, receiving).await??;
        check!(
            !received.is_empty(),
            "the consumer ended, waiting for {what}"
        );
        for delivery in received {
            seen.note(delivery.event());
            delivery.ack().await?;
        }
        for partition in member.consumer().status().partitions {
            let held = partition.unsettled + partition.parked;
            check!(
                held <= 4_000 + 5_000 + 1_000,
                "{held} events are in flight at once"
            );
        }
    }
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    member.close(context).await
}

/// Acknowledges deliveries until none arrives for the quiet time.
async fn ack_until_quiet(context: &Context<'_>, member: &Member) -> Outcome<usize> {
    let mut count = 0;
    while let Some(received) = context.quiet(member.consumer().receive_batch(10)).await {
        for delivery in received? {
            count += 1;
            delivery.ack().await?;
        }
    }
    Ok(count)
}
