use aqueduct_core::{
    Capabilities, Claims, ErrorKind, Event, Failure, Lane, Letter, LetterId, LetterQuery,
    LetterReason, Letters, Limits, Position, Producer, Receipt, Result, SendReport, Timestamp,
};

use crate::support::*;

fn letter(event: Event, group: &str) -> Letter {
    let mut letter = Letter::new(
        event,
        "orders".into(),
        group.into(),
        LetterReason::Exhausted,
        "declined",
        Timestamp::from_millis(1_700_000_000_123),
    );
    letter.partition = Some("3".into());
    letter.position = Some(Position::new(17));
    letter.attempts = 2;
    letter.failures = (1..=2)
        .map(|attempt| Failure {
            attempt,
            at: Timestamp::from_millis(i64::from(attempt)),
            error: "\"quoted\" é".into(),
        })
        .collect();
    letter.stored_at = Some(Timestamp::from_millis(5));
    letter
}

async fn bury(letters: &dyn Letters, batch: &[Letter]) {
    for answer in letters.bury(batch).await {
        answer.unwrap();
    }
}

#[tokio::test]
async fn a_letter_is_kept_whole_and_buried_once() {
    let place = Place::new();
    let letters = place
        .resource("dlq", &[])
        .letters(&place.runtime)
        .await
        .unwrap();
    let one = letter(
        event("a", 0).with_attribute("tenant", 7).unwrap(),
        "billing",
    );
    let other = letter(event("b", 1), "billing");
    bury(&*letters, &[one.clone(), other.clone(), one.clone()]).await;
    bury(&*letters, std::slice::from_ref(&one)).await;
    let listed = letters.list(&LetterQuery::default()).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0].letter, &listed[1].letter), (&one, &other));
    let shown = letters.show(&listed[0].id).await.unwrap().unwrap();
    assert_eq!(shown.letter, one);
    for unknown in ["77", "no number"] {
        assert!(
            letters
                .show(&LetterId(unknown.into()))
                .await
                .unwrap()
                .is_none()
        );
    }
}

#[tokio::test]
async fn a_list_is_narrowed_and_paged() {
    let place = Place::new();
    let letters = place
        .resource("dlq", &[])
        .letters(&place.runtime)
        .await
        .unwrap();
    for n in 0..10 {
        let group = if n % 2 == 0 { "billing" } else { "shipping" };
        bury(
            &*letters,
            &[letter(event(&format!("k{}", n % 5), n), group)],
        )
        .await;
    }
    let mut query = LetterQuery::default();
    query.group = Some("billing".into());
    query.limit = 2;
    let mut pages = Vec::new();
    loop {
        let page = letters.list(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(last.id.clone());
        pages.push(page.len());
    }
    assert_eq!(pages, [2, 2, 1]);
    query.after = None;
    query.key = Some("k2".into());
    assert_eq!(letters.list(&query).await.unwrap().len(), 1);
    query.stream = Some("elsewhere".into());
    assert!(letters.list(&query).await.unwrap().is_empty());
    query.after = Some(LetterId("x".into()));
    assert!(
        letters
            .list(&query)
            .await
            .unwrap_err()
            .is(ErrorKind::Invalid)
    );
}

#[tokio::test]
async fn a_redriven_letter_names_its_group_and_leaves_once_it_is_stored() {
    let place = Place::new();
    let letters = place
        .resource("dlq", &[])
        .letters(&place.runtime)
        .await
        .unwrap();
    let producer = place.producer(&[("max_event_bytes", "2KiB")]).await;
    let large = event("b", 1).with_data(vec![0; 4096]);
    bury(
        &*letters,
        &[letter(event("a", 0), "billing"), letter(large, "billing")],
    )
    .await;
    let listed = letters.list(&LetterQuery::default()).await.unwrap();
    let unknown = LetterId("99".into());
    let ids = [listed[0].id.clone(), unknown, listed[1].id.clone()];
    let answers = letters.redrive(&ids, &*producer).await;
    assert!(answers[0].as_ref().unwrap().position.is_some());
    assert!(answers[1].as_ref().unwrap_err().is(ErrorKind::NotFound));
    assert!(answers[2].as_ref().unwrap_err().is(ErrorKind::TooLarge));
    let left = letters.list(&LetterQuery::default()).await.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].id, listed[1].id);
    let stored = read_stream(&*place.log(&[]).await).await;
    assert_eq!(Letter::target_group(&stored[0].event), Some("billing"));
}

