use std::sync::Arc;

use aqueduct_core::{
    Capability, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterReason, DeadLetterStore,
    DeadLetterStoreExt as _, Effect, ErrorKind, Event, Failure, GroupName, PartitionId, Position,
    StoredDeadLetter, StreamName, Timestamp,
};

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{check_same, keyed, number};
use crate::wrap::{FailingDeadLetters, Flaky};

pub(super) const CASES: &[Case] = &[
    case!(Store dead_letter_keeps_its_provenance, [4], [Need::Can(Capability::DeadLetters)]),
    case!(Store dead_letters_are_listed_oldest_first, [4], [Need::Can(Capability::DeadLetters)]),
    case!(Store dead_letters_are_listed_by_page, [4], [Need::Can(Capability::DeadLetters)]),
    case!(Store dead_letters_are_filtered, [4], [Need::Can(Capability::DeadLetters)]),
    case!(Store purged_dead_letter_is_gone, [4], [Need::Can(Capability::DeadLetters)]),
    case!(Store redriven_dead_letter_moves, [4, 12], [Need::Can(Capability::DeadLetters), Need::Producer]),
    case!(Store dead_letter_stays_when_its_redrive_fails, [4], [Need::Can(Capability::DeadLetters), Need::Producer]),
    case!(Store interrupted_redrive_is_repeated_under_the_same_id, [1, 4], [Need::Can(Capability::DeadLetters), Need::Producer]),
    case!(Store dead_letter_given_twice_is_redriven_once, [4], [Need::Can(Capability::DeadLetters), Need::Producer]),
    case!(Store cut_dead_letter_is_not_redriven, [4], [Need::Can(Capability::DeadLetters), Need::Producer]),
    case!(Store unknown_dead_letter_is_not_found, [4], [Need::Can(Capability::DeadLetters), Need::Producer]),
    case!(Store no_key_is_held_at_first, [4], [Need::Can(Capability::DeadLetters)]),
    case!(Store held_key_stays_until_released, [4], [Need::Can(Capability::DeadLetters)]),
];

async fn dead_letter_keeps_its_provenance(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    let mut full = dead_letter(0, "billing", "orders", "VINET");
    full.partition = Some(PartitionId::new("shardId-000000000003"));
    full.position = Some("9".repeat(56).parse::<Position>()?.with_sub(2));
    full.reason = DeadLetterReason::Poison;
    full.holds_key = true;
    full.message = "Kaputt: “ü” 🚚".into();
    full.attempts = 3;
    full.stored_at = Some("2026-01-30T10:00:00.5Z".parse()?);
    for attempt in 1..=3 {
        full.failures.push(Failure {
            attempt,
            at: Timestamp::from_millis(1_000_000 + i64::from(attempt)),
            error: format!("attempt {attempt} failed").into(),
        });
    }
    let bare = dead_letter(1, "billing", "orders", "VINET");
    put(&*dead_letters, &[full.clone(), bare.clone()]).await?;
    for buried in [&full, &bare] {
        let found = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
        let same = |it: &&StoredDeadLetter| it.dead_letter.event.id() == buried.event.id();
        let id = found.iter().find(same).map(|it| it.id.clone());
        let id = id.ok_or_else(|| Stop::failed("a stored dead letter is not listed"))?;
        let shown = dead_letters.show_one(&id).await?;
        let shown = shown.ok_or_else(|| Stop::failed("a listed dead letter cannot be shown"))?;
        check_eq!(shown.id, id, "its id");
        check_same(&buried.event, &shown.dead_letter.event)?;
        check_eq!(shown.dead_letter, *buried, "the dead letter");
    }
    Ok(())
}

async fn dead_letters_are_listed_oldest_first(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    for n in 0..6 {
        put(&*dead_letters, &[dead_letter(n, "g", "s", "k")]).await?;
    }
    let found = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    let numbers: Vec<u64> = found
        .iter()
        .map(|it| number(&it.dead_letter.event))
        .collect::<Outcome<_>>()?;
    check_eq!(
        numbers,
        (0..6).collect::<Vec<_>>(),
        "the dead letters, oldest first"
    );
    Ok(())
}

