//! The stored formats, as a later version and other programs read them.

use aqueduct_core::{Checkpoint, OwnerId, Position, ResumeToken};

use crate::support::{FOLDER, Faulty, OWN, PROCESSOR, fresh, key, leases, swapped, taken};

const LEASE: &str = r#"{"v":1,"partition":"0","owner":"me","generation":3,"counter":9,"checkpoint":"at:41","resume_token":"3:ü","handed_out":"50","attempts":{"position":"42","count":2,"started":true},"parents":["p"],"range":["0","340282366920938463463374607431768211455"],"nonce":18446744073709551615,"replay":0,"stamp":5,"later":true}"#;

#[tokio::test]
async fn a_lease_of_version_1_is_read() {
    let store = Faulty::new();
    store
        .put("a/leases/Orders/Billing/partitions/0", LEASE)
        .await;
    let leases = leases(&store, OWN).await;
    let row = leases.read(&key(), &"0".into()).await.unwrap().unwrap();
    assert_eq!(row.owner, Some(OwnerId::new("me")));
    assert_eq!((row.generation, row.counter), (3, 9));
    assert_eq!(row.checkpoint, Checkpoint::At(Position::new(41)));
    assert_eq!(row.resume_token, Some(ResumeToken::new("3:ü")));
    assert_eq!(row.attempts.unwrap().count, 2);
    assert_eq!(row.nonce, u64::MAX);
    assert_eq!(row.range.unwrap().last, u128::MAX);
}

#[tokio::test]
async fn a_lease_that_is_damaged_is_named() {
    let store = Faulty::new();
    let leases = leases(&store, OWN).await;
    store
        .put("a/leases/Orders/Billing/partitions/0", "{}")
        .await;
    let error = leases.list(&key(), &[]).await.unwrap_err();
    assert_eq!(error.kind(), aqueduct_core::ErrorKind::Corrupt);
    let name = "az://shop/leases/a/leases/Orders/Billing/partitions/0";
    assert!(error.to_string().contains(name), "{error}");
}

#[tokio::test]
async fn blobs_are_written_as_microsoft_writes_them() {
    let store = Faulty::new();
    let leases = leases(&store, PROCESSOR).await;
    let made = leases.create(&key(), fresh("0")).await.unwrap();
    let mut next = taken(&made, "me");
    next.checkpoint = Checkpoint::At(Position::new(41));
    next.resume_token = Some(ResumeToken::new("3:77"));
    swapped(leases.swap(&key(), &made, next).await.unwrap());
    let ownership = store
        .metadata(&format!("{FOLDER}/ownership/0"))
        .await
        .unwrap();
    assert_eq!(ownership["ownerid"], "me");
    assert!(ownership["aqueduct"].starts_with("{\"v\":1,"));
    let checkpoint = store
        .metadata(&format!("{FOLDER}/checkpoint/0"))
        .await
        .unwrap();
    let entries: Vec<_> = checkpoint
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(entries, [("offset", "3:77"), ("sequencenumber", "41")]);
}
