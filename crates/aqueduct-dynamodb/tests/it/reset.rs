//! A reset of more leases than fit in a transaction.

use aqueduct_core::{Checkpoint, GroupRecord, PartitionId, ResolvedStart};
use aqueduct_emulators::HttpFault;

use crate::support::{Place, fresh, key};

fn record(replay: u64) -> GroupRecord {
    let at = "2026-02-01T00:00:00Z".parse().unwrap();
    let place = |n: u64| (PartitionId::new(format!("p-{n}")), Checkpoint::End);
    let start = ResolvedStart {
        at,
        partitions: (0..replay).map(place).collect(),
    };
    GroupRecord::new(start, replay, at)
}

async fn with_leases(count: usize) -> (Place, std::sync::Arc<dyn aqueduct_core::LeaseStore>) {
    let place = Place::new().await;
    let store = place.leases(&[]).await;
    store.create_group(&key(), record(0)).await.unwrap();
    for at in 0..count {
        let lease = fresh(&format!("shardId-{at:012}"));
        store.create(&key(), lease).await.unwrap();
    }
    (place, store)
}

#[tokio::test]
async fn ninety_nine_leases_go_in_one_transaction() {
    let (place, store) = with_leases(99).await;
    let stored = store.reset_group(&key(), 0, record(1)).await.unwrap();
    assert_eq!(stored, record(1));
    assert_eq!(place.faults.requests("TransactWriteItems"), 1);
    assert!(store.list(&key(), &[]).await.unwrap().is_empty());
}

#[tokio::test]
async fn more_go_in_stages_and_whoever_comes_finishes_them() {
    let (place, store) = with_leases(120).await;
    for _ in 0..40 {
        place.faults.inject(
            "DeleteItem",
            HttpFault::Error(400, "ThrottlingException", "slow"),
        );
    }
    store.reset_group(&key(), 0, record(1)).await.unwrap_err();
    let left = store.list(&key(), &[]).await.unwrap().len();
    assert!(left > 0, "the reset was interrupted");

    let faults = place.server.faults();
    let other = place.server.resource(&place.table, &faults, &[]).unwrap();
    let other = other.leases(&place.runtime).await.unwrap();
    let found = other.group(&key()).await.unwrap();
    assert_eq!(found, Some(record(1)));
    assert!(other.list(&key(), &[]).await.unwrap().is_empty());

    // A member that reads the record late keeps leases of the new replay.
    other.create(&key(), fresh("shardId-new")).await.unwrap();
    store.group(&key()).await.unwrap();
    assert_eq!(other.list(&key(), &[]).await.unwrap().len(), 1);
    let late = store.reset_group(&key(), 0, record(9)).await.unwrap();
    assert_eq!(late, record(1));
}
