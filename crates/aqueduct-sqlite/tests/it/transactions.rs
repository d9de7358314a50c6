use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Result};
use aqueduct_sqlite::{SqlResultExt as _, SqliteStore};
use futures::FutureExt as _;

use crate::support::*;

async fn count(store: &SqliteStore) -> i64 {
    store
        .read(|connection| {
            connection
                .query_row("SELECT count(*) FROM note", [], |row| row.get(0))
                .sql("count")
        })
        .await
        .unwrap()
}

async fn with_notes(place: &Place) -> SqliteStore {
    let store = place.store().await;
    store
        .transaction(|tx| {
            tx.execute_batch("CREATE TABLE note (n INTEGER PRIMARY KEY)")
                .sql("create")
        })
        .await
        .unwrap();
    store
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_share_commits_and_a_failure_undoes_its_own_writes_alone() {
    let place = Place::new();
    let store = with_notes(&place).await;
    let tasks: Vec<_> = (0..300i64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                store
                    .transaction(move |tx| {
                        tx.execute("INSERT INTO note VALUES (?1)", [n])
                            .sql("note")?;
                        match n % 3 {
                            0 => Ok(n),
                            1 => Err(Error::new(ErrorKind::Handler, "no")),
                            _ => panic!("a closure panicked on purpose"),
                        }
                    })
                    .await
            })
        })
        .collect();
    for (n, task) in tasks.into_iter().enumerate() {
        let answer = task.await.unwrap();
        if n % 3 == 0 {
            assert_eq!(answer.unwrap(), n as i64);
        } else {
            let error = answer.unwrap_err();
            assert!(error.is(ErrorKind::Handler));
            assert_eq!(
                n % 3 == 2,
                error.message().contains("on purpose"),
                "{error}"
            );
        }
    }
    assert_eq!(count(&store).await, 100);
}

