use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Retry};
use aqueduct_sqlite::rusqlite::Connection;
use aqueduct_sqlite::{SqlResultExt as _, SqliteOptions, SqliteStore};

use crate::child::Process;
use crate::support::*;

async fn refusal(path: &Path, options: SqliteOptions) -> Error {
    let runtime = aqueduct_runtime::tokio();
    let error = SqliteStore::open(path, options, &runtime)
        .await
        .unwrap_err();
    let named = path.file_name().unwrap().to_str().unwrap();
    assert!(error.message().contains(named), "{error}");
    error
}

#[tokio::test]
async fn a_newer_schema_is_refused_and_kept() {
    let place = Place::new();
    drop(place.store().await);
    let newer = Connection::open(place.file()).unwrap();
    newer
        .execute("UPDATE aqueduct_schema SET version = 99", [])
        .unwrap();
    let error = refusal(&place.file(), SqliteOptions::default()).await;
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.message().contains("99"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_and_kept() {
    let place = Place::new();
    let text = "These are my notes, and I want to keep them.\n".repeat(100);
    std::fs::write(place.file(), &text).unwrap();
    let error = refusal(&place.file(), SqliteOptions::default()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.message().contains("not a SQLite database"), "{error}");
    assert_eq!(std::fs::read_to_string(place.file()).unwrap(), text);
    std::fs::write(place.file(), "SQLite format 3\0 and then nonsense").unwrap();
    let error = refusal(&place.file(), SqliteOptions::default()).await;
    assert_eq!(error.kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn what_is_missing_is_created_or_named() {
    let place = Place::new();
    let deep = place.folder.path().join("a").join("b").join("events.db");
    let mut never = SqliteOptions::default();
    never.create = false;
    let error = refusal(&deep, never.clone()).await;
    assert!(
        error.is(ErrorKind::NotFound) && error.message().contains("folder"),
        "{error}"
    );
    let error = refusal(&place.file(), never).await;
    assert!(
        error.is(ErrorKind::NotFound) && error.message().contains("never"),
        "{error}"
    );
    SqliteStore::open(&deep, SqliteOptions::default(), &place.runtime)
        .await
        .unwrap();

    let error = refusal(place.folder.path(), SqliteOptions::default()).await;
    assert!(
        error.is(ErrorKind::Config) && error.message().contains("folder"),
        "{error}"
    );
    std::fs::write(place.folder.path().join("plain"), "x").unwrap();
    let below = place.folder.path().join("plain").join("events.db");
    let error = SqliteStore::open(&below, SqliteOptions::default(), &place.runtime)
        .await
        .unwrap_err();
    assert!(matches!(
        error.kind(),
        ErrorKind::Config | ErrorKind::AlreadyExists | ErrorKind::Unavailable
    ));
    assert!(error.message().contains("plain"), "{error}");

    let orders = place.resource("orders", &[("create", "never")]);
    place.store().await;
    let error = orders.producer(&place.runtime).await.err().unwrap();
    assert!(
        error.is(ErrorKind::NotFound) && error.message().contains("`orders`"),
        "{error}"
    );
    assert!(
        log_of(&*orders, &place.runtime)
            .await
            .is_err_and(|error| error.is(ErrorKind::NotFound))
    );
}

/// Opens `file` as a user other than root, since root may write everything.
fn open_as_nobody(file: &Path) -> String {
    let root = rustix::process::geteuid().is_root();
    let mut child = Process::with("open", file, "", |command| {
        if root {
            command.uid(65534).gid(65534);
        }
    });
    child.said().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_folder_or_file_is_denied_in_words() {
    let place = Place::new();
    drop(place.store().await);
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    // They stay if two connections were closed at the same instant, each taking the other for an open
    // one; otherwise SQLite removes them, perhaps just now.
    for left in ["events.db-wal", "events.db-shm"] {
        let open_to_all = std::fs::Permissions::from_mode(0o666);
        let _ = std::fs::set_permissions(place.folder.path().join(left), open_to_all);
    }
    let locks = place.folder.path().join("events.db-locks");
    mode(place.folder.path(), 0o777);
    mode(&locks, 0o777);
    for lock in ["queue", "write", "reserve"] {
        mode(&locks.join(lock), 0o666);
    }
    mode(&place.file(), 0o444);
    let said = open_as_nobody(&place.file());
    assert!(
        said.starts_with("denied ") && said.contains("events.db"),
        "{said}"
    );
    mode(&place.file(), 0o666);
    assert_eq!(open_as_nobody(&place.file()), "opened");

    mode(place.folder.path(), 0o555);
    let said = open_as_nobody(&place.folder.path().join("other.db"));
    assert!(
        said.starts_with("denied ") && said.contains("must be writable"),
        "{said}"
    );
    mode(place.folder.path(), 0o777);
}

#[tokio::test]
async fn a_full_disk_is_told_and_costs_nothing_that_was_stored() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    send(&*producer, &[event("a", 0)]).await;
    let store = place.store().await;
    let limit = |pages: i64| {
        store.transaction(move |tx| {
            tx.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
                row.get::<_, i64>(0)
            })
            .sql("limit the file")
        })
    };
    // A limit below the present size only stops the file from growing.
    limit(1).await.unwrap();
    let large: Vec<_> = (1..200)
        .map(|n| event("a", n).with_data(vec![b'x'; 4000]))
        .collect();
    let report = producer.send_batch(&large).await.into_outcomes();
    assert_eq!(report.len(), large.len());
    for outcome in report {
        let error = outcome.unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::Full, Effect::None),
            "{error}"
        );
        // Retried, since it succeeds once there is room.
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(1)));
    }
    let log = place.log(&[]).await;
    assert_eq!(read_stream(&*log).await.len(), 1);
    limit(1 << 30).await.unwrap();
    send(&*producer, &large).await;
    assert_eq!(read_stream(&*log).await.len(), 200);
}

