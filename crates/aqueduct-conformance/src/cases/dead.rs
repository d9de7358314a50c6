use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backoff, Capability, DeadLetter, DeadLetterQuery, DeadLetterQueue, DeadLetterReason,
    DeadLetterStore, DeadLetterStoreExt as _, Delivery, Error, ErrorKind, Event, Layer, Settlement,
    StoredDeadLetter, Timestamp,
};
use aqueduct_layers::{DeadLetterOptions, DeadLetters, OnExhausted, ProducerDeadLetters};
use futures::future::Either;

use super::dead_letters::listed;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::member::Member;
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{Seen, check_same, interleaved, keyed, number};
use crate::wrap::FailingDeadLetters;

pub(super) const CASES: &[Case] = &[
    case!(Flow exhausted_event_becomes_a_dead_letter, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::KeyOrder)]),
    case!(Flow rest_of_a_run_goes_on_behind_a_dead_letter, [4, 5], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::KeyOrder)]),
    case!(Flow exhausted_key_follows_into_the_dead_letters, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::KeyOrder)]),
    case!(Flow exhausted_event_blocks_its_key, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::KeyOrder)]),
    case!(Flow rejected_event_becomes_a_dead_letter, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::KeyOrder)]),
    case!(Flow failed_put_of_a_dead_letter_is_retried, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::DeadLetters), Need::Can(Capability::KeyOrder)]),
    case!(Flow redriven_dead_letter_is_for_its_group_alone, [12], [Need::Producer, Need::Group, Need::Can(Capability::DeadLetters)]),
    case!(Store dead_letter_travels_as_an_event, [4], [Need::Producer]),
];

async fn exhausted_event_becomes_a_dead_letter(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let member = join(&harness, &dead_letters, 3, OnExhausted::DeadLetter).await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    let mut place = None;
    for attempt in 1..=3 {
        let delivery = member.next(context).await?;
        check_eq!(number(delivery.event())?, 0, "the failing event");
        check_eq!(delivery.attempt(), attempt, "its attempt");
        place = Some((delivery.partition().cloned(), delivery.position()));
        fail(delivery, &format!("boom {attempt}")).await?;
    }
    let mut seen = Seen::default();
    member.work(context, &mut seen, 2).await?;
    seen.check_order(&events)?;
    member.silent(context).await?;
    let dead_letter = only_dead_letter(context, &*dead_letters).await?.dead_letter;
    check_same(&events[0], &dead_letter.event)?;
    check_eq!(
        dead_letter.reason,
        DeadLetterReason::Exhausted,
        "why it is a dead letter"
    );
    check_eq!(dead_letter.attempts, 3, "its attempts");
    check_eq!(dead_letter.group.as_str(), "group", "its group");
    check_eq!(
        dead_letter.stream,
        *harness.subject.stream.stream(),
        "its stream"
    );
    check_eq!(
        Some((dead_letter.partition, dead_letter.position)),
        place,
        "its place"
    );
    let said: Vec<_> = dead_letter
        .failures
        .iter()
        .map(|it| (it.attempt, it.error.clone()))
        .collect();
    check_eq!(said.len(), 3, "the failures that it lists");
    for (at, (attempt, error)) in said.iter().enumerate() {
        check_eq!(*attempt as usize, at + 1, "the attempt that failed");
        check!(
            error.contains(&format!("boom {attempt}")),
            "failure {attempt} says {error}"
        );
    }
    check!(
        dead_letter.message.contains("boom 3"),
        "the dead letter says {}",
        dead_letter.message
    );
    member.close(context).await
}

