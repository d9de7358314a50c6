use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Backoff, Capability, DeadLetterQueue, Delivery, Error, ErrorKind, Event, Layer, Letter,
    LetterQuery, LetterReason, Letters, Settlement, StoredLetter, Timestamp,
};
use aqueduct_layers::{DeadLetterOptions, DeadLetters, OnExhausted, ProducerLetters};
use futures::future::Either;

use super::letters::listed;
use crate::bench::Bench;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::member::Member;
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{Seen, check_same, interleaved, keyed, number};
use crate::wrap::Stubborn;

pub(super) const CASES: &[Case] = &[
    case!(Flow exhausted_event_becomes_a_letter, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::Letters), Need::Can(Capability::KeyOrder)]),
    case!(Flow exhausted_key_follows_into_the_letters, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::Letters), Need::Can(Capability::KeyOrder)]),
    case!(Flow exhausted_event_blocks_its_key, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::Letters), Need::Can(Capability::KeyOrder)]),
    case!(Flow rejected_event_becomes_a_letter, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::Letters), Need::Can(Capability::KeyOrder)]),
    case!(Flow failed_burial_is_tried_again, [4], [Need::Producer, Need::Consumer, Need::Can(Capability::Letters), Need::Can(Capability::KeyOrder)]),
    case!(Flow redriven_letter_is_for_its_group_alone, [12], [Need::Producer, Need::Group, Need::Can(Capability::Letters)]),
    case!(Store letter_travels_as_an_event, [4], [Need::Producer]),
];

async fn exhausted_event_becomes_a_letter(context: &Context<'_>) -> Outcome {
    let (bench, letters) = super::letters::letters(context).await?;
    let member = join(&bench, &letters, 3, OnExhausted::Letter).await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
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
    let letter = only_letter(context, &*letters).await?.letter;
    check_same(&events[0], &letter.event)?;
    check_eq!(letter.reason, LetterReason::Exhausted, "why it is a letter");
    check_eq!(letter.attempts, 3, "its attempts");
    check_eq!(letter.group.as_str(), "group", "its group");
    check_eq!(letter.stream, *bench.subject.stream.stream(), "its stream");
    check_eq!(
        Some((letter.partition, letter.position)),
        place,
        "its place"
    );
    let said: Vec<_> = letter
        .failures
        .iter()
        .map(|it| (it.attempt, it.error.clone()))
        .collect();
    check_eq!(said.len(), 3, "the failures that it tells");
    for (at, (attempt, error)) in said.iter().enumerate() {
        check_eq!(*attempt as usize, at + 1, "the attempt that failed");
        check!(
            error.contains(&format!("boom {attempt}")),
            "failure {attempt} says {error}"
        );
    }
    check!(
        letter.message.contains("boom 3"),
        "the letter says {}",
        letter.message
    );
    member.close(context).await
}

