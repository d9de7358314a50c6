//! Going over from Microsoft's event processors, and back.

use std::time::Duration;

use aqueduct_core::{
    Checkpoint, ErrorKind, GroupRecord, Lease, LeaseStore, OwnerId, Position, ReadFrom,
    ResolvedStart, ResumeToken, Swap, Timestamp,
};
use aqueduct_runtime::Simulation;

use crate::support::{
    FOLDER, Fault, Faulty, PROCESSOR, advanced, fresh, key, leases, resource, swapped, taken,
};

fn ownership() -> String {
    format!("{FOLDER}/ownership/0")
}

fn checkpoint() -> String {
    format!("{FOLDER}/checkpoint/0")
}

fn at(sequence: u64) -> Checkpoint {
    Checkpoint::At(Position::new(sequence))
}

async fn one(leases: &dyn LeaseStore) -> Lease {
    let listed = leases.list(&key(), &[]).await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    listed.into_iter().next().unwrap()
}

#[tokio::test]
async fn a_group_goes_on_from_a_processors_checkpoint_and_back() {
    let store = Faulty::new();
    store.set_metadata(&ownership(), &[("ownerid", "")]).await;
    let theirs = [("offset", "3:77"), ("sequencenumber", "41")];
    store.set_metadata(&checkpoint(), &theirs).await;
    let leases = leases(&store, PROCESSOR).await;
    let row = one(&*leases).await;
    assert_eq!((&row.owner, row.checkpoint), (&None, at(41)));
    assert_eq!(row.resume_token, Some(ResumeToken::new("3:77")));

    let mine = swapped(leases.swap(&key(), &row, taken(&row, "me")).await.unwrap());
    let mut next = advanced(mine.clone());
    next.checkpoint = at(90);
    next.resume_token = Some(ResumeToken::new("3:99"));
    let mine = swapped(leases.commit(&key(), &mine, next).await.unwrap());
    let mut released = advanced(mine.clone());
    released.owner = None;
    swapped(leases.swap(&key(), &mine, released).await.unwrap());
    let blob = store.metadata(&ownership()).await.unwrap();
    assert_eq!(blob["ownerid"], "");
    let blob = store.metadata(&checkpoint()).await.unwrap();
    assert_eq!((&*blob["offset"], &*blob["sequencenumber"]), ("3:99", "90"));

    // A processor takes over and comes further; its claim replaces all metadata.
    let theirs = [("offset", "3:120"), ("sequencenumber", "110")];
    store.set_metadata(&checkpoint(), &theirs).await;
    // The generation of its lease is the second of its last renewal.
    let row = loop {
        store
            .set_metadata(&ownership(), &[("ownerid", "python")])
            .await;
        let row = one(&*leases).await;
        if row.generation > mine.generation {
            break row;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    assert_eq!(row.owner, Some(OwnerId::new("python")));
    assert_eq!(row.checkpoint, at(110));
    let taken_back = taken(&row, "me");
    assert!(taken_back.generation > mine.generation);
    swapped(leases.swap(&key(), &row, taken_back).await.unwrap());
}

#[tokio::test]
async fn an_owner_that_a_processor_displaced_is_fenced() {
    let store = Faulty::new();
    let leases = leases(&store, PROCESSOR).await;
    let made = leases.create(&key(), fresh("0")).await.unwrap();
    let mine = swapped(
        leases
            .swap(&key(), &made, taken(&made, "me"))
            .await
            .unwrap(),
    );
    store
        .set_metadata(&ownership(), &[("ownerid", "java")])
        .await;
    let theirs = [("offset", "5"), ("sequencenumber", "5")];
    store.set_metadata(&checkpoint(), &theirs).await;
    let mut next = advanced(mine.clone());
    next.checkpoint = at(3);
    let Swap::Lost(Some(row)) = leases.commit(&key(), &mine, next).await.unwrap() else {
        panic!("the commit was stored");
    };
    assert_eq!(row.owner, Some(OwnerId::new("java")));
    let blob = store.metadata(&checkpoint()).await.unwrap();
    assert_eq!(blob["sequencenumber"], "5");
}

#[tokio::test]
async fn a_checkpoint_alone_that_moves_is_noticed() {
    let store = Faulty::new();
    store
        .set_metadata(&ownership(), &[("ownerid", "net")])
        .await;
    let leases = leases(&store, PROCESSOR).await;
    let before = one(&*leases).await;
    assert_eq!(before.checkpoint, Checkpoint::Start(ReadFrom::Earliest));
    store
        .set_metadata(&checkpoint(), &[("sequencenumber", "8")])
        .await;
    let after = one(&*leases).await;
    assert_eq!(
        (after.checkpoint, after.resume_token.clone()),
        (at(8), None)
    );
    assert_ne!(before.version, after.version);
    store.reset_counts();
    assert_eq!(one(&*leases).await, after);
    assert_eq!(
        store.counts().get("head"),
        None,
        "unchanged blobs were read"
    );
}

#[tokio::test]
async fn a_processor_is_not_asked_to_hand_off() {
    let store = Faulty::new();
    store.set_metadata(&ownership(), &[("ownerid", "js")]).await;
    let leases = leases(&store, PROCESSOR).await;
    let row = one(&*leases).await;
    let asked = leases.request(&key(), &row, &OwnerId::new("guest")).await;
    assert_eq!(asked.unwrap().unwrap().wanted_by, None);
    let blob = store.metadata(&ownership()).await.unwrap();
    assert_eq!(blob.len(), 1, "{blob:?}");
}

#[tokio::test]
async fn checkpoints_without_ownership_are_taken_over() {
    let store = Faulty::new();
    let theirs = [("offset", "3:77"), ("sequencenumber", "41")];
    store.set_metadata(&checkpoint(), &theirs).await;
    let leases = leases(&store, PROCESSOR).await;
    let made = leases.create(&key(), fresh("0")).await.unwrap();
    assert_eq!(made.checkpoint, at(41));
    assert_eq!(made.resume_token, Some(ResumeToken::new("3:77")));
}

#[tokio::test]
async fn a_partition_without_checkpoint_starts_where_the_group_does() {
    let store = Faulty::new();
    store.set_metadata(&ownership(), &[("ownerid", "")]).await;
    let leases = leases(&store, PROCESSOR).await;
    let start = ResolvedStart {
        at: Timestamp::from_millis(1),
        partitions: vec![("0".into(), at(7))],
    };
    let record = GroupRecord::new(start, 0, Timestamp::from_millis(2));
    leases.create_group(&key(), record).await.unwrap();
    assert_eq!(one(&*leases).await.checkpoint, at(7));
}

#[tokio::test]
async fn a_reset_empties_a_processors_blobs() {
    let store = Faulty::new();
    store.set_metadata(&ownership(), &[("ownerid", "go")]).await;
    store
        .set_metadata(&checkpoint(), &[("sequencenumber", "41")])
        .await;
    let leases = leases(&store, PROCESSOR).await;
    let record = |replay| {
        let start = ResolvedStart {
            at: Timestamp::from_millis(1),
            partitions: vec![],
        };
        GroupRecord::new(start, replay, Timestamp::from_millis(2))
    };
    leases.create_group(&key(), record(0)).await.unwrap();
    leases.reset_group(&key(), 0, record(1)).await.unwrap();
    assert!(leases.list(&key(), &[]).await.unwrap().is_empty());
    assert_eq!(store.metadata(&checkpoint()).await, None);
    let blob = store.metadata(&ownership()).await.unwrap();
    assert_eq!(blob["ownerid"], "");
    let made = leases.create(&key(), fresh("0")).await.unwrap();
    assert_eq!(made.checkpoint, Checkpoint::Start(ReadFrom::Earliest));
}

#[tokio::test]
async fn a_blob_of_a_foreign_shape_is_named() {
    for (blob, entries) in [
        (ownership(), &[("colour", "red")][..]),
        (ownership(), &[("ownerid", "x"), ("aqueduct", "{}")]),
        (checkpoint(), &[("sequencenumber", "many")]),
    ] {
        let store = Faulty::new();
        store.set_metadata(&ownership(), &[("ownerid", "x")]).await;
        store.set_metadata(&blob, entries).await;
        let leases = leases(&store, PROCESSOR).await;
        let error = leases.list(&key(), &[]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let said = error.to_string();
        assert!(said.contains(&format!("az://shop/leases/{blob}")), "{said}");
    }
}

#[tokio::test]
async fn a_checkpoint_blob_that_cannot_be_written_does_not_stop_the_owner() {
    let store = Faulty::new();
    let leases = leases(&store, PROCESSOR).await;
    let made = leases.create(&key(), fresh("0")).await.unwrap();
    let mine = swapped(
        leases
            .swap(&key(), &made, taken(&made, "me"))
            .await
            .unwrap(),
    );
    let mut next = advanced(mine.clone());
    next.checkpoint = at(3);
    store.once("checkpoint", Fault::Cut);
    let mine = swapped(leases.commit(&key(), &mine, next).await.unwrap());
    assert_eq!(store.metadata(&checkpoint()).await, None);
    let mut next = advanced(mine.clone());
    next.checkpoint = at(4);
    // Another one wrote it meanwhile: the owner of the lease has the last word.
    swapped(leases.commit(&key(), &mine, next.clone()).await.unwrap());
    store
        .set_metadata(&checkpoint(), &[("sequencenumber", "2")])
        .await;
    let mine = one(&*leases).await;
    let mut next = advanced(mine.clone());
    next.checkpoint = at(5);
    swapped(leases.commit(&key(), &mine, next).await.unwrap());
    let blob = store.metadata(&checkpoint()).await.unwrap();
    assert_eq!(blob["sequencenumber"], "5");
}

/// Virtual time: a watch takes none.
#[test]
fn a_member_does_not_join_while_a_processor_renews() {
    for lives in [true, false] {
        let simulation = Simulation::new(1).with_horizon(Duration::from_secs(600));
        let runtime = simulation.runtime();
        let joined = simulation.block_on(async move {
            let store = Faulty::new();
            store
                .set_metadata(&ownership(), &[("ownerid", "python")])
                .await;
            // The processor of another consumer group does not count.
            let other = "shop.servicebus.windows.net/orders/other/ownership/0";
            store.set_metadata(other, &[("ownerid", "python")]).await;
            let url = "az://shop/leases?event_hubs=shop.servicebus.windows.net";
            let leases = resource(&store, url)
                .unwrap()
                .leases(&runtime)
                .await
                .unwrap();
            leases.group(&key()).await.unwrap();
            let renewing = runtime.spawn({
                let (runtime, store) = (runtime.clone(), store.clone());
                async move {
                    for _ in 0..5 {
                        runtime.sleep(Duration::from_secs(30)).await;
                        store.set_metadata(other, &[("ownerid", "python")]).await;
                        if lives {
                            store
                                .set_metadata(&ownership(), &[("ownerid", "python")])
                                .await;
                        }
                    }
                }
            });
            let began = runtime.now();
            let joined = leases.join(&OwnerId::new("me")).await;
            let waited = runtime.now().since(began);
            drop(renewing);
            (joined, waited)
        });
        let (joined, waited) = joined.unwrap();
        assert!(waited >= Duration::from_secs(30), "{waited:?}");
        match joined {
            Ok(()) => assert!(!lives),
            Err(error) => {
                assert!(lives && error.is(ErrorKind::Conflict), "{error}");
                assert!(error.to_string().contains("orders/billing/ownership/0"));
            }
        }
    }
}

/// The default: a blob follows once a minute, also when nothing more is settled, and at a release.
#[test]
fn a_checkpoint_blob_follows_in_the_end() {
    let simulation = Simulation::new(1).with_horizon(Duration::from_secs(600));
    let runtime = simulation.runtime();
    let done = simulation.block_on(async move {
        let store = Faulty::new();
        let url = "az://shop/leases?event_hubs=shop.servicebus.windows.net";
        let leases = resource(&store, url).unwrap();
        let leases = leases.leases(&runtime).await.unwrap();
        let made = leases.create(&key(), fresh("0")).await.unwrap();
        let mut mine = swapped(
            leases
                .swap(&key(), &made, taken(&made, "me"))
                .await
                .unwrap(),
        );
        let settled = async || {
            let blob = store.metadata(&checkpoint()).await.unwrap();
            blob["sequencenumber"].clone()
        };
        let mut commit = async |to: u64, owner: Option<&str>| {
            let mut next = advanced(mine.clone());
            next.checkpoint = at(to);
            next.owner = owner.map(OwnerId::new);
            let swap = leases.swap(&key(), &mine, next).await.unwrap();
            mine = swapped(swap);
        };
        commit(3, Some("me")).await;
        assert_eq!(settled().await, "3");
        commit(4, Some("me")).await;
        assert_eq!(settled().await, "3");
        runtime.sleep(Duration::from_secs(61)).await;
        commit(4, Some("me")).await;
        assert_eq!(settled().await, "4");
        commit(5, Some("me")).await;
        commit(5, None).await;
        assert_eq!(settled().await, "5");
    });
    done.unwrap();
}