/// A receiver that cannot continue a run after a failure gives the rest back, without an attempt.
async fn rest_of_a_run_goes_on_behind_a_dead_letter(context: &Context<'_>) -> Outcome {
    for attempts in [1, 2] {
        let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
        let member = join(&harness, &dead_letters, attempts, OnExhausted::DeadLetter).await?;
        let events: Vec<Event> = (0..6).map(|n| keyed("k", n)).collect();
        harness.send(&events).await?;
        let mut handled = Seen::default();
        let mut failed = 0;
        while handled.distinct() < events.len() - 1 {
            let receiving = member.consumer().receive_batch(10);
            let received = context.within("the next run", receiving).await??;
            let mut run = received.into_iter();
            while let Some(delivery) = run.next() {
                if number(delivery.event())? != 0 {
                    check_eq!(delivery.attempt(), 1, "an attempt without a failure");
                    handled.note(delivery.event());
                    delivery.ack().await?;
                    continue;
                }
                failed += 1;
                fail(delivery, "boom").await?;
                run.by_ref().for_each(Delivery::give_back);
            }
        }
        check_eq!(failed, attempts, "attempts of the failing event");
        handled.check_order(&events[1..])?;
        member.silent(context).await?;
        let dead_letter = only_dead_letter(context, &*dead_letters).await?.dead_letter;
        check_eq!(number(&dead_letter.event)?, 0, "the dead letter");
        member.close(context).await?;
    }
    Ok(())
}

async fn exhausted_key_follows_into_the_dead_letters(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let member = join(&harness, &dead_letters, 1, OnExhausted::DivertKey).await?;
    harness.send(&interleaved(&["bad", "good"], 3)).await?;
    // Keys have no order among each other: the good one may come first.
    let (mut good, mut failed) = (0, false);
    while good < 3 || !failed {
        let delivery = member.next(context).await?;
        match (delivery.event().key(), number(delivery.event())?) {
            (Some("bad"), 0) => {
                failed = true;
                fail(delivery, "boom").await?;
            }
            (Some("bad"), n) => check!(false, "event {n} of a held key was handled"),
            _ => {
                good += 1;
                delivery.ack().await?;
            }
        }
    }
    buried_by(context, &member, &*dead_letters, 3).await?;
    member.close(context).await?;
    let member = join(&harness, &dead_letters, 1, OnExhausted::DivertKey).await?;
    harness.send(&[keyed("bad", 3)]).await?;
    let found = buried_by(context, &member, &*dead_letters, 4).await?;
    let numbers: Vec<u64> = found
        .iter()
        .map(|it| number(&it.dead_letter.event))
        .collect::<Outcome<_>>()?;
    check_eq!(
        numbers,
        vec![0, 1, 2, 3],
        "the dead letters of the key, in order"
    );
    let reasons: Vec<_> = found.iter().map(|it| it.dead_letter.reason).collect();
    check_eq!(
        reasons[0],
        DeadLetterReason::Exhausted,
        "why the first is a dead letter"
    );
    check!(
        reasons[1..]
            .iter()
            .all(|reason| *reason == DeadLetterReason::KeyHeld),
        "why the others are: {reasons:?}"
    );
    let (group, stream) = ("group".into(), harness.subject.stream.stream().clone());
    check_eq!(
        dead_letters.held_keys(&group, &stream).await?,
        ["bad"],
        "the held keys"
    );
    dead_letters.release_key(&group, &stream, "bad").await?;
    context.runtime.sleep(REFRESH * 3).await;
    harness.send(&[keyed("bad", 4)]).await?;
    let delivery = member.next(context).await?;
    check_eq!(
        number(delivery.event())?,
        4,
        "the event after the key was released"
    );
    delivery.ack().await?;
    member.close(context).await
}

async fn exhausted_event_blocks_its_key(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let member = join(&harness, &dead_letters, 2, OnExhausted::Block).await?;
    harness.send(&interleaved(&["bad", "good"], 3)).await?;
    let (mut good, mut failures) = (0, 0);
    while good < 3 || failures < 5 {
        let delivery = member.next(context).await?;
        if delivery.event().key() == Some("bad") {
            check_eq!(
                number(delivery.event())?,
                0,
                "the first event of the blocked key"
            );
            failures += 1;
            fail(delivery, "boom").await?;
        } else {
            good += 1;
            delivery.ack().await?;
        }
    }
    let found = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check!(found.is_empty(), "a blocking event became a dead letter");
    for n in 0..3 {
        let delivery = member.next(context).await?;
        check_eq!(number(delivery.event())?, n, "the next event of the key");
        delivery.ack().await?;
    }
    member.close(context).await
}

