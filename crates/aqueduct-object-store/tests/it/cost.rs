//! Requests for leases: they follow the clock, never the events.

use std::collections::BTreeMap;
use std::time::Duration;

use aqueduct_core::{Checkpoint, Position, Runtime};
use aqueduct_runtime::Simulation;

use crate::support::{Faulty, advanced, fresh, key, resource, swapped, taken};

/// Renews a lease for a minute, every 5 s as a busy owner does; `step` events are settled between.
fn minute(url: &str, step: u64) -> BTreeMap<&'static str, u64> {
    let simulation = Simulation::new(1).with_horizon(Duration::from_secs(600));
    let runtime: Runtime = simulation.runtime();
    let url = url.to_owned();
    let counted = simulation.block_on(async move {
        let store = Faulty::new();
        let leases = resource(&store, &url)
            .unwrap()
            .leases(&runtime)
            .await
            .unwrap();
        leases.group(&key()).await.unwrap();
        let made = leases.create(&key(), fresh("0")).await.unwrap();
        let mut mine = swapped(
            leases
                .swap(&key(), &made, taken(&made, "me"))
                .await
                .unwrap(),
        );
        let mut settled = 0;
        // The first commit finds out what the checkpoint blob is.
        let mut commit = async |settled: u64| {
            let mut next = advanced(mine.clone());
            if step > 0 {
                next.checkpoint = Checkpoint::At(Position::new(settled));
            }
            mine = swapped(leases.commit(&key(), &mine, next).await.unwrap());
        };
        commit(1).await;
        store.reset_counts();
        for _ in 0..12 {
            runtime.sleep(Duration::from_secs(5)).await;
            settled += step;
            commit(1 + settled).await;
        }
        store.counts()
    });
    counted.unwrap()
}

#[test]
fn requests_are_renewals_at_any_rate() {
    for step in [0, 1_000, 20_000] {
        let counts = minute("az://shop/leases", step);
        assert_eq!(counts, BTreeMap::from([("put", 12)]), "{step}");
    }
}

#[test]
fn checkpoint_blobs_follow_the_commits_or_an_interval() {
    let url = "az://shop/leases?event_hubs=shop.servicebus.windows.net";
    assert_eq!(minute(url, 0), BTreeMap::from([("put", 12)]));
    for step in [1_000, 20_000] {
        assert_eq!(minute(url, step), BTreeMap::from([("put", 13)]));
        let each = format!("{url}&checkpoint_blobs=0s");
        assert_eq!(minute(&each, step), BTreeMap::from([("put", 24)]));
    }
}

#[test]
fn a_round_reads_only_what_changed() {
    for url in [
        "az://shop/leases",
        "az://shop/leases?event_hubs=shop.servicebus.windows.net",
    ] {
        let simulation = Simulation::new(1).with_horizon(Duration::from_secs(600));
        let runtime = simulation.runtime();
        let counted = simulation.block_on(async move {
            let store = Faulty::new();
            let open = || async {
                resource(&store, url)
                    .unwrap()
                    .leases(&runtime)
                    .await
                    .unwrap()
            };
            let (ours, theirs) = (open().await, open().await);
            for n in 0..100 {
                ours.create(&key(), fresh(&n.to_string())).await.unwrap();
            }
            let known = theirs.list(&key(), &[]).await.unwrap();
            for lease in &known[..3] {
                swapped(ours.swap(&key(), lease, taken(lease, "me")).await.unwrap());
            }
            store.reset_counts();
            let again = theirs.list(&key(), &known).await.unwrap();
            assert_eq!(again.iter().filter(|it| it.owner.is_some()).count(), 3);
            store.counts()
        });
        let read = if url.contains("event_hubs") {
            "head"
        } else {
            "get"
        };
        let expected = BTreeMap::from([("list", 1), (read, 3)]);
        assert_eq!(counted.unwrap(), expected);
    }
}
