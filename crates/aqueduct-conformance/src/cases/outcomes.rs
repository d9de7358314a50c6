use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{Capability, Effect, ErrorKind, Event, Receipt, Result, Retry};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::fixture::Fault;
use crate::harness::Harness;
use crate::stop::{During as _, Outcome, check, check_eq};
use crate::workload::{SOURCE, counted, interleaved, keyed};

pub(super) const CASES: &[Case] = &[
    case!(Flow outcomes_are_index_aligned, [2], [Need::Producer, Need::Log]),
    case!(Flow empty_batch_is_nothing, [2], [Need::Producer]),
    case!(Flow too_large_fails_alone, [2], [Need::Producer, Need::EventLimit]),
    case!(Flow prefix_rule_behind_a_too_large_event, [2], [Need::Producer, Need::EventLimit]),
    case!(Flow full_batch_is_stored, [1], [Need::Producer]),
    case!(Flow calls_in_turn_keep_key_order, [2], [Need::Producer, Need::Can(Capability::KeyOrder)]),
    case!(Flow one_key_has_one_lane, [11], [Need::Producer, Need::Can(Capability::KeyOrder)]),
    case!(Flow producers_side_by_side_lose_nothing, [1], [Need::Producer]),
    case!(Flow closed_producer_says_so, [14], [Need::Producer]),
    case!(Flow throttled_send_says_so, [11], [Need::Producer, Need::Fault(Fault::Throttle)]),
    case!(Flow refused_send_says_so, [2, 11], [Need::Producer, Need::Fault(Fault::Refuse)]),
    case!(Flow lost_response_says_unknown, [2, 11], [Need::Producer, Need::Fault(Fault::LoseSendResponse)]),
];

async fn outcomes_are_index_aligned(context: &Context<'_>) -> Outcome {
    let harness = context.harness(3).await?;
    let mut observer = harness.observe().await?;
    let keys: Vec<String> = (0..9).map(|n| format!("key-{n}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let events = interleaved(&keys, 4);
    let outcomes = attempt(&harness, &events).await?;
    let receipts: Vec<Receipt> = outcomes.into_iter().collect::<Result<_>>()?;
    observer
        .collect(events.len())
        .await?
        .check_complete(&events)?;
    let seen = observer.collect(events.len()).await?.firsts().to_vec();
    for (event, receipt) in events.iter().zip(&receipts) {
        let at = seen.iter().position(|seen| seen.id() == event.id());
        let Some((partition, position)) = at.and_then(|at| observer.places().get(at)) else {
            continue;
        };
        if let Some(told) = &receipt.partition {
            check_eq!(
                told,
                partition,
                "the partition in the receipt of {}",
                event.id()
            );
        }
        if let Some(told) = &receipt.position {
            check_eq!(
                told,
                position,
                "the position in the receipt of {}",
                event.id()
            );
        }
    }
    Ok(())
}

async fn empty_batch_is_nothing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let outcomes = attempt(&harness, &[]).await?;
    check!(
        outcomes.is_empty(),
        "sending no events returned {} outcomes",
        outcomes.len()
    );
    Ok(())
}

async fn too_large_fails_alone(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let events = [
        keyed("a", 0),
        too_large(&harness, "large").await?,
        keyed("b", 1),
        keyed("a", 2),
    ];
    let outcomes = attempt(&harness, &events).await?;
    for (at, outcome) in outcomes.iter().enumerate() {
        match (at, outcome) {
            (1, Err(error)) => {
                check_eq!(
                    error.kind(),
                    ErrorKind::TooLarge,
                    "the event over the limit"
                );
                check_eq!(error.retry(), Retry::Never, "whether it can be retried");
                check_eq!(error.effect(), Effect::None, "its effect");
            }
            (1, Ok(_)) => check!(false, "an event over the stated limit was accepted"),
            (_, outcome) => check!(outcome.is_ok(), "event {at} beside it failed: {outcome:?}"),
        }
    }
    let [first, _, second, third] = events;
    let stored = [first, second, third];
    observer.collect(3).await?.check_complete(&stored)
}

async fn prefix_rule_behind_a_too_large_event(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let large = too_large(&harness, "k").await?;
    let events = [
        keyed("k", 0),
        large,
        keyed("k", 1),
        keyed("other", 0),
        keyed("k", 2),
    ];
    let outcomes = attempt(&harness, &events).await?;
    check_prefix_rule(&events, &outcomes)?;
    check!(
        outcomes[0].is_ok(),
        "the event before it: {:?}",
        outcomes[0]
    );
    check!(
        outcomes[3].is_ok(),
        "the event of another key: {:?}",
        outcomes[3]
    );
    for at in [2, 4] {
        let kind = outcomes[at].as_ref().map_err(aqueduct_core::Error::kind);
        check_eq!(
            kind.err(),
            Some(ErrorKind::Blocked),
            "event {at}, behind it"
        );
    }
    let [first, _, _, other, _] = events;
    observer.collect(2).await?.check_complete(&[first, other])
}

async fn full_batch_is_stored(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let mut observer = harness.observe().await?;
    let limits = harness.producer().await?.capabilities().limits;
    let count = limits.batch_events.unwrap_or(1_000).min(1_000);
    let events: Vec<Event> = (0..count as u64).map(counted).collect();
    for outcome in attempt(&harness, &events).await? {
        outcome.during("a batch of the stated size")?;
    }
    let seen = observer.collect(count).await?;
    seen.check_complete(&events)?;
    seen.check_once()
}

async fn calls_in_turn_keep_key_order(context: &Context<'_>) -> Outcome {
    let harness = context.harness(3).await?;
    let mut observer = harness.observe().await?;
    let events = interleaved(&["a", "b", "c", "d", "e"], 60);
    let producer = harness.producer().await?;
    for call in events.chunks(7) {
        harness.send_by(&*producer, call).await?;
    }
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)
}

