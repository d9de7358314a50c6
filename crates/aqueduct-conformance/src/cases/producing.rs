use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Backoff, Capability, Effect, ErrorKind, Event, Retry};
use aqueduct_producer::{Producer, ProducerOptions, RetryBudget};
use futures::future::join_all;

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::fixture::Fault;
use crate::harness::Harness;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{interleaved, keyed};
use crate::wrap::{Flaky, Gated};

pub(super) const CASES: &[Case] = &[
    case!(Flow ten_keys_in_order_under_retries, [2, 11], [Need::Producer, Need::Can(Capability::KeyOrder)]),
    case!(Flow lost_responses_keep_order_when_resent, [2, 11], [Need::Producer, Need::Can(Capability::KeyOrder)]),
    case!(Flow unknown_outcome_is_told_not_resent, [2, 11], [Need::Producer, Need::Fault(Fault::LoseSendResponse)]),
    case!(Flow unknown_outcome_is_resent_on_request, [2, 11], [Need::Producer, Need::Fault(Fault::LoseSendResponse)]),
    case!(Flow throttled_events_are_stored_once, [11], [Need::Producer, Need::Fault(Fault::Throttle)]),
    case!(Flow given_up_is_exhausted_and_blocks_its_key, [2, 11], [Need::Producer]),
    case!(Flow full_buffer_makes_the_caller_wait, [10], [Need::Producer]),
    case!(Flow closing_sends_what_was_accepted, [1, 14], [Need::Producer]),
];

async fn ten_keys_in_order_under_retries(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let inner = Arc::new(Flaky::failing(harness.producer().await?, 20));
    let producer = Producer::new(inner, eager(), context.runtime);
    let events = ten_thousand();
    let mut observer = harness.observe().await?;
    send_all(&harness, &producer, &events).await?;
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)
}

async fn lost_responses_keep_order_when_resent(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let inner = Arc::new(Flaky::losing_responses(harness.producer().await?, 20));
    let mut options = eager();
    options.resend_unknown = true;
    let producer = Producer::new(inner, options, context.runtime);
    let events = ten_thousand();
    let mut observer = harness.observe().await?;
    send_all(&harness, &producer, &events).await?;
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)
}

async fn unknown_outcome_is_told_not_resent(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let inner = harness.producer().await?;
    // A service that drops what is sent again makes resending harmless.
    let drops = inner.deduplicates();
    let resent = drops.is_some_and(|window| window >= eager().deadline);
    let producer = Producer::new(inner, eager(), context.runtime);
    harness.inject(Fault::LoseSendResponse).await?;
    let event = keyed("k", 0);
    let sent = context
        .within(
            "a send whose response is lost",
            producer.send(event.clone()),
        )
        .await?;
    let effect = sent.err().map(|error| error.effect());
    check_eq!(
        effect,
        (!resent).then_some(Effect::Unknown),
        "the effect of a send whose response is lost"
    );
    let later = keyed("k", 1);
    context
        .within("a later send", producer.send(later.clone()))
        .await??;
    let events = [event, later];
    let seen = observer.collect(2).await?;
    seen.check_complete(&events)?;
    seen.check_once()
}

async fn unknown_outcome_is_resent_on_request(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let mut options = eager();
    options.resend_unknown = true;
    let producer = Producer::new(harness.producer().await?, options, context.runtime);
    harness.inject(Fault::LoseSendResponse).await?;
    let events = interleaved(&["a", "b"], 4);
    send_all(&harness, &producer, &events).await?;
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)
}

async fn throttled_events_are_stored_once(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let mut observer = harness.observe().await?;
    let producer = Producer::new(harness.producer().await?, eager(), context.runtime);
    let events = interleaved(&["a", "b", "c"], 30);
    for call in events.chunks(18) {
        harness.inject(Fault::Throttle).await?;
        send_all(&harness, &producer, call).await?;
    }
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)
}

