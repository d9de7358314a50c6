use std::sync::Arc;

use aqueduct_core::{
    Capability, ErrorKind, Event, Failure, GroupName, Letter, LetterId, LetterQuery, LetterReason,
    Letters, PartitionId, Position, StoredLetter, StreamName, Timestamp,
};

use crate::bench::Bench;
use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::stop::{During as _, Outcome, Stop, check, check_eq};
use crate::workload::{check_same, keyed, number};
use crate::wrap::Flaky;

pub(super) const CASES: &[Case] = &[
    case!(Store letter_keeps_its_provenance, [4], [Need::Can(Capability::Letters)]),
    case!(Store letters_are_listed_oldest_first, [4], [Need::Can(Capability::Letters)]),
    case!(Store letters_are_listed_by_page, [4], [Need::Can(Capability::Letters)]),
    case!(Store letters_are_filtered, [4], [Need::Can(Capability::Letters)]),
    case!(Store purged_letter_is_gone, [4], [Need::Can(Capability::Letters)]),
    case!(Store redriven_letter_moves, [4, 12], [Need::Can(Capability::Letters), Need::Producer]),
    case!(Store letter_stays_when_its_redrive_fails, [4], [Need::Can(Capability::Letters), Need::Producer]),
    case!(Store unknown_letter_is_not_found, [4], [Need::Can(Capability::Letters), Need::Producer]),
    case!(Store no_key_is_held_at_first, [4], [Need::Can(Capability::Letters)]),
    case!(Store held_key_stays_until_released, [4], [Need::Can(Capability::Letters)]),
];

async fn letter_keeps_its_provenance(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    let mut full = letter(0, "billing", "orders", "VINET");
    full.partition = Some(PartitionId::new("shardId-000000000003"));
    full.position = Some("9".repeat(56).parse::<Position>()?.with_sub(2));
    full.reason = LetterReason::Poison;
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
    let bare = letter(1, "billing", "orders", "VINET");
    bury(&*letters, &[full.clone(), bare.clone()]).await?;
    for buried in [&full, &bare] {
        let found = listed(&*letters, &LetterQuery::default()).await?;
        let same = |it: &&StoredLetter| it.letter.event.id() == buried.event.id();
        let id = found.iter().find(same).map(|it| it.id.clone());
        let id = id.ok_or_else(|| Stop::failed("a buried letter is not listed"))?;
        let shown = letters.show(&id).await?;
        let shown = shown.ok_or_else(|| Stop::failed("a listed letter cannot be shown"))?;
        check_eq!(shown.id, id, "its id");
        check_same(&buried.event, &shown.letter.event)?;
        check_eq!(shown.letter, *buried, "the letter");
    }
    Ok(())
}

async fn letters_are_listed_oldest_first(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    for n in 0..6 {
        bury(&*letters, &[letter(n, "g", "s", "k")]).await?;
    }
    let found = listed(&*letters, &LetterQuery::default()).await?;
    let numbers: Vec<u64> = found
        .iter()
        .map(|it| number(&it.letter.event))
        .collect::<Outcome<_>>()?;
    check_eq!(
        numbers,
        (0..6).collect::<Vec<_>>(),
        "the letters, oldest first"
    );
    Ok(())
}

async fn letters_are_listed_by_page(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    let all: Vec<Letter> = (0..25).map(|n| letter(n, "g", "s", "k")).collect();
    bury(&*letters, &all).await?;
    let mut numbers = Vec::new();
    let mut query = LetterQuery::default();
    query.limit = 10;
    for _ in 0..4 {
        let page = listed(&*letters, &query).await?;
        check!(page.len() <= 10, "a page of at most 10 has {}", page.len());
        for it in &page {
            numbers.push(number(&it.letter.event)?);
        }
        match page.last() {
            Some(last) => query.after = Some(last.id.clone()),
            None => break,
        }
    }
    check_eq!(numbers.len(), 25, "letters on all pages");
    numbers.sort_unstable();
    numbers.dedup();
    check_eq!(numbers.len(), 25, "different letters on all pages");
    Ok(())
}

async fn letters_are_filtered(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    let all = [
        letter(0, "billing", "orders", "a"),
        letter(1, "billing", "orders", "b"),
        letter(2, "billing", "returns", "a"),
        letter(3, "shipping", "orders", "a"),
    ];
    bury(&*letters, &all).await?;
    let mut group = LetterQuery::default();
    group.group = Some(GroupName::new("billing"));
    let mut stream = LetterQuery::default();
    stream.stream = Some(StreamName::new("orders"));
    let mut key = LetterQuery::default();
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
        let found = listed(&*letters, &query).await?;
        let numbers = found.iter().map(|it| number(&it.letter.event));
        check_eq!(numbers.collect::<Outcome<Vec<_>>>()?, expected, "{query:?}");
    }
    Ok(())
}

async fn purged_letter_is_gone(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    bury(
        &*letters,
        &[letter(0, "g", "s", "k"), letter(1, "g", "s", "k")],
    )
    .await?;
    let found = listed(&*letters, &LetterQuery::default()).await?;
    check_eq!(found.len(), 2, "letters");
    for outcome in letters.purge(std::slice::from_ref(&found[0].id)).await {
        outcome.during("purging")?;
    }
    let gone = letters.show(&found[0].id).await?;
    check!(gone.is_none(), "a purged letter is still shown");
    let left = listed(&*letters, &LetterQuery::default()).await?;
    check_eq!(left.len(), 1, "letters that are left");
    check_eq!(left[0].id, found[1].id, "the letter that is left");
    Ok(())
}