async fn one_key_has_one_lane(context: &Context<'_>) -> Outcome {
    let harness = context.harness(4).await?;
    let producer = harness.producer().await?;
    for key in ["a", "b", "ключ", ""] {
        let lanes: BTreeSet<_> = (0..20).map(|n| producer.lane(&keyed(key, n))).collect();
        check_eq!(lanes.len(), 1, "the lanes of key `{key}`");
    }
    Ok(())
}

async fn producers_side_by_side_lose_nothing(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let mut observer = harness.observe().await?;
    let (harness, peers) = (&harness, harness.subject.peer.iter());
    let mut resources = vec![&harness.subject.stream; 3];
    resources.extend(peers);
    let sending = resources
        .iter()
        .enumerate()
        .map(|(who, resource)| async move {
            let producer = harness.producer_of(resource).await?;
            let events = interleaved(&[&format!("a{who}"), &format!("b{who}")], 50);
            for call in events.chunks(10) {
                harness.send_by(&*producer, call).await?;
            }
            Ok::<_, crate::stop::Stop>(events)
        });
    let sent = futures::future::try_join_all(sending).await?.concat();
    let seen = observer.collect(sent.len()).await?;
    seen.check_complete(&sent)?;
    seen.check_once()?;
    seen.check_order(&sent)
}

async fn closed_producer_says_so(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let producer = harness.producer().await?;
    harness.send_by(&*producer, &[counted(0)]).await?;
    context
        .within("the producer to close", producer.close())
        .await??;
    context
        .within("closing it twice", producer.close())
        .await??;
    let late = [counted(1), counted(2)];
    let sending = producer.send_batch(&late);
    let outcomes = context
        .within("a closed producer", sending)
        .await?
        .into_outcomes();
    check_eq!(outcomes.len(), 2, "outcomes of a closed producer");
    for outcome in outcomes {
        let kind = outcome.err().map(|error| error.kind());
        check_eq!(
            kind,
            Some(ErrorKind::Closed),
            "sending by a closed producer"
        );
    }
    Ok(())
}

async fn throttled_send_says_so(context: &Context<'_>) -> Outcome {
    let error = sends_to(context, Fault::Throttle).await?;
    check_eq!(error.kind(), ErrorKind::Throttled, "a throttled send");
    check!(error.is_retryable(), "a throttled send is retryable");
    check_eq!(
        error.effect(),
        Effect::None,
        "the effect of a throttled send"
    );
    Ok(())
}