async fn exhausted_key_follows_into_the_letters(context: &Context<'_>) -> Outcome {
    let (bench, letters) = super::letters::letters(context).await?;
    let member = join(&bench, &letters, 1, OnExhausted::LetterKey).await?;
    bench.send(&interleaved(&["bad", "good"], 3)).await?;
    let mut good = 0;
    while good < 3 {
        let delivery = member.next(context).await?;
        match (delivery.event().key(), number(delivery.event())?) {
            (Some("bad"), 0) => fail(delivery, "boom").await?,
            (Some("bad"), n) => check!(false, "event {n} of a held key was handled"),
            _ => {
                good += 1;
                delivery.ack().await?;
            }
        }
    }
    buried_by(context, &member, &*letters, 3).await?;
    member.close(context).await?;
    let member = join(&bench, &letters, 1, OnExhausted::LetterKey).await?;
    bench.send(&[keyed("bad", 3)]).await?;
    let found = buried_by(context, &member, &*letters, 4).await?;
    let numbers: Vec<u64> = found
        .iter()
        .map(|it| number(&it.letter.event))
        .collect::<Outcome<_>>()?;
    check_eq!(
        numbers,
        vec![0, 1, 2, 3],
        "the letters of the key, in order"
    );
    let reasons: Vec<_> = found.iter().map(|it| it.letter.reason).collect();
    check_eq!(
        reasons[0],
        LetterReason::Exhausted,
        "why the first is a letter"
    );
    check!(
        reasons[1..]
            .iter()
            .all(|reason| *reason == LetterReason::KeyHeld),
        "why the others are: {reasons:?}"
    );
    let (group, stream) = ("group".into(), bench.subject.stream.stream().clone());
    check_eq!(
        letters.held_keys(&group, &stream).await?,
        ["bad"],
        "the held keys"
    );
    letters.release_key(&group, &stream, "bad").await?;
    context.runtime.sleep(REFRESH * 3).await;
    bench.send(&[keyed("bad", 4)]).await?;
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
    let (bench, letters) = super::letters::letters(context).await?;
    let member = join(&bench, &letters, 2, OnExhausted::Block).await?;
    bench.send(&interleaved(&["bad", "good"], 3)).await?;
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
    let found = listed(&*letters, &LetterQuery::default()).await?;
    check!(found.is_empty(), "a blocking event became a letter");
    for n in 0..3 {
        let delivery = member.next(context).await?;
        check_eq!(number(delivery.event())?, n, "the next event of the key");
        delivery.ack().await?;
    }
    member.close(context).await
}

async fn rejected_event_becomes_a_letter(context: &Context<'_>) -> Outcome {
    let (bench, letters) = super::letters::letters(context).await?;
    let member = join(&bench, &letters, 5, OnExhausted::Letter).await?;
    let events: Vec<Event> = (0..3).map(|n| keyed("k", n)).collect();
    bench.send(&events).await?;
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
    let found = buried(context, &*letters, 2).await?;
    let reasons: Vec<_> = found.iter().map(|it| it.letter.reason).collect();
    check_eq!(
        reasons,
        [LetterReason::Rejected, LetterReason::Undecodable],
        "why"
    );
    let said = &found[0].letter.message;
    check!(said.contains("no such customer"), "the letter says {said}");
    member.close(context).await
}

async fn failed_burial_is_tried_again(context: &Context<'_>) -> Outcome {
    let (bench, letters) = super::letters::letters(context).await?;
    let stubborn: Arc<dyn DeadLetterQueue> = Arc::new(Stubborn::new(letters.clone(), 3));
    let layer = DeadLetters::new(stubborn, options(1, OnExhausted::Letter), context.runtime)?;
    let member = bench.join("group").behind(Arc::new(layer)).open().await?;
    bench.send(&interleaved(&["bad", "good"], 2)).await?;
    let mut handled = Seen::default();
    while handled.distinct() < 4 {
        let delivery = member.next(context).await?;
        let first = handled.note(delivery.event());
        match (delivery.event().key(), number(delivery.event())?) {
            (Some("bad"), 0) => {
                check!(
                    first,
                    "an event that waits for its burial was handled again"
                );
                fail(delivery, "boom").await?;
            }
            _ => delivery.ack().await?,
        }
    }
    let letter = only_letter(context, &*letters).await?.letter;
    check_eq!(number(&letter.event)?, 0, "the event in the letter");
    handled.check_once()?;
    member.close(context).await
}

async fn redriven_letter_is_for_its_group_alone(context: &Context<'_>) -> Outcome {
    let (bench, letters) = super::letters::letters(context).await?;
    let layer = |attempts| layer(context, &letters, attempts, OnExhausted::Letter);
    let failing = bench.join("failing").behind(layer(1)?).open().await?;
    let other = bench.join("other").behind(layer(1)?).open().await?;
    bench.send(&[keyed("k", 0)]).await?;
    other.next(context).await?.ack().await?;
    fail(failing.next(context).await?, "boom").await?;
    let letter = only_letter(context, &*letters).await?;
    let producer = bench.producer().await?;
    for receipt in letters
        .redrive(std::slice::from_ref(&letter.id), &*producer)
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
        letter.letter.event.id(),
        "the redriven event"
    );
    again.ack().await?;
    other.silent(context).await.during("another group")?;
    bench.send(&[keyed("k", 1)]).await?;
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