#[tokio::test]
async fn purged_letters_are_gone() {
    let place = Place::new();
    let letters = place
        .resource("dlq", &[])
        .letters(&place.runtime)
        .await
        .unwrap();
    bury(&*letters, &[letter(event("a", 0), "billing")]).await;
    let id = letters.list(&LetterQuery::default()).await.unwrap()[0]
        .id
        .clone();
    let answers = letters.purge(&[id.clone(), id]).await;
    answers[0].as_ref().unwrap();
    assert!(answers[1].as_ref().unwrap_err().is(ErrorKind::NotFound));
    assert!(
        letters
            .list(&LetterQuery::default())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_held_key_stays_held_until_released_even_without_its_letters() {
    let place = Place::new();
    let letters = place
        .resource("dlq", &[])
        .letters(&place.runtime)
        .await
        .unwrap();
    let mut holding = letter(event("a", 0), "billing");
    holding.holds_key = true;
    bury(&*letters, &[holding, letter(event("b", 1), "billing")]).await;
    let (group, stream) = ("billing".into(), "orders".into());
    assert_eq!(letters.held_keys(&group, &stream).await.unwrap(), ["a"]);
    let listed = letters.list(&LetterQuery::default()).await.unwrap();
    assert!(listed[0].letter.holds_key && !listed[1].letter.holds_key);
    letters
        .purge(&[listed[0].id.clone()])
        .await
        .pop()
        .unwrap()
        .unwrap();
    assert_eq!(letters.held_keys(&group, &stream).await.unwrap(), ["a"]);
    assert!(
        letters
            .held_keys(&"shipping".into(), &stream)
            .await
            .unwrap()
            .is_empty()
    );
    letters.release_key(&group, &stream, "a").await.unwrap();
    assert!(letters.held_keys(&group, &stream).await.unwrap().is_empty());
}

/// Stores nothing: its events fail at once in the group that they are for, and are buried again.
struct FailsAgain {
    letters: std::sync::Arc<dyn Letters>,
    letter: Letter,
}

#[async_trait::async_trait]
impl Producer for FailsAgain {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        bury(&*self.letters, std::slice::from_ref(&self.letter)).await;
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

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_redriven_event_that_fails_again_before_its_letter_is_removed_stays_a_letter() {
    // From a log, and from a queue.
    for places in [Some((17, 18)), None] {
        let place = Place::new();
        let letters = place
            .resource("dlq", &[])
            .letters(&place.runtime)
            .await
            .unwrap();
        let mut first = letter(event("a", 0), "billing");
        first.position = places.map(|(before, _)| Position::new(before));
        bury(&*letters, std::slice::from_ref(&first)).await;
        let mut known = first.clone();
        known.reason = LetterReason::KeyHeld;
        bury(&*letters, &[known]).await;
        let stored = letters.list(&LetterQuery::default()).await.unwrap();
        assert_eq!(stored.len(), 1);
        assert_eq!(stored[0].letter, first);
        let mut again = letter(first.redriven(), "billing");
        again.position = places.map(|(_, behind)| Position::new(behind));
        again.message = "declined once more".into();
        let to = FailsAgain {
            letters: letters.clone(),
            letter: again.clone(),
        };
        let id = stored[0].id.clone();
        for answer in letters.redrive(std::slice::from_ref(&id), &to).await {
            answer.unwrap();
        }
        let left = letters.list(&LetterQuery::default()).await.unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].letter, again);
        assert_ne!(left[0].id, id);
    }
}