async fn rejected_event_becomes_a_dead_letter(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let member = join(&harness, &dead_letters, 5, OnExhausted::DeadLetter).await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    harness.send(&events).await?;
    member
        .next(context)
        .await?
        .reject("no such customer")
        .await?;
    let undecodable = format!("{}: not JSON", DeadLetters::UNDECODABLE);
    member.next(context).await?.reject(undecodable).await?;
    let last = member.next(context).await?;
    check_eq!(
        (number(last.event())?, last.attempt()),
        (2, 1),
        "the event behind them"
    );
    last.ack().await?;
    member.silent(context).await?;
    let found = buried(context, &*dead_letters, 2).await?;
    let reasons: Vec<_> = found.iter().map(|it| it.dead_letter.reason).collect();
    check_eq!(
        reasons,
        [DeadLetterReason::Rejected, DeadLetterReason::Undecodable],
        "why"
    );
    let said = &found[0].dead_letter.message;
    check!(
        said.contains("no such customer"),
        "the dead letter says {said}"
    );
    member.close(context).await
}

async fn failed_put_of_a_dead_letter_is_retried(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let failing: Arc<dyn DeadLetterQueue> =
        Arc::new(FailingDeadLetters::putting(dead_letters.clone(), 3));
    let layer = DeadLetters::new(
        failing,
        options(1, OnExhausted::DeadLetter),
        context.runtime,
    )?;
    let member = harness.join("group").behind(Arc::new(layer)).open().await?;
    harness.send(&interleaved(&["bad", "good"], 2)).await?;
    let mut handled = Seen::default();
    while handled.distinct() < 4 {
        let delivery = member.next(context).await?;
        let first = handled.note(delivery.event());
        match (delivery.event().key(), number(delivery.event())?) {
            (Some("bad"), 0) => {
                check!(
                    first,
                    "an event that waits to become a dead letter was handled again"
                );
                fail(delivery, "boom").await?;
            }
            _ => delivery.ack().await?,
        }
    }
    let dead_letter = only_dead_letter(context, &*dead_letters).await?.dead_letter;
    check_eq!(
        number(&dead_letter.event)?,
        0,
        "the event in the dead letter"
    );
    handled.check_once()?;
    member.close(context).await
}

async fn redriven_dead_letter_is_for_its_group_alone(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = super::dead_letters::dead_letters(context).await?;
    let layer = |attempts| layer(context, &dead_letters, attempts, OnExhausted::DeadLetter);
    let failing = harness.join("failing").behind(layer(1)?).open().await?;
    let other = harness.join("other").behind(layer(1)?).open().await?;
    harness.send(&[keyed("k", 0)]).await?;
    other.next(context).await?.ack().await?;
    fail(failing.next(context).await?, "boom").await?;
    let dead_letter = only_dead_letter(context, &*dead_letters).await?;
    let producer = harness.producer().await?;
    for receipt in dead_letters
        .redrive(std::slice::from_ref(&dead_letter.id), &*producer)
        .await
    {
        receipt.during("redriving")?;
    }
    let again = failing
        .next(context)
        .await
        .during("the group that it failed in")?;
    check_eq!(
        again.event().id(),
        dead_letter.dead_letter.event.id(),
        "the redriven event"
    );
    again.ack().await?;
    other.silent(context).await.during("another group")?;
    harness.send(&[keyed("k", 1)]).await?;
    let next = other.next(context).await?;
    check_eq!(
        number(next.event())?,
        1,
        "the next event of the other group"
    );
    next.ack().await?;
    failing.close(context).await?;
    other.close(context).await
}

