//! Dead letters: one object each, in every store.

use std::sync::Arc;

use aqueduct_core::{
    Backend as _, DeadLetter, DeadLetterQuery, DeadLetterReason, DeadLetterStore,
    DeadLetterStoreExt as _, ErrorKind, Event, Options, Position, Timestamp, Url,
};
use aqueduct_object_store::ObjectStoreBackend;

use crate::support::{Fault, Faulty, OWN, resource, runtime};

fn dead_letter(n: u64) -> DeadLetter {
    let event = Event::with_id_and_type(n.to_string().into(), "order.placed".into())
        .with_source("/shop")
        .with_key("k");
    let mut dead_letter = DeadLetter::new(
        event,
        "orders/eu".into(),
        "billing".into(),
        DeadLetterReason::Rejected,
        "no",
        Timestamp::from_millis(1),
    );
    dead_letter.partition = Some("0".into());
    dead_letter.position = Some(Position::new(n));
    dead_letter
}

async fn put(dead_letters: &dyn DeadLetterStore, dead_letter: &DeadLetter) {
    let put = dead_letters.put(std::slice::from_ref(dead_letter)).await;
    put.into_iter().for_each(|put| put.unwrap());
}

async fn check(dead_letters: Arc<dyn DeadLetterStore>) {
    for n in 0..12 {
        put(&*dead_letters, &dead_letter(n)).await;
    }
    // A layer that lost the response puts the same one again.
    put(&*dead_letters, &dead_letter(3)).await;
    let all = dead_letters.list(&DeadLetterQuery::new()).await.unwrap();
    let positions: Vec<_> = all.iter().map(|it| it.dead_letter.position).collect();
    let expected: Vec<_> = (0..12).map(|n| Some(Position::new(n))).collect();
    assert_eq!(positions, expected);
    let query = DeadLetterQuery::new().of_stream("orders/eu").with_limit(5);
    let page = dead_letters
        .list(&query.after(all[6].id.clone()))
        .await
        .unwrap();
    assert_eq!(page[0].id, all[7].id);
    assert_eq!(page.len(), 5);
    assert!(dead_letters.show_one(&all[0].id).await.unwrap().is_some());

    // The same event failed again at another position: redriven, and not removed yet.
    let mut again = dead_letter(3);
    again.position = Some(Position::new(90));
    put(&*dead_letters, &again).await;
    let all = dead_letters.list(&DeadLetterQuery::new()).await.unwrap();
    assert_eq!(all.len(), 12);
    assert_eq!(all[11].dead_letter.position, Some(Position::new(90)));
    let purged = dead_letters
        .purge(&[all[0].id.clone(), all[0].id.clone()])
        .await;
    assert!(purged.iter().any(|it| it.is_ok()), "{purged:?}");
    let gone = dead_letters.purge(&[all[0].id.clone()]).await.remove(0);
    assert_eq!(gone.unwrap_err().kind(), ErrorKind::NotFound);
    let wrong = dead_letters
        .purge(&[aqueduct_core::DeadLetterId("7".into())])
        .await
        .remove(0);
    assert_eq!(wrong.unwrap_err().kind(), ErrorKind::NotFound);
    let page = DeadLetterQuery::new().after(aqueduct_core::DeadLetterId("7".into()));
    assert_eq!(
        dead_letters.list(&page).await.unwrap_err().kind(),
        ErrorKind::Invalid
    );
}

#[tokio::test]
async fn dead_letters_are_objects_in_memory() {
    let store = Faulty::new();
    let dead_letters = resource(&store, OWN)
        .unwrap()
        .dead_letters(&runtime())
        .await;
    check(dead_letters.unwrap()).await;
}

#[tokio::test]
async fn dead_letters_are_files_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let url = Url::from_directory_path(folder.path()).unwrap();
    let resource = ObjectStoreBackend::new().parse("dead_letters", &url, Options::new("streams.l"));
    check(resource.unwrap().dead_letters(&runtime()).await.unwrap()).await;
}

#[tokio::test]
async fn a_dead_letter_whose_response_was_lost_is_stored_once() {
    let store = Faulty::new();
    let dead_letters = resource(&store, OWN)
        .unwrap()
        .dead_letters(&runtime())
        .await;
    let dead_letters = dead_letters.unwrap();
    store.once("dead-letters", Fault::LoseResponse);
    let lost = dead_letters.put(&[dead_letter(1)]).await.remove(0);
    assert!(lost.unwrap_err().is_retryable());
    put(&*dead_letters, &dead_letter(1)).await;
    let all = dead_letters.list(&DeadLetterQuery::new()).await.unwrap();
    assert_eq!(all.len(), 1);
}

#[tokio::test]
async fn keys_of_any_text_are_held_until_released() {
    let store = Faulty::new();
    let dead_letters = resource(&store, OWN)
        .unwrap()
        .dead_letters(&runtime())
        .await;
    let dead_letters = dead_letters.unwrap();
    let (group, stream) = ("billing".into(), "orders/eu".into());
    let keys = ["k".to_owned(), "a/b ü".to_owned(), "x".repeat(900)];
    for (n, key) in keys.iter().enumerate() {
        let mut holding = dead_letter(n as u64);
        holding.event = holding.event.with_key(key.as_str());
        holding.holds_key = true;
        put(&*dead_letters, &holding).await;
    }
    let mut held = dead_letters.held_keys(&group, &stream).await.unwrap();
    held.sort_by_key(|key| key.len());
    assert_eq!(held, keys.each_ref().map(String::as_str));
    for key in &keys {
        dead_letters
            .release_key(&group, &stream, key)
            .await
            .unwrap();
    }
    assert!(
        dead_letters
            .held_keys(&group, &stream)
            .await
            .unwrap()
            .is_empty()
    );
}
