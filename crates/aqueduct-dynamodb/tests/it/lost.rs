//! The response of each write is lost once: the reported effect is correct.

use aqueduct_core::{
    Claimed, Effect, Event, EventClaim, GroupName, GroupRecord, IdempotencyScope, OwnerId,
    ResolvedStart, Swap,
};
use aqueduct_emulators::HttpFault;

use crate::support::{Place, SHARD, fresh, key, swapped, taken};

fn record(replay: u64) -> GroupRecord {
    let at = "2026-02-01T00:00:00Z".parse().unwrap();
    let start = ResolvedStart {
        at,
        partitions: Vec::new(),
    };
    GroupRecord::new(start, replay, at)
}

#[tokio::test]
async fn lease_writes_say_unknown_and_the_row_tells() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let lose = |operation| place.faults.inject(operation, HttpFault::LoseAnswer);

    lose("UpdateItem");
    let mut lease = fresh(SHARD);
    lease.nonce = 9;
    let error = store.create(&key(), lease.clone()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    let made = store.create(&key(), lease).await.unwrap();
    assert_eq!(made.nonce, 9);

    lose("UpdateItem");
    let next = taken(&made, "me");
    let error = store.swap(&key(), &made, next.clone()).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    // Repeating the write conflicts with the caller's own write, recognisable by the nonce.
    let again = store.swap(&key(), &made, next.clone()).await.unwrap();
    let Swap::Lost(Some(mine)) = again else {
        panic!("written twice");
    };
    assert_eq!((mine.nonce, &mine.owner), (next.nonce, &next.owner));

    lose("UpdateItem");
    let asked = store.request(&key(), &mine, &OwnerId::new("guest")).await;
    assert_eq!(asked.unwrap_err().effect(), Effect::Unknown);
    let row = store.read(&key(), &mine.partition).await.unwrap().unwrap();
    assert_eq!(row.wanted_by, Some(OwnerId::new("guest")));

    lose("DeleteItem");
    let error = store.delete(&key(), &mine).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    assert_eq!(store.delete(&key(), &mine).await.unwrap(), Swap::Lost(None));
}

#[tokio::test]
async fn a_request_that_never_arrived_changed_nothing() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    let made = store.create(&key(), fresh(SHARD)).await.unwrap();
    place.faults.inject("UpdateItem", HttpFault::Refuse);
    let error = store
        .swap(&key(), &made, taken(&made, "me"))
        .await
        .unwrap_err();
    assert_eq!(error.effect(), Effect::None);
    assert!(error.is_retryable());
    swapped(store.swap(&key(), &made, taken(&made, "me")).await.unwrap());
}

#[tokio::test]
async fn group_records_are_read_again() {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    place.faults.inject("PutItem", HttpFault::LoseAnswer);
    let stored = store.create_group(&key(), record(0)).await.unwrap();
    assert_eq!(stored, record(0));
    store.create(&key(), fresh(SHARD)).await.unwrap();
    place
        .faults
        .inject("TransactWriteItems", HttpFault::LoseAnswer);
    let stored = store.reset_group(&key(), 0, record(1)).await.unwrap();
    assert_eq!(stored, record(1));
    assert!(store.list(&key(), &[]).await.unwrap().is_empty());
    let late = store.reset_group(&key(), 0, record(7)).await.unwrap();
    assert_eq!(late, record(1));
}

#[tokio::test]
async fn idempotency_writes_may_be_repeated() {
    let place = Place::new().await;
    let store = place.records(&[]).await;
    let scope = IdempotencyScope {
        group: GroupName::new("g"),
        handlers: "h".into(),
        replay: 0,
    };
    let event = Event::new("t").with_id("1");
    let claims = [EventClaim::new(&event, 5)];
    let lose = |operation| place.faults.inject(operation, HttpFault::LoseAnswer);

    lose("UpdateItem");
    let error = store.claim(&scope, &claims).await.unwrap_err();
    assert_eq!(error.effect(), Effect::Unknown);
    let again = store.claim(&scope, &claims).await.unwrap();
    assert_eq!(again, [Claimed::Again]);

    lose("DeleteItem");
    let [Err(error)] = &store.release(&scope, &claims).await[..] else {
        panic!("the answer was lost");
    };
    assert_eq!(error.effect(), Effect::Unknown);
    assert!(store.release(&scope, &claims).await[0].is_ok());
    assert_eq!(store.claim(&scope, &claims).await.unwrap(), [Claimed::New]);

    lose("UpdateItem");
    assert!(store.heartbeat(&scope, &claims).await[0].is_err());
    assert!(store.heartbeat(&scope, &claims).await[0].is_ok());

    lose("UpdateItem");
    assert!(store.complete(&scope, &claims).await[0].is_err());
    assert!(store.complete(&scope, &claims).await[0].is_ok());
    let rival = [EventClaim::new(&event, 6)];
    assert_eq!(
        store.claim(&scope, &rival).await.unwrap(),
        [Claimed::Completed]
    );
}