async fn dead_letters_are_listed_by_page(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    let all: Vec<DeadLetter> = (0..25).map(|n| dead_letter(n, "g", "s", "k")).collect();
    put(&*dead_letters, &all).await?;
    let mut numbers = Vec::new();
    let mut query = DeadLetterQuery::default();
    query.limit = 10;
    for _ in 0..4 {
        let page = listed(&*dead_letters, &query).await?;
        check!(page.len() <= 10, "a page of at most 10 has {}", page.len());
        for it in &page {
            numbers.push(number(&it.dead_letter.event)?);
        }
        match page.last() {
            Some(last) => query.after = Some(last.id.clone()),
            None => break,
        }
    }
    check_eq!(numbers.len(), 25, "dead letters on all pages");
    numbers.sort_unstable();
    numbers.dedup();
    check_eq!(numbers.len(), 25, "different dead letters on all pages");
    Ok(())
}

async fn dead_letters_are_filtered(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    let all = [
        dead_letter(0, "billing", "orders", "a"),
        dead_letter(1, "billing", "orders", "b"),
        dead_letter(2, "billing", "returns", "a"),
        dead_letter(3, "shipping", "orders", "a"),
    ];
    put(&*dead_letters, &all).await?;
    let mut group = DeadLetterQuery::default();
    group.group = Some(GroupName::new("billing"));
    let mut stream = DeadLetterQuery::default();
    stream.stream = Some(StreamName::new("orders"));
    let mut key = DeadLetterQuery::default();
    key.key = Some("a".into());
    let mut every = group.clone();
    every.stream = stream.stream.clone();
    every.key = key.key.clone();
    let queries = [
        (group, vec![0, 1, 2]),
        (stream, vec![0, 1, 3]),
        (key, vec![0, 2, 3]),
        (every, vec![0]),
    ];
    for (query, expected) in queries {
        let found = listed(&*dead_letters, &query).await?;
        let numbers = found.iter().map(|it| number(&it.dead_letter.event));
        check_eq!(numbers.collect::<Outcome<Vec<_>>>()?, expected, "{query:?}");
    }
    Ok(())
}

async fn purged_dead_letter_is_gone(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    put(
        &*dead_letters,
        &[dead_letter(0, "g", "s", "k"), dead_letter(1, "g", "s", "k")],
    )
    .await?;
    let found = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check_eq!(found.len(), 2, "dead_letters");
    for outcome in dead_letters.purge(std::slice::from_ref(&found[0].id)).await {
        outcome.during("purging")?;
    }
    let gone = dead_letters.show_one(&found[0].id).await?;
    check!(gone.is_none(), "a purged dead letter is still shown");
    let left = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check_eq!(left.len(), 1, "dead letters that are left");
    check_eq!(left[0].id, found[1].id, "the dead letter that is left");
    Ok(())
}

async fn redriven_dead_letter_moves(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = dead_letters(context).await?;
    let mut observer = harness.observe().await?;
    let buried = [
        dead_letter(0, "billing", "s", "k"),
        dead_letter(1, "billing", "s", "k"),
    ];
    put(&*dead_letters, &buried).await?;
    let ids = ids(&*dead_letters).await?;
    let producer = harness.producer().await?;
    let receipts = dead_letters.redrive(&ids, &*producer).await;
    check_eq!(
        receipts.len(),
        2,
        "outcomes of a redrive of two dead letters"
    );
    for receipt in receipts {
        receipt.during("redriving")?;
    }
    let events: Vec<Event> = buried
        .into_iter()
        .map(|dead_letter| dead_letter.event)
        .collect();
    let seen = observer.collect(2).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    for event in seen.firsts() {
        check_eq!(
            DeadLetter::target_group(event),
            Some("billing"),
            "its target group"
        );
    }
    let left = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check!(
        left.is_empty(),
        "{} redriven dead letters are still there",
        left.len()
    );
    Ok(())
}

