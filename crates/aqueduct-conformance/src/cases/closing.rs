use aqueduct_core::{Capability, ErrorKind, Event};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::fixture::Fault;
use crate::member::{ack_all, settle_late};
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{Seen, counted, interleaved, keyed, number};

pub(super) const CASES: &[Case] = &[
    case!(Flow drained_consumer_settles_and_closes, [14], [Need::Producer, Need::Consumer]),
    case!(Flow closed_consumer_revokes_what_is_out, [14], [Need::Producer, Need::Consumer]),
    case!(Flow closing_twice_is_closing_once, [14], [Need::Producer, Need::Consumer]),
    case!(Flow paused_consumer_hands_out_nothing, [15], [Need::Producer, Need::Consumer]),
    case!(Flow status_tells_the_lag, [15], [Need::Producer, Need::Group, Need::Can(Capability::Lag)]),
    case!(Flow cut_connection_loses_nothing, [1, 9], [Need::Producer, Need::Consumer, Need::Fault(Fault::Cut)]),
];

async fn drained_consumer_settles_and_closes(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let events = interleaved(&["a", "b", "c", "d", "e"], 4);
    let member = harness.join("group").open().await?;
    harness.send(&events).await?;
    let out = member.take(context, 3).await?;
    context
        .within("draining", member.consumer().drain())
        .await??;
    let mut seen = member.seen();
    loop {
        let receiving = member.consumer().receive_batch(10);
        let received = context
            .within("a drained consumer to end", receiving)
            .await??;
        if received.is_empty() {
            break;
        }
        for delivery in received {
            seen.note(delivery.event());
            delivery
                .ack()
                .await
                .during("acknowledging while draining")?;
        }
    }
    for delivery in out {
        seen.note(delivery.event());
        delivery
            .ack()
            .await
            .during("acknowledging after draining")?;
    }
    member.close(context).await?;
    let began = context.runtime.now();
    let successor = harness.join("group").elsewhere().open().await?;
    let left = events.len() - seen.distinct();
    check!(left > 0, "a drained consumer kept handing out events");
    let settled = seen.distinct();
    for done in 0..left {
        let delivery = successor.next(context).await?;
        check!(
            seen.note(delivery.event()),
            "{:?} came again",
            delivery.event()
        );
        check_eq!(
            delivery.attempt(),
            1,
            "the attempt at event {}",
            settled + done
        );
        delivery.ack().await?;
    }
    let took = context.runtime.now().since(began);
    check!(
        took < context.timing.lease_ttl * 4,
        "a successor waited {took:?} for a partition that was released"
    );
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    successor.close(context).await
}

async fn closed_consumer_revokes_what_is_out(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness
        .join("group")
        .with(|options| options.drain = context.timing.quiet)
        .open()
        .await?;
    harness.send(&[keyed("k", 0)]).await?;
    let delivery = member.next(context).await?;
    let consumer = member.consumer().clone();
    member.close(context).await?;
    let failed = settle_late(context, delivery).await;
    let refused = matches!(failed, Some(ErrorKind::Closed | ErrorKind::Revoked));
    check!(refused, "settling after close returned {failed:?}");
    match context
        .within("a closed consumer", consumer.receive_batch(1))
        .await?
    {
        Ok(received) => check!(received.is_empty(), "a closed consumer hands out events"),
        Err(error) => check_eq!(error.kind(), ErrorKind::Closed, "receiving after close"),
    }
    let successor = harness.join("group").elsewhere().open().await?;
    let again = successor.next(context).await?;
    check_eq!(number(again.event())?, 0, "the event that was in flight");
    again.ack().await?;
    successor.close(context).await
}

async fn closing_twice_is_closing_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    for time in ["the first time", "the second time"] {
        let closing = member.consumer().close();
        context.within(time, closing).await?.during(time)?;
    }
    Ok(())
}

async fn paused_consumer_hands_out_nothing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    member.next(context).await?.ack().await?;
    member.consumer().pause(true);
    harness.send(&[keyed("k", 1)]).await?;
    member.silent(context).await.during("while it is paused")?;
    check!(
        member.consumer().status().paused,
        "the status does not say paused"
    );
    member.consumer().pause(false);
    let next = member.next(context).await?;
    check_eq!(
        (number(next.event())?, next.attempt()),
        (1, 1),
        "the event after the pause"
    );
    next.ack().await?;
    member.close(context).await
}

async fn status_tells_the_lag(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let member = harness.join("group").mortal().open().await?;
    let events: Vec<Event> = (0..10).map(counted).collect();
    harness.send(&events).await?;
    let taken = member.take(context, 10).await?;
    let lag = |expected: u64| {
        let consumer = member.consumer().clone();
        async move || {
            let status = consumer.status();
            let told: Option<u64> = status.partitions.iter().map(|it| it.lag_events).sum();
            Ok((told == Some(expected)).then_some(status))
        }
    };
    let status = context.until("a lag of 10 events", lag(10)).await?;
    let partition = &status.partitions[0];
    check_eq!(partition.unsettled, 10, "unsettled events");
    check!(
        partition.oldest_unsettled.is_some(),
        "the age of the oldest unsettled event is missing"
    );
    ack_all(taken).await?;
    let status = context.until("a lag of 0 events", lag(0)).await?;
    check_eq!(
        status.partitions[0].unsettled,
        0,
        "unsettled events at the end"
    );
    member.close(context).await
}

async fn cut_connection_loses_nothing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let member = harness.join("group").open().await?;
    let events = interleaved(&["a", "b", "c", "d"], 25);
    let mut seen = Seen::default();
    let sending = async {
        for call in events.chunks(10) {
            harness.inject(Fault::Cut).await?;
            harness.send(call).await?;
        }
        Ok(())
    };
    let working = member.work(context, &mut seen, events.len());
    futures::try_join!(sending, working)?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    member.close(context).await
}