async fn redriven_letter_moves(context: &Context<'_>) -> Outcome {
    let (bench, letters) = letters(context).await?;
    let mut tap = bench.tap().await?;
    let buried = [
        letter(0, "billing", "s", "k"),
        letter(1, "billing", "s", "k"),
    ];
    bury(&*letters, &buried).await?;
    let ids = ids(&*letters).await?;
    let producer = bench.producer().await?;
    let receipts = letters.redrive(&ids, &*producer).await;
    check_eq!(receipts.len(), 2, "answers to a redrive of two letters");
    for receipt in receipts {
        receipt.during("redriving")?;
    }
    let events: Vec<Event> = buried.into_iter().map(|letter| letter.event).collect();
    let seen = tap.collect(2).await?;
    seen.check_complete(&events)?;
    seen.check_order(&events)?;
    for event in seen.firsts() {
        check_eq!(
            Letter::target_group(event),
            Some("billing"),
            "the group that it is for"
        );
    }
    let left = listed(&*letters, &LetterQuery::default()).await?;
    check!(
        left.is_empty(),
        "{} redriven letters are still there",
        left.len()
    );
    Ok(())
}

async fn letter_stays_when_its_redrive_fails(context: &Context<'_>) -> Outcome {
    let (bench, letters) = letters(context).await?;
    bury(&*letters, &[letter(0, "billing", "s", "k")]).await?;
    let ids = ids(&*letters).await?;
    let refusing = Flaky::failing(bench.producer().await?, 1);
    let receipts = letters.redrive(&ids, &refusing).await;
    check!(
        matches!(receipts[..], [Err(_)]),
        "a redrive that failed answers {receipts:?}"
    );
    let left = letters.show(&ids[0]).await?;
    check!(left.is_some(), "the letter is lost with its redrive");
    Ok(())
}

async fn unknown_letter_is_not_found(context: &Context<'_>) -> Outcome {
    let (bench, letters) = letters(context).await?;
    bury(&*letters, &[letter(0, "g", "s", "k")]).await?;
    let known = ids(&*letters).await?.remove(0);
    letters.purge(std::slice::from_ref(&known)).await;
    let shown = letters.show(&known).await?;
    check!(shown.is_none(), "a letter that is not there is shown");
    let producer = bench.producer().await?;
    let driven = letters
        .redrive(std::slice::from_ref(&known), &*producer)
        .await;
    let kinds: Vec<_> = driven
        .into_iter()
        .map(|it| it.err().map(|it| it.kind()))
        .collect();
    check_eq!(
        kinds,
        vec![Some(ErrorKind::NotFound)],
        "redriving a letter that is not there"
    );
    Ok(())
}

async fn no_key_is_held_at_first(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    let (group, stream) = (GroupName::new("g"), StreamName::new("s"));
    check!(
        letters.held_keys(&group, &stream).await?.is_empty(),
        "keys are held at first"
    );
    bury(&*letters, &[letter(0, "g", "s", "k")]).await?;
    let held = letters.held_keys(&group, &stream).await?;
    check!(
        held.is_empty(),
        "a letter alone holds no key, but held are {held:?}"
    );
    letters
        .release_key(&group, &stream, "k")
        .await
        .during("releasing a key that is free")
}

async fn held_key_stays_until_released(context: &Context<'_>) -> Outcome {
    let (_bench, letters) = letters(context).await?;
    let (group, stream) = (GroupName::new("g"), StreamName::new("s"));
    let mut holding = [letter(0, "g", "s", "ключ"), letter(1, "g", "s", "b")];
    for letter in &mut holding {
        letter.holds_key = true;
    }
    bury(&*letters, &holding).await?;
    let mut held = letters.held_keys(&group, &stream).await?;
    held.sort();
    check_eq!(held, ["b", "ключ"], "the held keys");
    for (group, stream) in [("other", "s"), ("g", "other")] {
        let held = letters.held_keys(&group.into(), &stream.into()).await?;
        check!(held.is_empty(), "group {group} on {stream} holds {held:?}");
    }
    for outcome in letters.purge(&ids(&*letters).await?).await {
        outcome.during("purging")?;
    }
    let held = letters.held_keys(&group, &stream).await?;
    check_eq!(held.len(), 2, "held keys whose letters are gone");
    letters.release_key(&group, &stream, "ключ").await?;
    let held = letters.held_keys(&group, &stream).await?;
    check_eq!(held, ["b"], "the keys that are held after one was released");
    Ok(())
}

pub(super) async fn letters<'a>(
    context: &'a Context<'a>,
) -> Outcome<(Bench<'a>, Arc<dyn Letters>)> {
    let bench = context.bench(1).await?;
    let letters = bench.letters().await?;
    context.step("letters");
    Ok((bench, letters))
}

pub(super) async fn listed(
    letters: &dyn Letters,
    query: &LetterQuery,
) -> Outcome<Vec<StoredLetter>> {
    letters.list(query).await.during("listing letters")
}

async fn ids(letters: &dyn Letters) -> Outcome<Vec<LetterId>> {
    let found = listed(letters, &LetterQuery::default()).await?;
    check!(!found.is_empty(), "no letters are listed");
    Ok(found.into_iter().map(|it| it.id).collect())
}

async fn bury(letters: &dyn Letters, batch: &[Letter]) -> Outcome {
    let outcomes = letters.bury(batch).await;
    check_eq!(outcomes.len(), batch.len(), "answers to a batch of letters");
    for outcome in outcomes {
        outcome.during("burying")?;
    }
    Ok(())
}

fn letter(n: u64, group: &str, stream: &str, key: &str) -> Letter {
    Letter::new(
        keyed(key, n),
        StreamName::new(stream),
        GroupName::new(group),
        LetterReason::Exhausted,
        "the last attempt failed",
        Timestamp::from_millis(1_770_000_000_000 + i64::try_from(n).unwrap_or_default()),
    )
}