async fn dead_letter_stays_when_its_redrive_fails(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = dead_letters(context).await?;
    put(&*dead_letters, &[dead_letter(0, "billing", "s", "k")]).await?;
    let ids = ids(&*dead_letters).await?;
    let refusing = Flaky::failing(harness.producer().await?, 1);
    let receipts = dead_letters.redrive(&ids, &refusing).await;
    check!(
        matches!(receipts[..], [Err(_)]),
        "a failed redrive returned {receipts:?}"
    );
    let left = dead_letters.show_one(&ids[0]).await?;
    check!(left.is_some(), "a failed redrive removed the dead letter");
    Ok(())
}

/// Interrupted between its two steps, as by a crash: the event is sent, its dead letter still stored.
async fn interrupted_redrive_is_repeated_under_the_same_id(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = dead_letters(context).await?;
    let mut observer = harness.observe().await?;
    let buried = dead_letter(0, "billing", "s", "k");
    put(&*dead_letters, std::slice::from_ref(&buried)).await?;
    let ids = ids(&*dead_letters).await?;
    let producer = harness.producer().await?;
    let interrupted = FailingDeadLetters::purging(dead_letters.clone(), 1);
    let outcomes = interrupted.redrive(&ids, &*producer).await;
    let effects: Vec<_> = outcomes
        .iter()
        .map(|it| it.as_ref().err().map(|error| error.effect()))
        .collect();
    check_eq!(
        effects,
        vec![Some(Effect::Unknown)],
        "a redrive whose dead letter could not be removed"
    );
    let left = dead_letters.show_one(&ids[0]).await?;
    check!(left.is_some(), "its dead letter is gone");
    for receipt in dead_letters.redrive(&ids, &*producer).await {
        receipt.during("redriving again")?;
    }
    let last = keyed("k", 1);
    harness.send(std::slice::from_ref(&last)).await?;
    let seen = observer.collect(2).await?;
    seen.check_complete(&[buried.event.clone(), last])?;
    check_eq!(seen.distinct(), 2, "events under different ids");
    let left = listed(&*dead_letters, &DeadLetterQuery::default()).await?;
    check!(left.is_empty(), "a redriven dead letter is still there");
    Ok(())
}

async fn dead_letter_given_twice_is_redriven_once(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = dead_letters(context).await?;
    put(&*dead_letters, &[dead_letter(0, "billing", "s", "k")]).await?;
    let mut twice = ids(&*dead_letters).await?;
    twice.push(twice[0].clone());
    let producer = harness.producer().await?;
    let outcomes = dead_letters.redrive(&twice, &*producer).await;
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|it| it.as_ref().err().map(|error| error.kind()))
        .collect();
    check_eq!(
        kinds,
        vec![None, Some(ErrorKind::Invalid)],
        "redriving one dead letter twice in a call"
    );
    Ok(())
}

async fn cut_dead_letter_is_not_redriven(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = dead_letters(context).await?;
    let mut cut = dead_letter(0, "billing", "s", "k");
    cut.event = cut.event.with_attribute(DeadLetter::DATA_BYTES, 300_000)?;
    put(&*dead_letters, &[cut]).await?;
    let ids = ids(&*dead_letters).await?;
    let producer = harness.producer().await?;
    let outcomes = dead_letters.redrive(&ids, &*producer).await;
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|it| it.as_ref().err().map(|error| error.kind()))
        .collect();
    check_eq!(
        kinds,
        vec![Some(ErrorKind::Corrupt)],
        "redriving a dead letter that has only part of its data"
    );
    let left = dead_letters.show_one(&ids[0]).await?;
    check!(
        left.is_some(),
        "a dead letter that cannot be redriven is gone"
    );
    Ok(())
}

async fn unknown_dead_letter_is_not_found(context: &Context<'_>) -> Outcome {
    let (harness, dead_letters) = dead_letters(context).await?;
    put(&*dead_letters, &[dead_letter(0, "g", "s", "k")]).await?;
    let known = ids(&*dead_letters).await?.remove(0);
    dead_letters.purge(std::slice::from_ref(&known)).await;
    let shown = dead_letters.show_one(&known).await?;
    check!(
        shown.is_none(),
        "a dead letter that does not exist is shown"
    );
    let producer = harness.producer().await?;
    let driven = dead_letters
        .redrive(std::slice::from_ref(&known), &*producer)
        .await;
    let kinds: Vec<_> = driven
        .into_iter()
        .map(|it| it.err().map(|it| it.kind()))
        .collect();
    check_eq!(
        kinds,
        vec![Some(ErrorKind::NotFound)],
        "redriving a dead letter that does not exist"
    );
    Ok(())
}

