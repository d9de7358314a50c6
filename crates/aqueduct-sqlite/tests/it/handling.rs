use std::sync::mpsc;

use aqueduct_core::{Claimed, Error, ErrorKind, Event, EventClaim, IdempotencyScope, StreamName};
use aqueduct_sqlite::rusqlite::{Connection, StatementStatus};
use aqueduct_sqlite::{Completion, SqlResultExt as _, SqliteStore};

use crate::support::*;

/// Counts the records of handled and claimed events.
const HANDLED: &str = "SELECT (SELECT count(*) FROM aqueduct_handled)
                            + (SELECT count(*) FROM aqueduct_handled_recent)";

fn scope() -> IdempotencyScope {
    IdempotencyScope {
        group: "billing".into(),
        handlers: "default".into(),
        replay: 0,
    }
}

fn claim(n: u64) -> EventClaim {
    let event = Event::new("order")
        .with_source("/shop")
        .with_id(n.to_string());
    EventClaim::new(&event, 7).from_partition("orders".into(), "0".into(), 1)
}

/// Handles event `n` by publishing one to `orders`; one that fails publishes a second one to a stream that
/// does not exist.
fn handle(
    store: &SqliteStore,
    n: u64,
    fails: bool,
) -> impl Future<Output = aqueduct_core::Result<Completion>> + Send + use<> {
    let store = store.clone();
    async move {
        store
            .handle_once((scope(), claim(n)), move |_| {
                let mut out: Vec<(StreamName, Event)> = vec![("orders".into(), event("k", n))];
                if fails {
                    out.push(("nowhere".into(), event("k", n)));
                }
                Ok(out)
            })
            .await
    }
}

async fn number_of(store: &SqliteStore, sql: &'static str) -> i64 {
    let read = move |connection: &Connection| {
        connection
            .query_row(sql, [], |row| row.get(0))
            .sql("count rows")
    };
    store.read(read).await.unwrap()
}

/// Keeps the writer busy until the returned sender is dropped, so that work gathers behind it.
async fn block(store: &SqliteStore) -> mpsc::Sender<()> {
    let (release, released) = mpsc::channel::<()>();
    let (began, begun) = futures::channel::oneshot::channel();
    let store = store.clone();
    tokio::spawn(async move {
        store
            .transaction(move |_| {
                began.send(()).unwrap();
                released.recv().unwrap_err();
                Ok(())
            })
            .await
    });
    begun.await.unwrap();
    release
}

#[tokio::test]
async fn handlers_that_share_a_commit_share_the_row_of_what_they_publish() {
    let place = Place::new();
    let log = place.log(&[("partitions", "1")]).await;
    let store = place.store().await;
    let release = block(&store).await;
    let handling: Vec<_> = (0..20)
        .map(|n| tokio::spawn(handle(&store, n, n % 5 == 4)))
        .collect();
    // Each is submitted when it is first polled: on this one thread, in order.
    tokio::task::yield_now().await;
    drop(release);
    for (n, handled) in handling.into_iter().enumerate() {
        match handled.await.unwrap() {
            Ok(Completion::Now) => assert_ne!(n % 5, 4),
            Ok(Completion::Already) => panic!("event {n} was not handled before"),
            Err(error) => {
                assert_eq!(n % 5, 4);
                assert!(error.is(ErrorKind::NotFound), "{error}");
            }
        }
    }
    let stored: Vec<_> = read_stream(&*log).await.iter().map(number).collect();
    let expected: Vec<u64> = (0..20).filter(|n| n % 5 != 4).collect();
    assert_eq!(
        stored, expected,
        "what a failed handler published is undone"
    );
    let handled = number_of(&store, HANDLED).await;
    assert_eq!(handled, 16);
    let rows = number_of(&store, "SELECT count(*) FROM aqueduct_segment").await;
    assert!(rows < 8, "{rows} rows for 16 events");
}

#[tokio::test]
async fn a_transaction_sees_what_handlers_published_before_it() {
    let place = Place::new();
    let _log = place.log(&[("partitions", "1")]).await;
    let store = place.store().await;
    let release = block(&store).await;
    let handling = tokio::spawn(handle(&store, 1, false));
    let seeing = tokio::spawn({
        let store = store.clone();
        async move {
            let count = store.transaction(|tx| {
                tx.query_row("SELECT count(*) FROM aqueduct_segment", [], |row| {
                    row.get::<_, i64>(0)
                })
                .sql("count rows")
            });
            count.await
        }
    });
    tokio::task::yield_now().await;
    drop(release);
    assert_eq!(handling.await.unwrap().unwrap(), Completion::Now);
    assert_eq!(seeing.await.unwrap().unwrap(), 1);
}