async fn refused_send_says_so(context: &Context<'_>) -> Outcome {
    let error = sends_to(context, Fault::Refuse).await?;
    check!(error.is_retryable(), "a refused send is retryable");
    check_eq!(error.effect(), Effect::None, "the effect of a refused send");
    Ok(())
}

async fn lost_response_says_unknown(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let producer = harness.producer().await?;
    harness.inject(Fault::LoseSendResponse).await?;
    let events = [keyed("k", 0)];
    let sending = producer.send_batch(&events);
    let outcomes = context
        .within("a send whose response is lost", sending)
        .await?
        .into_outcomes();
    let effect = outcomes[0].as_ref().map_err(aqueduct_core::Error::effect);
    check_eq!(
        effect.err(),
        Some(Effect::Unknown),
        "the effect of a send whose response is lost"
    );
    observer.collect(1).await?.check_complete(&events)
}

/// Injects a fault that stores nothing, and returns the first error. Checks that nothing is stored
/// twice when the rest is sent again.
async fn sends_to(context: &Context<'_>, fault: Fault) -> Outcome<aqueduct_core::Error> {
    let harness = context.harness(2).await?;
    let mut observer = harness.observe().await?;
    let producer = harness.producer().await?;
    harness.inject(fault).await?;
    let events = interleaved(&["a", "b", "c"], 3);
    let sending = producer.send_batch(&events);
    let outcomes = context
        .within("a send that fails", sending)
        .await?
        .into_outcomes();
    check_eq!(outcomes.len(), events.len(), "outcomes");
    check_prefix_rule(&events, &outcomes)?;
    let failed = |outcome: &&Result<Receipt>| outcome.is_err();
    let rest: Vec<Event> = events
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| failed(outcome))
        .map(|(event, _)| event.clone())
        .collect();
    let said = |outcome: Result<Receipt>| {
        let error = outcome.err()?;
        (!error.is(ErrorKind::Blocked)).then_some(error)
    };
    let error = outcomes.into_iter().find_map(said);
    let error =
        error.ok_or_else(|| crate::stop::Stop::failed("the injected fault had no effect"))?;
    harness.send_by(&*producer, &rest).await?;
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(&events)?;
    seen.check_once()?;
    seen.check_order(&events)?;
    Ok(error)
}

/// Checks the prefix rule on the outcomes of one call. A call that failed as a whole has equal
/// outcomes, so an event behind a failed one may also have the same error.
fn check_prefix_rule(events: &[Event], outcomes: &[Result<Receipt>]) -> Outcome {
    let mut failed = BTreeMap::new();
    for (event, outcome) in events.iter().zip(outcomes) {
        let Some(key) = event.key() else { continue };
        match (outcome, failed.get(key)) {
            (Ok(_), None) => {}
            (Ok(_), Some(_)) => {
                check!(
                    false,
                    "an event of key {key} is stored behind one that is not"
                );
            }
            (Err(error), None) => {
                failed.insert(key, error.kind());
            }
            (Err(error), Some(first)) => {
                let blocked = error.is(ErrorKind::Blocked) && error.effect() == Effect::None;
                check!(
                    blocked || error.is(*first),
                    "behind a failed event of key {key}: {error:?}"
                );
            }
        }
    }
    Ok(())
}

async fn too_large(harness: &Harness<'_>, key: &str) -> Outcome<Event> {
    let limits = harness.producer().await?.capabilities().limits;
    let limit = limits.event_bytes.unwrap_or_default();
    Ok(
        Event::bytes("large", "application/octet-stream", vec![7; limit + 1])
            .with_source(SOURCE)
            .with_key(key),
    )
}

async fn attempt(harness: &Harness<'_>, events: &[Event]) -> Outcome<Vec<Result<Receipt>>> {
    let producer = harness.producer().await?;
    let sending = producer.send_batch(events);
    let outcomes = harness
        .context
        .within("a send", sending)
        .await?
        .into_outcomes();
    check_eq!(outcomes.len(), events.len(), "outcomes");
    Ok(outcomes)
}
