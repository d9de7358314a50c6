use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aqueduct_core::{GroupKey, ReadFrom};
use aqueduct_sqlite::rusqlite::Connection;

use crate::child::Process;
use crate::support::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_sigkill_at_any_moment() {
    let place = Place::new();
    let mut acknowledged = BTreeMap::new();
    for round in 0..6u64 {
        let name = format!("p{round}");
        let mut child = Process::start("produce", &place.file(), &name);
        let wanted = 1 + round * 17 % 40;
        let mut last = None;
        while let Some(said) = child.said() {
            let n: u64 = said.parse().unwrap();
            last = Some(n);
            if n >= wanted {
                break;
            }
        }
        // Kill it at a different point in each round.
        tokio::time::sleep(Duration::from_micros(round * 311)).await;
        child.kill();
        while let Some(said) = child.said() {
            last = Some(said.parse().unwrap());
        }
        acknowledged.insert(name, last.unwrap());
    }
    let log = place.log(&[]).await;
    let mut found = BTreeMap::<String, Vec<u64>>::new();
    for record in read_stream(&*log).await {
        let key = record.event.key().unwrap().to_owned();
        found.entry(key).or_default().push(number(&record));
    }
    for (name, last) in acknowledged {
        for k in 0..10 {
            let numbers = &found[&format!("{name}-{k}")];
            assert!(
                numbers.len() as u64 > last,
                "{name}: {last} was acknowledged"
            );
            assert!(
                numbers.iter().copied().eq(0..numbers.len() as u64),
                "{name}: dense, in order"
            );
        }
    }
    let sound: String = Connection::open(place.file())
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_producers_in_four_processes_get_their_share() {
    let place = Place::new();
    let mut children: Vec<_> = (0..4)
        .map(|n| Process::start("contend", &place.file(), &format!("p{n}")))
        .collect();
    for child in &mut children {
        assert_eq!(child.said().as_deref(), Some("ready"));
    }
    let go = place.file().with_extension("go");
    std::fs::write(&go, "").unwrap();
    let store = place.store().await;
    let sent = || {
        store.read(|connection| {
            use aqueduct_sqlite::SqlResultExt as _;
            connection
                .query_row("SELECT sum(next - 1) FROM aqueduct_partition", [], |row| {
                    row.get(0)
                })
                .sql("count")
        })
    };
    until("enough to compare", || async {
        sent().await.unwrap_or(0i64) >= 800
    })
    .await;
    std::fs::remove_file(go).unwrap();
    let stored: Vec<u64> = children
        .iter_mut()
        .map(|child| child.said().unwrap().parse().unwrap())
        .collect();
    let total: u64 = stored.iter().sum();
    let least = *stored.iter().min().unwrap();
    assert!(
        least * 40 >= total,
        "the least had under 10% of the mean: {stored:?}"
    );
    assert_eq!(
        read_stream(&*place.log(&[]).await).await.len() as u64,
        total
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_a_stream_and_wake_each_other() {
    let place = Place::new();
    let own = place.producer(&[]).await;
    let log = place.log(&[]).await;
    let mut readers = Vec::new();
    for partition in log.partitions().await.unwrap() {
        let mut wanted = request(&partition.id, ReadFrom::Earliest);
        wanted.max_wait = Duration::from_secs(30);
        readers.push(log.open(&wanted).await.unwrap());
    }
    let child = Process::start("produce", &place.file(), "other");
    for n in 0..20 {
        send(&*own, &[event("mine", n)]).await;
    }
    let total = AtomicU64::new(0);
    let reading = readers.into_iter().map(|mut reader| {
        let total = &total;
        async move {
            let mut seen = BTreeMap::<String, u64>::new();
            let begun = Instant::now();
            while total.load(Ordering::Relaxed) < 600 && begun.elapsed() < Duration::from_secs(25) {
                // The reader's own wait is much longer: only a wake-up by the other process ends it in time.
                let read = tokio::time::timeout(Duration::from_millis(500), reader.read(100));
                let Ok(batch) = read.await else { continue };
                for record in batch.unwrap().records {
                    let next = seen.entry(record.event.key().unwrap().into()).or_default();
                    assert_eq!(number(&record), *next, "every key is in order");
                    *next += 1;
                    total.fetch_add(1, Ordering::Relaxed);
                }
            }
            seen
        }
    });
    let mut seen = BTreeMap::new();
    for part in futures::future::join_all(reading).await {
        seen.extend(part);
    }
    drop(child);
    assert!(total.load(Ordering::Relaxed) >= 600, "{seen:?}");
    assert!(seen.contains_key("mine"));
    for k in 0..10 {
        assert!(seen.contains_key(&format!("other-{k}")), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_processes_leases_are_free_at_once() {
    let place = Place::new();
    let resource = place.resource("orders", &[]);
    let leases = resource.leases(&place.runtime).await.unwrap();
    let key = GroupKey::new("billing", "orders");
    let mut child = Process::start("hold", &place.file(), "theirs");
    assert_eq!(child.said().as_deref(), Some("held"));
    let held = leases.list(&key, &[]).await.unwrap().remove(0);
    let owner = held.owner.unwrap();
    assert!(!leases.is_dead(&owner));
    child.kill();
    assert!(leases.is_dead(&owner), "the kernel freed its lock");
    // A process that starts later sees it too.
    let late = resource_elsewhere(&place).await;
    late.list(&key, &[]).await.unwrap();
    assert!(late.is_dead(&owner));
}

async fn resource_elsewhere(place: &Place) -> std::sync::Arc<dyn aqueduct_core::LeaseStore> {
    let backend = aqueduct_sqlite::SqliteBackend::new();
    let resource = resource(&backend, &place.file(), "orders", &[]).unwrap();
    resource.leases(&place.runtime).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_start_together_create_the_file_once() {
    let place = Place::new();
    let file = place.folder.path().join("new").join("events.db");
    let mut children: Vec<_> = (0..6).map(|_| Process::start("open", &file, "")).collect();
    for child in &mut children {
        assert_eq!(child.said().as_deref(), Some("opened"));
    }
    let partitions: i64 = Connection::open(&file)
        .unwrap()
        .query_row("SELECT count(*) FROM aqueduct_partition", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(partitions, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_events_costs_under_one_percent_of_a_core() {
    let place = Place::new();
    let mut child = Process::start("idle", &place.file(), "");
    let said = child.said().unwrap();
    let (used, went_by) = said.split_once(' ').unwrap();
    let (used, went_by): (u64, u64) = (used.parse().unwrap(), went_by.parse().unwrap());
    assert!(used * 100 < went_by, "{used} of {went_by} microseconds");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_while_it_writes_is_named() {
    let place = Place::new();
    let producer = place.producer(&[("busy_timeout", "1s")]).await;
    let mut stopped = Process::start("stay", &place.file(), "");
    let pid = stopped.said().unwrap();
    let refused = producer
        .send_batch(&[event("a", 0)])
        .await
        .into_result()
        .unwrap_err();
    assert_eq!(refused.kind(), aqueduct_core::ErrorKind::Unavailable);
    assert_eq!(refused.effect(), aqueduct_core::Effect::None);
    assert!(refused.is_retryable());
    let named = format!("process {pid} has held the write lock since 2");
    assert!(refused.message().contains(&named), "{refused}");
    stopped.kill();
    send(&*producer, &[event("a", 0)]).await;
}