#[tokio::test]
async fn the_ack_of_what_a_transaction_recorded_writes_nothing() {
    let place = Place::new();
    let _log = place.log(&[]).await;
    let store = place.store().await;
    let resource = place.resource("orders", &[]);
    let records = resource.idempotency(&place.runtime).await.unwrap();
    assert_eq!(handle(&store, 1, false).await.unwrap(), Completion::Now);
    // A write would wait for this for ever.
    let release = block(&store).await;
    records.complete(&scope(), &[claim(1)]).await[0]
        .as_ref()
        .unwrap();
    drop(release);
    // That was for one delivery: from now on the record counts.
    records.complete(&scope(), &[claim(1)]).await[0]
        .as_ref()
        .unwrap();
    assert_eq!(handle(&store, 1, false).await.unwrap(), Completion::Already);
    let handled = number_of(&store, HANDLED).await;
    assert_eq!(handled, 1);
}

#[tokio::test]
async fn a_look_at_the_records_writes_nothing_and_decides_as_a_claim_does() {
    let place = Place::new();
    let _log = place.log(&[]).await;
    let store = place.store().await;
    let resource = place.resource("orders", &[]);
    let records = resource.idempotency(&place.runtime).await.unwrap();
    assert_eq!(handle(&store, 1, false).await.unwrap(), Completion::Now);
    records.claim(&scope(), &[claim(2)]).await.unwrap();
    let mut rival = claim(2);
    rival.nonce = 8;
    let mut newer = rival.clone();
    newer.generation = 2;
    let asked = [claim(1), claim(2), rival, newer, claim(3)];
    let expected = [
        Claimed::Completed,
        Claimed::Again,
        Claimed::Held {
            nonce: 7,
            heartbeat: 0,
        },
        Claimed::Again,
        Claimed::New,
    ];
    let release = block(&store).await;
    let seen = records.peek(&scope(), &asked).await.unwrap().unwrap();
    drop(release);
    assert_eq!(seen, expected);
    let handled = number_of(&store, HANDLED).await;
    assert_eq!(handled, 2);
}

#[tokio::test]
async fn statements_are_compiled_once() {
    let place = Place::new();
    let store = place.store().await;
    let create = "CREATE TABLE charge (n INTEGER PRIMARY KEY, note TEXT);
                  CREATE INDEX charge_note ON charge (note)";
    store
        .transaction(|tx| tx.execute_batch(create).sql("create"))
        .await
        .unwrap();
    // The best plan of such a statement depends on what is bound.
    let sql = "SELECT count(*) FROM charge WHERE note LIKE ?1";
    let compiled = |connection: &Connection, n: i64| {
        let mut select = connection.prepare_cached(sql).sql("prepare")?;
        select
            .query_row([format!("a{n}%")], |row| row.get::<_, i64>(0))
            .sql("count rows")?;
        Ok::<_, Error>(select.get_status(StatementStatus::RePrepare))
    };
    for n in 0..50 {
        let writer = store.transaction(move |tx| compiled(tx, n)).await;
        assert_eq!(writer.unwrap(), 0);
        let reader = store.read(move |connection| compiled(connection, n)).await;
        assert_eq!(reader.unwrap(), 0);
    }
}

#[tokio::test]
async fn records_are_found_before_and_after_they_move_to_the_others() {
    let place = Place::new();
    let _log = place.log(&[]).await;
    let store = place.store().await;
    let resource = place.resource("orders", &[]);
    let records = resource.idempotency(&place.runtime).await.unwrap();
    let claims: Vec<EventClaim> = (0..9_000).map(claim).collect();
    for handled in records.complete(&scope(), &claims[..8_990]).await {
        handled.unwrap();
    }
    records.claim(&scope(), &claims[8_990..]).await.unwrap();
    let left = "SELECT count(*) FROM aqueduct_handled_recent";
    until("most records have moved", || async {
        number_of(&store, left).await < 9_000
    })
    .await;
    assert_eq!(number_of(&store, HANDLED).await, 9_000);
    let seen = records.peek(&scope(), &claims).await.unwrap().unwrap();
    assert!(seen[..8_990].iter().all(|it| *it == Claimed::Completed));
    assert!(seen[8_990..].iter().all(|it| *it == Claimed::Again));
    // What was claimed is completed, renewed and released, wherever it stands.
    for at in 8_990..9_000 {
        let one = &claims[at..=at];
        match at % 3 {
            0 => records.complete(&scope(), one).await.remove(0).unwrap(),
            1 => records.heartbeat(&scope(), one).await.remove(0).unwrap(),
            _ => records.release(&scope(), one).await.remove(0).unwrap(),
        }
    }
    let seen = records.peek(&scope(), &claims[8_990..]).await.unwrap();
    for (at, seen) in (8_990..).zip(seen.unwrap()) {
        let expected = [Claimed::Completed, Claimed::Again, Claimed::New];
        assert_eq!(seen, expected[at % 3], "{at}");
    }
}