#[tokio::test]
async fn a_foreign_writer_that_stays_is_an_error_and_not_a_hang() {
    let place = Place::new();
    let producer = place.producer(&[("busy_timeout", "1s")]).await;
    let foreign = Connection::open(place.file()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let refused = producer
        .send_batch(&[event("a", 0)])
        .await
        .into_result()
        .unwrap_err();
    assert_eq!(
        (refused.kind(), refused.effect()),
        (ErrorKind::Unavailable, Effect::None)
    );
    assert!(refused.is_retryable());
    foreign.execute_batch("COMMIT").unwrap();
    send(&*producer, &[event("a", 0)]).await;
}

#[tokio::test]
async fn one_file_has_one_store_with_one_set_of_options() {
    let place = Place::new();
    let store = place.store().await;
    let link = place.folder.path().join("link.db");
    std::os::unix::fs::symlink(place.file(), &link).unwrap();
    let same = place
        .backend
        .store(&link, SqliteOptions::default(), &place.runtime)
        .await
        .unwrap();
    assert_eq!(same.path(), store.path());
    let other = place.resource("orders", &[("sync", "normal")]);
    let error = other.producer(&place.runtime).await.err().unwrap();
    assert!(
        error.is(ErrorKind::Config) && error.message().contains("sync"),
        "{error}"
    );
    let mut zero = SqliteOptions::default();
    zero.wal_limit = 0;
    let error = SqliteStore::open(place.file(), zero, &place.runtime)
        .await
        .unwrap_err();
    assert!(
        error.is(ErrorKind::Config) && error.message().contains("wal_limit"),
        "{error}"
    );
}

#[tokio::test]
async fn damage_is_told_where_it_is() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "1")]).await;
    send(&*producer, &[event("a", 0)]).await;
    let store = place.store().await;
    store
        .transaction(|tx| {
            tx.execute("UPDATE aqueduct_segment SET heads = '[[9]]'", [])
                .sql("damage")
        })
        .await
        .unwrap();
    let log = place.log(&[]).await;
    let mut reader = open(&*log, "0", aqueduct_core::ReadFrom::Earliest).await;
    assert!(reader.read(1).await.unwrap_err().is(ErrorKind::Corrupt));
    assert_eq!(log.partitions().await.unwrap().len(), 1);
}
