use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use aqueduct_core::ReadFrom;
use aqueduct_sqlite::SqliteOptions;

use crate::support::*;

const LIMIT: u64 = 4 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_write_ahead_log_stays_under_its_limit_with_slow_readers_and_a_busy_producer() {
    let place = Place::new();
    let options = [
        ("partitions", "2"),
        ("wal_limit", "4MiB"),
        ("sync", "normal"),
    ];
    let producer = place.producer(&options).await;
    let log = place.log(&options).await;
    let stop = Arc::new(AtomicBool::new(false));
    let read = Arc::new(AtomicU64::new(0));
    let mut readers = Vec::new();
    for n in 0..4 {
        let mut wanted = request(&["0", "1"][n % 2].into(), ReadFrom::Earliest);
        wanted.max_bytes = 64 << 10;
        let mut reader = log.open(&wanted).await.unwrap();
        let (stop, read) = (stop.clone(), read.clone());
        readers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let batch = reader.read(50).await.unwrap();
                read.fetch_add(batch.records.len() as u64, Ordering::Relaxed);
                // Two readers pause after each batch, two never do.
                if n < 2 {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }));
    }
    let wal = place.folder.path().join("events.db-wal");
    let (mut largest, mut written) = (0, 0u64);
    let begun = Instant::now();
    while written < 48 << 20 && begun.elapsed() < Duration::from_secs(30) {
        let batch: Vec<_> = (0..100)
            .map(|n| event(&format!("k{n}"), n).with_data(vec![b'x'; 1000]))
            .collect();
        send(&*producer, &batch).await;
        written += 100 * 1000;
        largest = largest.max(std::fs::metadata(&wal).map_or(0, |file| file.len()));
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        reader.await.unwrap();
    }
    assert!(written > LIMIT * 5, "only {written} bytes were written");
    assert!(read.load(Ordering::Relaxed) > 1000);
    assert!(
        largest > 0 && largest <= LIMIT,
        "the log grew to {largest} bytes"
    );
}

#[tokio::test]
async fn many_writers_of_one_file_keep_the_limit_together() {
    let place = Place::new();
    let options = [("wal_limit", "4MiB"), ("sync", "normal")];
    let mut writers = Vec::new();
    for _ in 0..8 {
        // A separate backend shares only the file, as another process does.
        let backend = aqueduct_sqlite::SqliteBackend::new();
        let orders = resource(&backend, &place.file(), "orders", &options).unwrap();
        writers.push(orders.producer(&place.runtime).await.unwrap());
    }
    let wal = place.folder.path().join("events.db-wal");
    let mut largest = 0;
    for _ in 0..15 {
        for producer in &writers {
            let batch: Vec<_> = (0..100)
                .map(|n| event(&format!("k{n}"), n).with_data(vec![b'x'; 1000]))
                .collect();
            send(&**producer, &batch).await;
            largest = largest.max(std::fs::metadata(&wal).map_or(0, |file| file.len()));
        }
    }
    assert!(
        largest > 0 && largest <= LIMIT,
        "the log grew to {largest} bytes"
    );
}

#[tokio::test]
async fn a_foreign_reader_that_stays_does_not_stop_the_writer() {
    let place = Place::new();
    let mut options = SqliteOptions::default();
    options.wal_limit = 1 << 20;
    let store = place
        .backend
        .store(place.file(), options, &place.runtime)
        .await
        .unwrap();
    let producer = place.producer(&[("wal_limit", "1MiB")]).await;
    let foreign = aqueduct_sqlite::rusqlite::Connection::open(place.file()).unwrap();
    foreign
        .execute_batch("BEGIN; SELECT count(*) FROM aqueduct_stream")
        .unwrap();
    for _ in 0..30 {
        let batch: Vec<_> = (0..100)
            .map(|n| event(&format!("k{n}"), n).with_data(vec![b'x'; 1000]))
            .collect();
        send(&*producer, &batch).await;
    }
    let wal = || {
        std::fs::metadata(place.folder.path().join("events.db-wal"))
            .unwrap()
            .len()
    };
    assert!(
        wal() > 1 << 20,
        "nothing can be reused under a reader that stays"
    );
    foreign.execute_batch("COMMIT").unwrap();
    until("the log shrinks", || async {
        send(&*producer, &[event("a", 0).with_data(vec![b'x'; 100_000])]).await;
        wal() <= 1 << 20
    })
    .await;
    drop(store);
}
