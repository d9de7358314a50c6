use aqueduct_core::{
    Claimed, ErrorKind, Event, EventClaim, IdempotencyScope, IdempotencyStore, Timestamp,
};
use aqueduct_sqlite::Completed;

use crate::support::*;

fn scope(group: &str, replay: u64) -> IdempotencyScope {
    IdempotencyScope {
        group: group.into(),
        handlers: "all".into(),
        replay,
    }
}

async fn records(
    place: &Place,
    options: &[(&'static str, &str)],
) -> std::sync::Arc<dyn IdempotencyStore> {
    let resource = place.resource("orders", options);
    resource.idempotency(&place.runtime).await.unwrap()
}

async fn claim(
    store: &dyn IdempotencyStore,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Claimed {
    store
        .claim(scope, std::slice::from_ref(claim))
        .await
        .unwrap()
        .remove(0)
}

fn of(event: &Event, generation: u64, nonce: u64) -> EventClaim {
    EventClaim::new(event, nonce).from_partition("orders".into(), "3".into(), generation)
}

#[tokio::test]
async fn an_event_is_claimed_once_and_a_newer_generation_takes_it_over() {
    let place = Place::new();
    let store = records(&place, &[]).await;
    let (scope, event) = (scope("billing", 0), event("a", 0));
    let (first, newer) = (of(&event, 1, 10), of(&event, 2, 20));
    assert_eq!(claim(&*store, &scope, &first).await, Claimed::New);
    assert_eq!(claim(&*store, &scope, &first).await, Claimed::Again);
    let rival = of(&event, 1, 30);
    let held = Claimed::Held {
        nonce: 10,
        heartbeat: 0,
    };
    assert_eq!(claim(&*store, &scope, &rival).await, held);
    assert_eq!(claim(&*store, &scope, &newer).await, Claimed::Again);
    assert!(matches!(
        claim(&*store, &scope, &first).await,
        Claimed::Held { nonce: 20, .. }
    ));
    let answers = store
        .complete(&scope, &[first.clone(), newer.clone()])
        .await;
    assert!(answers[0].as_ref().unwrap_err().is(ErrorKind::Conflict));
    answers[1].as_ref().unwrap();
    assert_eq!(claim(&*store, &scope, &first).await, Claimed::Completed);
    store.complete(&scope, &[first]).await[0].as_ref().unwrap();
}

#[tokio::test]
async fn groups_and_replays_do_not_suppress_each_other() {
    let place = Place::new();
    let store = records(&place, &[]).await;
    let mine = of(&event("a", 0), 1, 10);
    store
        .complete(&scope("billing", 0), std::slice::from_ref(&mine))
        .await[0]
        .as_ref()
        .unwrap();
    assert_eq!(
        claim(&*store, &scope("billing", 0), &mine).await,
        Claimed::Completed
    );
    assert_eq!(
        claim(&*store, &scope("billing", 1), &mine).await,
        Claimed::New
    );
    assert_eq!(
        claim(&*store, &scope("shipping", 0), &mine).await,
        Claimed::New
    );
}

#[tokio::test]
async fn a_released_claim_is_free_and_anothers_release_changes_nothing() {
    let place = Place::new();
    let store = records(&place, &[]).await;
    let (scope, event) = (scope("billing", 0), event("a", 0));
    let (mine, rival) = (of(&event, 1, 10), of(&event, 1, 30));
    claim(&*store, &scope, &mine).await;
    store.release(&scope, std::slice::from_ref(&rival)).await[0]
        .as_ref()
        .unwrap();
    assert!(matches!(
        claim(&*store, &scope, &rival).await,
        Claimed::Held { .. }
    ));
    store.heartbeat(&scope, std::slice::from_ref(&mine)).await[0]
        .as_ref()
        .unwrap();
    let beaten = store.heartbeat(&scope, std::slice::from_ref(&rival)).await;
    assert!(beaten[0].as_ref().unwrap_err().is(ErrorKind::Conflict));
    assert!(matches!(
        claim(&*store, &scope, &rival).await,
        Claimed::Held { heartbeat: 1, .. }
    ));
    store.release(&scope, &[mine]).await[0].as_ref().unwrap();
    assert_eq!(claim(&*store, &scope, &rival).await, Claimed::New);
}

#[tokio::test]
async fn a_claim_from_a_queue_lapses_by_its_heartbeat_alone() {
    let place = Place::new();
    let store = records(&place, &[("claim_life", "150ms")]).await;
    let (scope, event) = (scope("billing", 0), event("a", 0));
    let (beating, rival) = (EventClaim::new(&event, 10), EventClaim::new(&event, 20));
    assert_eq!(claim(&*store, &scope, &beating).await, Claimed::New);
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_millis(400) {
        store
            .heartbeat(&scope, std::slice::from_ref(&beating))
            .await[0]
            .as_ref()
            .unwrap();
        let seen = claim(&*store, &scope, &rival).await;
        assert!(matches!(seen, Claimed::Held { nonce: 10, .. }), "{seen:?}");
    }
    until("it stands still for a life", || async {
        claim(&*store, &scope, &rival).await == Claimed::Again
    })
    .await;
    let late = store.complete(&scope, std::slice::from_ref(&beating)).await;
    assert!(late[0].as_ref().unwrap_err().is(ErrorKind::Conflict));
}

#[tokio::test]
async fn completing_within_a_transaction_keeps_effect_and_record_together() {
    let place = Place::new();
    let store = place.store().await;
    let records = records(&place, &[]).await;
    store
        .transaction(|tx| {
            use aqueduct_sqlite::SqlResultExt as _;
            tx.execute_batch("CREATE TABLE charge (n INTEGER)")
                .sql("create")
        })
        .await
        .unwrap();
    let (scope, mine) = (scope("billing", 0), of(&event("a", 0), 1, 10));
    let charge = |fail: bool| {
        let (again, scope, mine) = (store.clone(), scope.clone(), mine.clone());
        store.transaction(move |tx| {
            let done = again.complete_in(tx, &scope, &mine)?;
            if done == Completed::Now {
                tx.execute("INSERT INTO charge VALUES (1)", []).unwrap();
            }
            if fail {
                return Err(aqueduct_core::Error::new(ErrorKind::Handler, "declined"));
            }
            Ok(done)
        })
    };
    assert!(charge(true).await.unwrap_err().is(ErrorKind::Handler));
    assert_eq!(claim(&*records, &scope, &mine).await, Claimed::New);
    assert_eq!(charge(false).await.unwrap(), Completed::Now);
    assert_eq!(charge(false).await.unwrap(), Completed::Already);
    assert_eq!(claim(&*records, &scope, &mine).await, Claimed::Completed);
    let charged: i64 = store
        .read(|connection| {
            Ok(connection
                .query_row("SELECT count(*) FROM charge", [], |row| row.get(0))
                .unwrap())
        })
        .await
        .unwrap();
    assert_eq!(charged, 1);

    let rival = of(&event("b", 0), 2, 1);
    claim(&*records, &scope, &rival).await;
    let mut fenced = rival.clone();
    (fenced.generation, fenced.nonce) = (1, 5);
    let (again, asked) = (store.clone(), scope.clone());
    let refused = store
        .transaction(move |tx| again.complete_in(tx, &asked, &fenced))
        .await;
    assert!(refused.unwrap_err().is(ErrorKind::Conflict));
}

#[tokio::test]
async fn purging_removes_completed_ids_alone() {
    let place = Place::new();
    let store = records(&place, &[]).await;
    assert_eq!(store.retention(), None);
    let scope = scope("billing", 0);
    let (done, open) = (of(&event("a", 0), 1, 1), of(&event("b", 0), 1, 1));
    store.complete(&scope, std::slice::from_ref(&done)).await[0]
        .as_ref()
        .unwrap();
    claim(&*store, &scope, &open).await;
    assert_eq!(store.purge(Timestamp::EPOCH).await.unwrap(), 0);
    let later = place
        .runtime
        .wall()
        .saturating_add(std::time::Duration::from_secs(1));
    assert_eq!(store.purge(later).await.unwrap(), 1);
    assert_eq!(claim(&*store, &scope, &done).await, Claimed::New);
    assert_eq!(claim(&*store, &scope, &open).await, Claimed::Again);
    assert!(store.claim(&scope, &[]).await.unwrap().is_empty());
    assert!(store.complete(&scope, &[]).await.is_empty());
}