async fn no_key_is_held_at_first(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    let (group, stream) = (GroupName::new("g"), StreamName::new("s"));
    check!(
        dead_letters.held_keys(&group, &stream).await?.is_empty(),
        "keys are held at first"
    );
    put(&*dead_letters, &[dead_letter(0, "g", "s", "k")]).await?;
    let held = dead_letters.held_keys(&group, &stream).await?;
    check!(
        held.is_empty(),
        "a dead letter by itself must hold no key, but the held keys are {held:?}"
    );
    dead_letters
        .release_key(&group, &stream, "k")
        .await
        .during("releasing a key that is not held")
}

async fn held_key_stays_until_released(context: &Context<'_>) -> Outcome {
    let (_bench, dead_letters) = dead_letters(context).await?;
    let (group, stream) = (GroupName::new("g"), StreamName::new("s"));
    let mut holding = [
        dead_letter(0, "g", "s", "ключ"),
        dead_letter(1, "g", "s", "b"),
    ];
    for dead_letter in &mut holding {
        dead_letter.holds_key = true;
    }
    put(&*dead_letters, &holding).await?;
    let mut held = dead_letters.held_keys(&group, &stream).await?;
    held.sort();
    check_eq!(held, ["b", "ключ"], "the held keys");
    for (group, stream) in [("other", "s"), ("g", "other")] {
        let held = dead_letters
            .held_keys(&group.into(), &stream.into())
            .await?;
        check!(held.is_empty(), "group {group} on {stream} holds {held:?}");
    }
    for outcome in dead_letters.purge(&ids(&*dead_letters).await?).await {
        outcome.during("purging")?;
    }
    let held = dead_letters.held_keys(&group, &stream).await?;
    check_eq!(held.len(), 2, "held keys whose dead letters are gone");
    dead_letters.release_key(&group, &stream, "ключ").await?;
    let held = dead_letters.held_keys(&group, &stream).await?;
    check_eq!(held, ["b"], "the keys that are held after one was released");
    Ok(())
}

pub(super) async fn dead_letters<'a>(
    context: &'a Context<'a>,
) -> Outcome<(Harness<'a>, Arc<dyn DeadLetterStore>)> {
    let harness = context.harness(1).await?;
    let dead_letters = harness.dead_letters().await?;
    context.step("dead_letters");
    Ok((harness, dead_letters))
}

pub(super) async fn listed(
    dead_letters: &dyn DeadLetterStore,
    query: &DeadLetterQuery,
) -> Outcome<Vec<StoredDeadLetter>> {
    dead_letters
        .list(query)
        .await
        .during("listing dead letters")
}

async fn ids(dead_letters: &dyn DeadLetterStore) -> Outcome<Vec<DeadLetterId>> {
    let found = listed(dead_letters, &DeadLetterQuery::default()).await?;
    check!(!found.is_empty(), "no dead letters are listed");
    Ok(found.into_iter().map(|it| it.id).collect())
}

async fn put(dead_letters: &dyn DeadLetterStore, batch: &[DeadLetter]) -> Outcome {
    let outcomes = dead_letters.put(batch).await;
    check_eq!(
        outcomes.len(),
        batch.len(),
        "outcomes of a batch of dead letters"
    );
    for outcome in outcomes {
        outcome.during("burying")?;
    }
    Ok(())
}

fn dead_letter(n: u64, group: &str, stream: &str, key: &str) -> DeadLetter {
    DeadLetter::new(
        keyed(key, n),
        StreamName::new(stream),
        GroupName::new(group),
        DeadLetterReason::Exhausted,
        "the last attempt failed",
        Timestamp::from_millis(1_770_000_000_000 + i64::try_from(n).unwrap_or_default()),
    )
}