async fn dead_letter_travels_as_an_event(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let mut observer = harness.observe().await?;
    let event = keyed("k", 0).with_attribute("traceparent", "00-1-2-01")?;
    let mut dead_letter = DeadLetter::new(
        event,
        "orders".into(),
        "billing".into(),
        DeadLetterReason::Exhausted,
        "boom",
        Timestamp::from_millis(1_770_000_000_123),
    );
    dead_letter.attempts = 2;
    dead_letter.partition = Some("shardId-000000000000".into());
    let queue = ProducerDeadLetters::new(harness.producer().await?);
    for outcome in queue.put(std::slice::from_ref(&dead_letter)).await {
        outcome.during("burying")?;
    }
    let seen = observer.collect(1).await?;
    let read = DeadLetter::from_event(&seen.firsts()[0]).during("reading the dead letter")?;
    check_eq!(read, dead_letter, "the dead letter read again");
    Ok(())
}

const REFRESH: Duration = Duration::from_millis(50);

fn options(attempts: u32, on_exhausted: OnExhausted) -> DeadLetterOptions {
    DeadLetterOptions {
        attempts,
        on_exhausted,
        put_backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50)),
        refresh: REFRESH,
        ..DeadLetterOptions::default()
    }
}

pub(super) fn layer(
    context: &Context<'_>,
    dead_letters: &Arc<dyn DeadLetterStore>,
    attempts: u32,
    on_exhausted: OnExhausted,
) -> Outcome<Arc<dyn Layer>> {
    let options = options(attempts, on_exhausted);
    let layer = DeadLetters::with_store(dead_letters.clone(), options, context.runtime)?;
    Ok(Arc::new(layer))
}

async fn join(
    harness: &Harness<'_>,
    dead_letters: &Arc<dyn DeadLetterStore>,
    attempts: u32,
    on_exhausted: OnExhausted,
) -> Outcome<Member> {
    let layer = layer(harness.context, dead_letters, attempts, on_exhausted)?;
    harness.join("group").behind(layer).open().await
}

async fn fail(delivery: Delivery, why: &str) -> Outcome {
    let settlement = Settlement::Nack {
        delay: Some(Duration::from_millis(5)),
        error: Some(Error::new(ErrorKind::Handler, why.to_owned())),
    };
    Ok(delivery.settle(settlement).await?)
}

/// Waits until `member`, while receiving, has made `count` dead letters and handed out none of them.
async fn buried_by(
    context: &Context<'_>,
    member: &Member,
    dead_letters: &dyn DeadLetterStore,
    count: usize,
) -> Outcome<Vec<StoredDeadLetter>> {
    let asking = member.consumer().receive_batch(1);
    match futures::future::select(asking, Box::pin(buried(context, dead_letters, count))).await {
        Either::Left((came, _)) => Err(Stop::failed(format!("a held event was handled: {came:?}"))),
        Either::Right((found, _)) => found,
    }
}

/// Waits for `count` dead letters and returns them, oldest first.
async fn buried(
    context: &Context<'_>,
    dead_letters: &dyn DeadLetterStore,
    count: usize,
) -> Outcome<Vec<StoredDeadLetter>> {
    let what = format!("{count} dead letters");
    let look = async || {
        let found = listed(dead_letters, &DeadLetterQuery::default()).await?;
        Ok((found.len() >= count).then_some(found))
    };
    let found = context.until(&what, look).await?;
    check_eq!(found.len(), count, "dead_letters");
    Ok(found)
}

pub(super) async fn only_dead_letter(
    context: &Context<'_>,
    dead_letters: &dyn DeadLetterStore,
) -> Outcome<StoredDeadLetter> {
    let mut found = buried(context, dead_letters, 1).await?;
    found.pop().ok_or_else(|| Stop::failed("no dead letter"))
}