#[tokio::test]
async fn a_violated_constraint_and_a_closure_that_commits_are_errors() {
    let place = Place::new();
    let store = with_notes(&place).await;
    let insert =
        || store.transaction(|tx| tx.execute("INSERT INTO note VALUES (1)", []).sql("note"));
    insert().await.unwrap();
    let twice = insert().await.unwrap_err();
    assert!(twice.is(ErrorKind::Conflict) && !twice.is_retryable());
    let ended = store
        .transaction(|tx| tx.execute_batch("COMMIT").sql("commit"))
        .await
        .unwrap_err();
    assert!(ended.is(ErrorKind::Invalid), "{ended}");
    insert().await.unwrap_err();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_read_cannot_write_nor_keep_a_transaction_open() {
    let place = Place::new();
    let store = with_notes(&place).await;
    let refused = store
        .read(|connection| {
            connection
                .execute("INSERT INTO note VALUES (1)", [])
                .sql("note")
        })
        .await
        .unwrap_err();
    assert!(refused.is(ErrorKind::Denied), "{refused}");
    for _ in 0..4 {
        store
            .read(|connection| {
                connection
                    .execute_batch("BEGIN; SELECT * FROM note")
                    .sql("begin")
            })
            .await
            .unwrap();
    }
    let panicked = store
        .read::<()>(|_| panic!("on purpose"))
        .await
        .unwrap_err();
    assert!(panicked.is(ErrorKind::Internal));
    assert_eq!(count(&store).await, 0);
}

#[tokio::test]
async fn what_was_asked_for_before_the_store_closed_is_written() {
    let place = Place::new();
    let store = with_notes(&place).await;
    for n in 0..20i64 {
        let write = store
            .transaction(move |tx| tx.execute("INSERT INTO note VALUES (?1)", [n]).sql("note"));
        // Polled once and dropped: the work is submitted, and its caller is gone.
        let _ = futures::FutureExt::now_or_never(write);
    }
    drop(store);
    let store = place.store().await;
    until("all are written", || async { count(&store).await == 20 }).await;
}

fn note(store: &SqliteStore, n: i64) -> impl Future<Output = Result<usize>> + use<> {
    let store = store.clone();
    async move {
        store
            .transaction(move |tx| tx.execute("INSERT INTO note VALUES (?1)", [n]).sql("note"))
            .await
    }
}

/// A closure may end or roll back the transaction that it shares with others: no caller gets a success
/// for work that was rolled back, or an error for work that was stored.
#[tokio::test]
async fn a_closure_that_ends_the_transaction_misleads_nobody() {
    for sql in [
        "COMMIT",
        "ROLLBACK",
        "COMMIT; BEGIN IMMEDIATE",
        "ROLLBACK; BEGIN IMMEDIATE",
        "COMMIT; BEGIN IMMEDIATE; SELECT nothing",
        "ROLLBACK; SELECT nothing",
        "RELEASE aqueduct_work",
    ] {
        let place = Place::new();
        let store = with_notes(&place).await;
        let (go, gate) = mpsc::channel::<()>();
        let holds = store.transaction(move |_| {
            let _ = gate.recv_timeout(Duration::from_secs(20));
            Ok(())
        });
        let mut holds = pin!(holds);
        assert!(holds.as_mut().now_or_never().is_none());
        // All of these wait for the writer at once, and share the next commit.
        let mut before = pin!(note(&store, 1));
        let mut ends = pin!(store.transaction(move |tx| tx.execute_batch(sql).sql("end it")));
        let mut behind = pin!(note(&store, 2));
        assert!(before.as_mut().now_or_never().is_none());
        assert!(ends.as_mut().now_or_never().is_none());
        assert!(behind.as_mut().now_or_never().is_none());
        // Longer than the time during which a commit accepts work.
        std::thread::sleep(Duration::from_millis(30));
        go.send(()).unwrap();
        holds.await.unwrap();
        let (before, ends, behind) = futures::join!(before, ends, behind);
        ends.unwrap_err();
        for (n, answer) in [(1, before), (2, behind)] {
            let stored: bool = store
                .read(move |connection| {
                    connection
                        .query_row(
                            "SELECT EXISTS (SELECT 1 FROM note WHERE n = ?1)",
                            [n],
                            |it| it.get(0),
                        )
                        .sql("look")
                })
                .await
                .unwrap();
            match answer {
                Ok(_) => assert!(stored, "{sql}: {n} is lost"),
                Err(error) => {
                    let unknown = error.effect() == Effect::Unknown;
                    assert!(
                        unknown || !stored,
                        "{sql}: {n} is stored in spite of: {error:?}"
                    );
                    assert!(error.is_retryable(), "{sql}: {error:?}");
                }
            }
        }
        note(&store, 3).await.unwrap();
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker panicked on purpose");
    }
}

#[tokio::test]
async fn a_waker_that_panics_does_not_stop_the_writer() {
    let place = Place::new();
    let store = with_notes(&place).await;
    let (go, gate) = mpsc::channel::<()>();
    let holds = store.transaction(move |_| {
        let _ = gate.recv_timeout(Duration::from_secs(20));
        Ok(())
    });
    assert!(holds.now_or_never().is_none());
    let waker = Waker::from(Arc::new(Panics));
    let mut write = pin!(note(&store, 1));
    let poll = write.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending());
    go.send(()).unwrap();
    until("it is committed", || async { count(&store).await == 1 }).await;
    let next = tokio::time::timeout(Duration::from_secs(20), note(&store, 2));
    next.await.expect("the writer goes on").unwrap();
    assert_eq!(count(&store).await, 2);
}

#[tokio::test]
async fn a_batch_that_fails_half_way_stores_nothing_and_harms_nobody_else() {
    let place = Place::new();
    let producer = place.producer(&[("partitions", "2")]).await;
    let store = with_notes(&place).await;
    store
        .transaction(|tx| {
            tx.execute_batch(
                "CREATE TRIGGER refuse BEFORE INSERT ON aqueduct_segment
                 WHEN NEW.partition = (SELECT max(id) FROM aqueduct_partition)
                 BEGIN SELECT RAISE(ABORT, 'refused on purpose'); END",
            )
            .sql("make a trigger")
        })
        .await
        .unwrap();
    let events: Vec<_> = (0..20).map(|n| event(&format!("k{n}"), n)).collect();
    let report = producer.send_batch(&events).await;
    for outcome in report.into_outcomes() {
        assert_eq!(outcome.unwrap_err().effect(), Effect::None);
    }
    let log = place.log(&[]).await;
    assert!(read_stream(&*log).await.is_empty());
    let next: i64 = store
        .read(|connection| {
            connection
                .query_row("SELECT max(next) FROM aqueduct_partition", [], |row| {
                    row.get(0)
                })
                .sql("look")
        })
        .await
        .unwrap();
    assert_eq!(next, 1);
    note(&store, 1).await.unwrap();
}