async fn given_up_is_exhausted_and_blocks_its_key(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let inner = Arc::new(Flaky::failing(harness.producer().await?, 1));
    let mut options = eager();
    options.attempts = 3;
    let producer = Producer::new(inner, options, context.runtime);
    let sending = producer.send_all(vec![keyed("a", 0), keyed("a", 1), keyed("b", 0)]);
    let sent = context
        .within("a send that runs out of retries", sending)
        .await?;
    let failure = match sent {
        Err(failure) => failure,
        Ok(_) => {
            check!(false, "events that were not stored are acknowledged");
            return Ok(());
        }
    };
    let told = |at: usize| {
        failure.outcomes[at]
            .as_ref()
            .err()
            .map(|it| (it.kind(), it.retry()))
    };
    check_eq!(
        told(0),
        Some((ErrorKind::Unavailable, Retry::Exhausted)),
        "the first of its key"
    );
    check_eq!(
        told(1).map(|it| it.0),
        Some(ErrorKind::Blocked),
        "the second of its key"
    );
    check_eq!(
        told(2),
        Some((ErrorKind::Unavailable, Retry::Exhausted)),
        "another key"
    );
    Ok(())
}

async fn full_buffer_makes_the_caller_wait(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let gate = Gated::new(harness.producer().await?, context.runtime);
    let mut options = eager();
    options.max_buffered_events = 10;
    options.max_batch_events = 2;
    let producer = Producer::new(gate.clone(), options, context.runtime);
    let events: Vec<Event> = (0..20).map(|n| keyed(&format!("k{n}"), n)).collect();
    let mut pending = Vec::new();
    for event in &events[..10] {
        let accepting = producer.enqueue(event.clone());
        pending.push(
            context
                .within("room in an empty buffer", accepting)
                .await??,
        );
    }
    let early = context.quiet(producer.enqueue(keyed("early", 0))).await;
    check!(
        early.is_none(),
        "an event was accepted beyond the limit of the buffer"
    );
    check!(
        gate.taken() <= 10,
        "{} events left a buffer of 10",
        gate.taken()
    );
    gate.open();
    for event in &events[10..] {
        let accepting = producer.enqueue(event.clone());
        pending.push(
            context
                .within("room in a draining buffer", accepting)
                .await??,
        );
    }
    for outcome in context.within("the outcomes", join_all(pending)).await? {
        outcome.during("sending")?;
    }
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)
}

async fn closing_sends_what_was_accepted(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let mut observer = harness.observe().await?;
    let mut options = eager();
    options.linger = context.timing.deadline;
    let producer = Producer::new(harness.producer().await?, options, context.runtime);
    let events = interleaved(&["a", "b"], 10);
    let mut pending = Vec::new();
    for event in &events {
        pending.push(producer.enqueue(event.clone()).await?);
    }
    context
        .within("producer to close", producer.close())
        .await??;
    for outcome in context.within("the outcomes", join_all(pending)).await? {
        outcome.during("sending")?;
    }
    let late = context
        .within("a closed producer", producer.send(keyed("a", 99)))
        .await?;
    let kind = late.err().map(|error| error.kind());
    check_eq!(kind, Some(ErrorKind::Closed), "sending after close");
    observer
        .collect(events.len())
        .await?
        .check_complete(&events)
}

/// Sends in the order of `events`, a few hundred at a time.
pub(super) async fn send_all(
    harness: &Harness<'_>,
    producer: &Producer,
    events: &[Event],
) -> Outcome {
    for (at, call) in events.chunks(400).enumerate() {
        let what = format!("call {at} of {} events to be stored", call.len());
        let sent = harness
            .context
            .within(&what, producer.send_all(call.to_vec()))
            .await?;
        sent.map_err(aqueduct_core::Error::from).during(what)?;
    }
    Ok(())
}

/// Returns options for retries with short waits and an ample budget.
pub(super) fn eager() -> ProducerOptions {
    ProducerOptions {
        attempts: 100,
        backoff: Backoff::new(Duration::from_millis(1), Duration::from_millis(10)),
        budget: RetryBudget {
            share: 100.0,
            per_second: 10_000.0,
            reserve: 10_000.0,
        },
        ..ProducerOptions::default()
    }
}

fn ten_thousand() -> Vec<Event> {
    let keys: Vec<String> = (0..10).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    interleaved(&keys, 1_000)
}
