//! KCL and Aqueduct never run at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_core::{ErrorKind, OwnerId, Retry};

use crate::support::{Place, SHARD, fresh, kcl2, kcl3, key, n, s, swapped, taken};

/// A worker that renews its lease until it is told to stop.
fn renewing(place: &Place, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let (client, table) = (place.client.clone(), place.table.clone());
    tokio::spawn(async move {
        while !stop.load(Ordering::Relaxed) {
            let update = client.update_item().table_name(&table);
            let update = update
                .key("leaseKey", s(SHARD))
                .update_expression("ADD leaseCounter :one")
                .expression_attribute_values(":one", n(1));
            update.send().await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

#[tokio::test]
async fn a_living_worker_of_kcl_refuses_a_member() {
    let place = Place::new().await;
    let store = place.leases(&[("kcl_watch", "30s")]).await;
    place
        .put(kcl2(SHARD, Some("worker-7"), "TRIM_HORIZON", 0))
        .await;
    let stop = Arc::new(AtomicBool::new(false));
    let worker = renewing(&place, stop.clone());
    let error = store.join(&OwnerId::new("me")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.retry()),
        (ErrorKind::Conflict, Retry::Never)
    );
    let said = error.to_string();
    assert!(said.contains("worker-7") && said.contains(SHARD), "{said}");
    stop.store(true, Ordering::Relaxed);
    worker.await.unwrap();
}

#[tokio::test]
async fn a_dead_worker_of_kcl_is_watched_and_then_succeeded() {
    let place = Place::new().await;
    let store = place.leases(&[("kcl_watch", "400ms")]).await;
    let mut handing_off = kcl3(SHARD, Some("next"), "TRIM_HORIZON", 0);
    handing_off.insert("checkpointOwner".to_owned(), s("dead"));
    place.put(handing_off).await;
    let begin = place.runtime.now();
    store.join(&OwnerId::new("me")).await.unwrap();
    assert!(place.runtime.now().since(begin) >= Duration::from_millis(400));
}

#[tokio::test]
async fn nobody_waits_where_no_worker_of_kcl_is_named() {
    let place = Place::new().await;
    let store = place.leases(&[("kcl_watch", "600s")]).await;
    place.put(kcl2("stopped", None, "TRIM_HORIZON", 0)).await;
    let made = store.create(&key(), fresh(SHARD)).await.unwrap();
    swapped(
        store
            .swap(&key(), &made, taken(&made, "other"))
            .await
            .unwrap(),
    );
    let scans = place.faults.requests("Scan");
    store.join(&OwnerId::new("me")).await.unwrap();
    assert_eq!(place.faults.requests("Scan"), scans + 1);
}

#[tokio::test]
async fn a_watch_of_no_time_is_none() {
    let place = Place::new().await;
    let store = place.leases(&[("kcl_watch", "0s")]).await;
    place
        .put(kcl2(SHARD, Some("dead"), "TRIM_HORIZON", 0))
        .await;
    let scans = place.faults.requests("Scan");
    store.join(&OwnerId::new("me")).await.unwrap();
    assert_eq!(place.faults.requests("Scan"), scans);
}
