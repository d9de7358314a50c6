//! Lost responses, cut connections, and changes between reading and writing.

use aqueduct_core::{
    Checkpoint, Claimed, Effect, Error, ErrorKind, Event, EventClaim, GroupRecord, OwnerId,
    Position, ResolvedStart, Swap, Timestamp,
};

use crate::support::{
    Fault, Faulty, OWN, PROCESSOR, advanced, fresh, key, leases, resource, runtime, swapped, taken,
};

#[tokio::test]
async fn a_repeated_write_is_recognised_as_ours() {
    for url in [OWN, PROCESSOR] {
        let store = Faulty::new();
        let leases = leases(&store, url).await;
        let folder = if url == OWN {
            "partitions"
        } else {
            "ownership"
        };
        store.once(folder, Fault::Repeat);
        let made = leases.create(&key(), fresh("0")).await.unwrap();
        store.once(folder, Fault::Repeat);
        let mine = swapped(
            leases
                .swap(&key(), &made, taken(&made, "me"))
                .await
                .unwrap(),
        );
        store.once(folder, Fault::Repeat);
        let guest = OwnerId::new("guest");
        let asked = leases.request(&key(), &mine, &guest).await.unwrap();
        assert_eq!(asked.unwrap().wanted_by, Some(guest.clone()));
        store.once(folder, Fault::Repeat);
        let row = leases.withdraw(&key(), &mine, &guest).await.unwrap();
        assert_eq!(row.unwrap().wanted_by, None, "{url}");
        let read = leases.read(&key(), &mine.partition).await.unwrap().unwrap();
        store.once(folder, Fault::Repeat);
        swapped(leases.delete(&key(), &read).await.unwrap());
        assert_eq!(leases.read(&key(), &mine.partition).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_lost_response_leaves_the_row_to_be_told_by_its_nonce() {
    for url in [OWN, PROCESSOR] {
        let store = Faulty::new();
        let leases = leases(&store, url).await;
        let made = leases.create(&key(), fresh("0")).await.unwrap();
        let next = taken(&made, "me");
        store.once("/0", Fault::LoseResponse);
        let error = leases.swap(&key(), &made, next.clone()).await.unwrap_err();
        assert_eq!(error.effect(), Effect::Unknown);
        assert!(error.is_retryable());
        let row = leases.read(&key(), &made.partition).await.unwrap().unwrap();
        assert_eq!((row.nonce, row.owner.clone()), (next.nonce, next.owner));
        let mut renewed = advanced(row.clone());
        renewed.checkpoint = Checkpoint::At(Position::new(4));
        swapped(leases.commit(&key(), &row, renewed).await.unwrap());
    }
}

#[tokio::test]
async fn a_write_that_was_not_sent_has_no_effect() {
    let store = Faulty::new();
    let leases = leases(&store, OWN).await;
    let made = leases.create(&key(), fresh("0")).await.unwrap();
    store.once("partitions", Fault::Cut);
    let error = leases
        .swap(&key(), &made, taken(&made, "me"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Unavailable, Effect::None)
    );
    assert!(
        error
            .to_string()
            .contains("az://shop/leases/a/leases/Orders/Billing/partitions/0")
    );
    swapped(
        leases
            .swap(&key(), &made, taken(&made, "me"))
            .await
            .unwrap(),
    );
}

#[tokio::test]
async fn a_deleted_lease_can_be_created_again() {
    for url in [OWN, PROCESSOR] {
        let store = Faulty::new();
        let (ours, theirs) = (leases(&store, url).await, leases(&store, url).await);
        let made = ours.create(&key(), fresh("0")).await.unwrap();
        swapped(ours.delete(&key(), &made).await.unwrap());
        assert!(theirs.list(&key(), &[]).await.unwrap().is_empty());
        let again = theirs.create(&key(), fresh("0")).await.unwrap();
        assert_eq!(
            theirs.list(&key(), &[]).await.unwrap(),
            std::slice::from_ref(&again)
        );
        let again = swapped(
            theirs
                .swap(&key(), &again, taken(&again, "you"))
                .await
                .unwrap(),
        );
        // The deletion that comes late must not remove the new one.
        let late = ours.delete(&key(), &made).await.unwrap();
        assert!(matches!(late, Swap::Lost(_)), "{late:?}");
        assert_eq!(ours.list(&key(), &[]).await.unwrap(), [again]);
    }
}

#[tokio::test]
async fn a_reset_by_another_process_hides_the_old_leases() {
    let record = |replay| {
        let start = ResolvedStart {
            at: Timestamp::from_millis(1),
            partitions: vec![],
        };
        GroupRecord::new(start, replay, Timestamp::from_millis(2))
    };
    for url in [OWN, PROCESSOR] {
        let store = Faulty::new();
        let (ours, theirs) = (leases(&store, url).await, leases(&store, url).await);
        ours.create_group(&key(), record(0)).await.unwrap();
        let made = ours.create(&key(), fresh("0")).await.unwrap();
        let mine = swapped(ours.swap(&key(), &made, taken(&made, "me")).await.unwrap());
        theirs.reset_group(&key(), 0, record(1)).await.unwrap();
        assert!(ours.list(&key(), &[]).await.unwrap().is_empty());
        assert_eq!(ours.read(&key(), &mine.partition).await.unwrap(), None);
        let swap = ours
            .commit(&key(), &mine, advanced(mine.clone()))
            .await
            .unwrap();
        assert_eq!(swap, Swap::Lost(None), "{url}");
        ours.create(&key(), fresh("0")).await.unwrap();
        assert_eq!(theirs.list(&key(), &[]).await.unwrap().len(), 1);
        let error: Error = theirs
            .reset_group(&aqueduct_core::GroupKey::new("never", "made"), 0, record(1))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    }
}

#[tokio::test]
async fn a_repeated_claim_is_recognised_as_ours() {
    let store = Faulty::new();
    let resource = resource(&store, OWN).unwrap();
    let records = resource.idempotency(&runtime()).await.unwrap();
    let scope = aqueduct_core::IdempotencyScope {
        group: "g".into(),
        handlers: "h".into(),
        replay: 0,
    };
    let claims = [EventClaim::new(&Event::new("x").with_source("/s"), 7)];
    store.once("idempotency", Fault::Repeat);
    let claimed = records.claim(&scope, &claims).await.unwrap();
    assert_eq!(claimed, [Claimed::New]);
    store.once("idempotency", Fault::Repeat);
    records.heartbeat(&scope, &claims).await.remove(0).unwrap();
    store.once("idempotency", Fault::LoseResponse);
    let lost = records.complete(&scope, &claims).await.remove(0);
    assert_eq!(lost.unwrap_err().effect(), Effect::Unknown);
    records.complete(&scope, &claims).await.remove(0).unwrap();
    let claimed = records.claim(&scope, &claims).await.unwrap();
    assert_eq!(claimed, [Claimed::Completed]);
}