async fn letter_travels_as_an_event(context: &Context<'_>) -> Outcome {
    let bench = context.bench(1).await?;
    let mut tap = bench.tap().await?;
    let event = keyed("k", 0).with_attribute("traceparent", "00-1-2-01")?;
    let mut letter = Letter::new(
        event,
        "orders".into(),
        "billing".into(),
        LetterReason::Exhausted,
        "boom",
        Timestamp::from_millis(1_770_000_000_123),
    );
    letter.attempts = 2;
    letter.partition = Some("shardId-000000000000".into());
    let queue = ProducerLetters::new(bench.producer().await?);
    for outcome in queue.bury(std::slice::from_ref(&letter)).await {
        outcome.during("burying")?;
    }
    let seen = tap.collect(1).await?;
    let read = Letter::from_event(&seen.firsts()[0]).during("reading the letter")?;
    check_eq!(read, letter, "the letter read again");
    Ok(())
}

const REFRESH: Duration = Duration::from_millis(50);

fn options(attempts: u32, on_exhausted: OnExhausted) -> DeadLetterOptions {
    DeadLetterOptions {
        attempts,
        on_exhausted,
        bury_backoff: Backoff::new(Duration::from_millis(5), Duration::from_millis(50)),
        refresh: REFRESH,
        ..DeadLetterOptions::default()
    }
}

pub(super) fn layer(
    context: &Context<'_>,
    letters: &Arc<dyn Letters>,
    attempts: u32,
    on_exhausted: OnExhausted,
) -> Outcome<Arc<dyn Layer>> {
    let options = options(attempts, on_exhausted);
    let layer = DeadLetters::with_letters(letters.clone(), options, context.runtime)?;
    Ok(Arc::new(layer))
}

async fn join(
    bench: &Bench<'_>,
    letters: &Arc<dyn Letters>,
    attempts: u32,
    on_exhausted: OnExhausted,
) -> Outcome<Member> {
    let layer = layer(bench.context, letters, attempts, on_exhausted)?;
    bench.join("group").behind(layer).open().await
}

async fn fail(delivery: Delivery, why: &str) -> Outcome {
    let settlement = Settlement::Nack {
        delay: Some(Duration::from_millis(5)),
        error: Some(Error::new(ErrorKind::Handler, why.to_owned())),
    };
    Ok(delivery.settle(settlement).await?)
}

/// Waits for `count` letters that `member` makes of what it is asked for, handing none of it out.
async fn buried_by(
    context: &Context<'_>,
    member: &Member,
    letters: &dyn Letters,
    count: usize,
) -> Outcome<Vec<StoredLetter>> {
    let asking = member.consumer().receive_batch(1);
    match futures::future::select(asking, Box::pin(buried(context, letters, count))).await {
        Either::Left((came, _)) => Err(Stop::failed(format!("a held event was handled: {came:?}"))),
        Either::Right((found, _)) => found,
    }
}

/// Waits for `count` letters; answers them, oldest first.
async fn buried(
    context: &Context<'_>,
    letters: &dyn Letters,
    count: usize,
) -> Outcome<Vec<StoredLetter>> {
    let what = format!("{count} letters");
    let look = async || {
        let found = listed(letters, &LetterQuery::default()).await?;
        Ok((found.len() >= count).then_some(found))
    };
    let found = context.until(&what, look).await?;
    check_eq!(found.len(), count, "letters");
    Ok(found)
}

pub(super) async fn only_letter(
    context: &Context<'_>,
    letters: &dyn Letters,
) -> Outcome<StoredLetter> {
    let mut found = buried(context, letters, 1).await?;
    found.pop().ok_or_else(|| Stop::failed("no letter"))
}
