//! The file itself: replaced under a running process, copied, or on a full disk.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, ReadFrom, Retry};
use aqueduct_sqlite::{SqliteBackend, SqliteOptions};

use crate::support::*;

/// Replaces the file under a running store, and checks that every call fails and that nothing is
/// written to the file that is at the path afterwards.
async fn replaced(replace: impl FnOnce(&Path)) {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    send(&*producer, &[event("a", 0)]).await;
    let store = place.store().await;
    let log = place.log(&[]).await;
    let mut waiting = log
        .open(&{
            let mut request = request(&"0".into(), ReadFrom::Earliest);
            request.max_wait = Duration::from_secs(60);
            request
        })
        .await
        .unwrap();
    assert_eq!(waiting.read(10).await.unwrap().records.len(), 1);
    let waiting = tokio::spawn(async move { waiting.read(10).await.map(drop) });

    replace(&place.file());
    // A reader that meets pages of two files at once takes the file for a damaged one.
    let damaged = store
        .read(|_| Err::<(), _>(Error::new(ErrorKind::Corrupt, "the file is damaged")))
        .await
        .unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Conflict, "{damaged}");
    let before = std::fs::read(place.file()).ok();
    let refused = producer
        .send_batch(&[event("a", 1)])
        .await
        .into_result()
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert_eq!(refused.retry(), Retry::Never);
    assert!(refused.message().contains("events.db"), "{refused}");
    let read = store.read(|_| Ok(())).await.unwrap_err();
    assert_eq!(read.kind(), ErrorKind::Conflict);
    let read = waiting.await.unwrap().unwrap_err();
    assert_eq!(read.kind(), ErrorKind::Conflict, "{read}");
    assert!(store.checkpoint().await.is_err());
    // Nor is a new file created beside it.
    let other = place.resource("payments", &[]);
    assert!(other.producer(&place.runtime).await.is_err());
    drop((store, producer, log, other));
    until("the store is closed", || async {
        let left = std::fs::read_dir(format!("{}-locks", place.file().display()));
        let mut left = left.into_iter().flatten().flatten();
        !left.any(|entry| entry.file_name().to_string_lossy().starts_with("process-"))
    })
    .await;
    assert_eq!(std::fs::read(place.file()).ok(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_removed_fails_every_call() {
    replaced(|file| std::fs::remove_file(file).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_moved_away_fails_every_call() {
    replaced(|file| std::fs::rename(file, file.with_extension("old")).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_takes_the_place_of_fails_every_call() {
    replaced(|file| {
        let other = file.with_extension("other");
        std::fs::write(&other, "These are my notes.").unwrap();
        std::fs::rename(&other, file).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_overwritten_in_place_fails_every_call() {
    replaced(|file| std::fs::write(file, "These are my notes.".repeat(1000)).unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_another_store_copied_over_the_file_fails_every_call() {
    let other = Place::new();
    drop(other.producer(&[]).await);
    other.store().await.checkpoint().await.unwrap();
    replaced(|file| {
        std::fs::copy(other.file(), file).unwrap();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_over_the_file_fails_every_call() {
    let place = Place::new();
    let producer = place.producer(&[]).await;
    let store = place.store().await;
    let copy = place.folder.path().join("copy.db");
    std::fs::copy(place.file(), &copy).unwrap();
    for n in 0..2 {
        send(&*producer, &[event("a", n)]).await;
        store.checkpoint().await.unwrap();
    }
    std::fs::copy(&copy, place.file()).unwrap();
    let refused = producer
        .send_batch(&[event("a", 2)])
        .await
        .into_result()
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Conflict, "{refused}");
    assert!(refused.message().contains("older copy"), "{refused}");
}

#[tokio::test]
async fn checkpoints_of_another_process_are_no_replacement() {
    let place = Place::new();
    let producer = place.producer(&[]).await;
    let foreign = aqueduct_sqlite::rusqlite::Connection::open(place.file()).unwrap();
    for n in 0..20 {
        send(&*producer, &[event("a", n)]).await;
        foreign
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    }
    let log = place.log(&[]).await;
    assert_eq!(read_stream(&*log).await.len(), 20);
}

/// Counts the events in a copy of the main file alone.
async fn events_in_a_copy(file: &Path) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    std::fs::copy(file, &copy).unwrap();
    let runtime = aqueduct_runtime::tokio();
    let orders = resource(&SqliteBackend::new(), &copy, "orders", &[]).unwrap();
    let log = log_of(&*orders, &runtime).await.unwrap();
    read_stream(&*log).await.len()
}

#[tokio::test]
async fn after_a_checkpoint_a_copy_of_the_one_file_is_the_data() {
    let place = Place::new();
    let orders = place.resource("orders", &[]);
    let producer = orders.producer(&place.runtime).await.unwrap();
    for n in 0..50 {
        send(&*producer, &[event(&format!("k{n}"), n)]).await;
    }
    orders.close().await.unwrap();
    assert_eq!(events_in_a_copy(&place.file()).await, 50);
    // The store can still be used.
    send(&*producer, &[event("a", 50)]).await;
}

#[tokio::test]
async fn the_last_handle_of_a_process_leaves_one_file() {
    let place = Place::new();
    let producer = place.producer(&[]).await;
    for n in 0..50 {
        send(&*producer, &[event(&format!("k{n}"), n)]).await;
    }
    drop(producer);
    until("the log is gone", || async {
        !place.folder.path().join("events.db-wal").exists()
    })
    .await;
    assert_eq!(events_in_a_copy(&place.file()).await, 50);
}

/// A small disk in memory, which only root can mount.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount(size: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", size, "tmpfs"])
            .arg(folder.path())
            .output();
        match mounted {
            Ok(output) if output.status.success() => Some(Self(folder)),
            _ => {
                eprintln!("skipped: only root can mount a small disk");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a store may still be closing its files.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_fills_up_is_no_dead_end() {
    let Some(disk) = SmallDisk::mount("size=12m") else {
        return;
    };
    let runtime = aqueduct_runtime::tokio();
    let file = disk.0.path().join("events.db");
    let ballast = disk.0.path().join("ballast");
    let batch = || -> Vec<_> {
        (0..20)
            .map(|n| event(&format!("k{n}"), n).with_data(vec![b'x'; 2000]))
            .collect()
    };
    let backend = SqliteBackend::new();
    let orders = resource(&backend, &file, "orders", &[("sync", "normal")]).unwrap();
    let producer = orders.producer(&runtime).await.unwrap();
    let mut stored = 0;
    send(&*producer, &batch()).await;
    stored += 20;
    // Fill the rest of the disk.
    let _ = std::fs::write(&ballast, vec![1; 12 << 20]);
    let mut refused = None;
    for _ in 0..1000 {
        match producer.send_batch(&batch()).await.into_result() {
            Ok(_) => stored += 20,
            Err(error) => {
                refused = Some(error);
                break;
            }
        }
    }
    let refused = refused.expect("the disk fills up");
    assert_eq!(refused.kind(), ErrorKind::Full, "{refused}");
    assert!(refused.is_retryable());
    // Stored events can still be read, even by a process that opens the file now.
    let other = SqliteBackend::new();
    let again = resource(&other, &file, "orders", &[("sync", "normal")]).unwrap();
    let log = log_of(&*again, &runtime).await.unwrap();
    assert_eq!(read_stream(&*log).await.len(), stored);
    // Once there is room, writes succeed again.
    std::fs::remove_file(&ballast).unwrap();
    until("the disk takes events again", || async {
        producer.send_batch(&batch()).await.into_result().is_ok()
    })
    .await;
    assert_eq!(read_stream(&*log).await.len(), stored + 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_leaves_room_for_the_data_on_a_small_disk() {
    let Some(disk) = SmallDisk::mount("size=16m") else {
        return;
    };
    let runtime = aqueduct_runtime::tokio();
    let file = disk.0.path().join("state.db");
    let mut options = SqliteOptions::default();
    options.sync = aqueduct_sqlite::SyncMode::Normal;
    let store = SqliteBackend::new()
        .store(&file, options, &runtime)
        .await
        .unwrap();
    use aqueduct_sqlite::SqlResultExt as _;
    // The same pages again and again: much more log than data, and much less than the default limit.
    for n in 0..600 {
        store
            .transaction(move |tx| {
                tx.execute_batch(
                    "CREATE TABLE IF NOT EXISTS state (id INTEGER PRIMARY KEY, v BLOB)",
                )
                .and_then(|()| {
                    tx.execute(
                        "INSERT INTO state VALUES (?1, randomblob(60000))
                             ON CONFLICT (id) DO UPDATE SET v = excluded.v",
                        [n % 20],
                    )
                })
                .map(drop)
                .sql("write")
            })
            .await
            .unwrap();
    }
}
