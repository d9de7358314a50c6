use aqueduct_core::{Error, ErrorKind};
use aqueduct_sqlite::{SqlResultExt as _, SqliteStore};

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
        // Polled once: it is asked for, and nobody waits for the answer.
        let _ = futures::FutureExt::now_or_never(write);
    }
    drop(store);
    let store = place.store().await;
    until("all are written", || async { count(&store).await == 20 }).await;
}
