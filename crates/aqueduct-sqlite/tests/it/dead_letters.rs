use aqueduct_core::{
    BatchProducer, Capabilities, Claims, DeadLetter, DeadLetterId, DeadLetterQuery,
    DeadLetterReason, DeadLetterStore, DeadLetterStoreExt as _, ErrorKind, Event, Failure, Lane,
    Limits, Position, Receipt, Result, SendReport, Timestamp,
};
use std::time::Duration;

use crate::support::*;

fn dead_letter(event: Event, group: &str) -> DeadLetter {
    let mut dead_letter = DeadLetter::new(
        event,
        "orders".into(),
        group.into(),
        DeadLetterReason::Exhausted,
        "declined",
        Timestamp::from_millis(1_700_000_000_123),
    );
    dead_letter.partition = Some("3".into());
    dead_letter.position = Some(Position::new(17));
    dead_letter.attempts = 2;
    dead_letter.failures = (1..=2)
        .map(|attempt| Failure {
            attempt,
            at: Timestamp::from_millis(i64::from(attempt)),
            error: "\"quoted\" é".into(),
        })
        .collect();
    dead_letter.stored_at = Some(Timestamp::from_millis(5));
    dead_letter
}

async fn put(dead_letters: &dyn DeadLetterStore, batch: &[DeadLetter]) {
    for answer in dead_letters.put(batch).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_letter_is_kept_whole_and_buried_once() {
    let place = Place::new();
    let dead_letters = place
        .resource("dlq", &[])
        .dead_letters(&place.runtime)
        .await
        .unwrap();
    let one = dead_letter(
        event("a", 0).with_attribute("tenant", 7).unwrap(),
        "billing",
    );
    let other = dead_letter(event("b", 1), "billing");
    put(&*dead_letters, &[one.clone(), other.clone(), one.clone()]).await;
    put(&*dead_letters, std::slice::from_ref(&one)).await;
    let listed = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!(
        (&listed[0].dead_letter, &listed[1].dead_letter),
        (&one, &other)
    );
    let shown = dead_letters.show_one(&listed[0].id).await.unwrap().unwrap();
    assert_eq!(shown.dead_letter, one);
    for unknown in ["77", "no number"] {
        assert!(
            dead_letters
                .show_one(&DeadLetterId(unknown.into()))
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_list_is_narrowed_and_paged() {
    let place = Place::new();
    let dead_letters = place
        .resource("dlq", &[])
        .dead_letters(&place.runtime)
        .await
        .unwrap();
    for n in 0..10 {
        let group = if n % 2 == 0 { "billing" } else { "shipping" };
        put(
            &*dead_letters,
            &[dead_letter(event(&format!("k{}", n % 5), n), group)],
        )
        .await;
    }
    let mut query = DeadLetterQuery::default();
    query.group = Some("billing".into());
    query.limit = 2;
    let mut pages = Vec::new();
    loop {
        let page = dead_letters.list(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(last.id.clone());
        pages.push(page.len());
    }
    assert_eq!(pages, [2, 2, 1]);
    query.after = None;
    query.key = Some("k2".into());
    assert_eq!(dead_letters.list(&query).await.unwrap().len(), 1);
    query.stream = Some("elsewhere".into());
    assert!(dead_letters.list(&query).await.unwrap().is_empty());
    query.after = Some(DeadLetterId("x".into()));
    assert!(
        dead_letters
            .list(&query)
            .await
            .unwrap_err()
            .is(ErrorKind::Invalid)
    );
}

#[tokio::test]
async fn a_redriven_letter_names_its_group_and_leaves_once_it_is_stored() {
    let place = Place::new();
    let dead_letters = place
        .resource("dlq", &[])
        .dead_letters(&place.runtime)
        .await
        .unwrap();
    let producer = place.producer(&[("max_event_bytes", "2KiB")]).await;
    let large = event("b", 1).with_data(vec![0; 4096]);
    put(
        &*dead_letters,
        &[
            dead_letter(event("a", 0), "billing"),
            dead_letter(large, "billing"),
        ],
    )
    .await;
    let listed = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    let unknown = DeadLetterId("99".into());
    let ids = [listed[0].id.clone(), unknown, listed[1].id.clone()];
    let answers = dead_letters.redrive(&ids, &*producer).await;
    assert!(answers[0].as_ref().unwrap().position.is_some());
    assert!(answers[1].as_ref().unwrap_err().is(ErrorKind::NotFound));
    assert!(answers[2].as_ref().unwrap_err().is(ErrorKind::TooLarge));
    let left = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, listed[1].id);
    let stored = read_stream(&*place.log(&[]).await).await;
    assert_eq!(DeadLetter::target_group(&stored[0].event), Some("billing"));
}

#[tokio::test]
async fn purged_letters_are_gone() {
    let place = Place::new();
    let dead_letters = place
        .resource("dlq", &[])
        .dead_letters(&place.runtime)
        .await
        .unwrap();
    put(&*dead_letters, &[dead_letter(event("a", 0), "billing")]).await;
    let id = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap()[0]
        .id
        .clone();
    let answers = dead_letters.purge(&[id.clone(), id]).await;
    answers[0].as_ref().unwrap();
    assert!(answers[1].as_ref().unwrap_err().is(ErrorKind::NotFound));
    assert!(
        dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_held_key_stays_held_until_released_even_without_its_letters() {
    let place = Place::new();
    let dead_letters = place
        .resource("dlq", &[])
        .dead_letters(&place.runtime)
        .await
        .unwrap();
    let mut holding = dead_letter(event("a", 0), "billing");
    holding.holds_key = true;
    put(
        &*dead_letters,
        &[holding, dead_letter(event("b", 1), "billing")],
    )
    .await;
    let (group, stream) = ("billing".into(), "orders".into());
    assert_eq!(
        dead_letters.held_keys(&group, &stream).await.unwrap(),
        ["a"]
    );
    let listed = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    assert!(listed[0].dead_letter.holds_key && !listed[1].dead_letter.holds_key);
    dead_letters
        .purge(&[listed[0].id.clone()])
        .await
        .pop()
        .unwrap()
        .unwrap();
    assert_eq!(
        dead_letters.held_keys(&group, &stream).await.unwrap(),
        ["a"]
    );
    assert!(
        dead_letters
            .held_keys(&"shipping".into(), &stream)
            .await
            .unwrap()
            .is_empty()
    );
    dead_letters
        .release_key(&group, &stream, "a")
        .await
        .unwrap();
    assert!(
        dead_letters
            .held_keys(&group, &stream)
            .await
            .unwrap()
            .is_empty()
    );
}

/// Stores nothing: its events fail again at once in their group, and become dead letters again.
struct FailsAgain {
    dead_letters: std::sync::Arc<dyn DeadLetterStore>,
    dead_letter: DeadLetter,
}

#[async_trait::async_trait]
#[deny(clippy::missing_trait_methods)]
impl BatchProducer for FailsAgain {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        put(&*self.dead_letters, std::slice::from_ref(&self.dead_letter)).await;
        SendReport::new(events.iter().map(|_| Ok(Receipt::default())).collect())
    }

    fn lane(&self, _: &Event) -> Lane {
        Lane(0)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Limits::default(),
        }
    }

    fn deduplicates(&self) -> Option<Duration> {
        None
    }

    fn consecutive_requests(&self, _: &[Event]) -> u32 {
        1
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_redriven_event_that_fails_again_before_its_letter_is_removed_stays_a_letter() {
    // From a log, and from a queue.
    for places in [Some((17, 18)), None] {
        let place = Place::new();
        let dead_letters = place
            .resource("dlq", &[])
            .dead_letters(&place.runtime)
            .await
            .unwrap();
        let mut first = dead_letter(event("a", 0), "billing");
        first.position = places.map(|(before, _)| Position::new(before));
        put(&*dead_letters, std::slice::from_ref(&first)).await;
        let mut known = first.clone();
        known.reason = DeadLetterReason::KeyHeld;
        put(&*dead_letters, &[known]).await;
        let stored = dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].dead_letter, first);
        let mut again = dead_letter(first.redriven().unwrap(), "billing");
        again.position = places.map(|(_, behind)| Position::new(behind));
        again.message = "declined once more".into();
        let to = FailsAgain {
            dead_letters: dead_letters.clone(),
            dead_letter: again.clone(),
        };
        let id = stored[0].id.clone();
        for answer in dead_letters.redrive(std::slice::from_ref(&id), &to).await {
            answer.unwrap();
        }
        let left = dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].dead_letter, again);
        assert_ne!(left[0].id, id);
    }
}
