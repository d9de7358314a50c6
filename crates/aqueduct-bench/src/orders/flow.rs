//! The same job on the application crate: workers, handlers and transactions, as the README has them.

use std::path::Path;
use std::time::Duration;

use aqueduct::{Client, Completion, Json, Key, SqliteBackend, State, StreamName, WorkerHandle};
use aqueduct_core::{Error, ErrorKind, Event, Result};
use aqueduct_sqlite::{SqlResultExt as _, SqliteStore};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{
    AboutOrder, Order, Payment, Status, TABLES, Written, audit, kind, rank, sql_failed, status_of,
};
use crate::measure::{Figures, Meter};
use crate::sqlite::folder;

const STREAMS: [&str; 4] = ["orders", "payments", "shipments", "order-status"];

const CONFIGURATION: &str = r#"
    [client]
    source = "/bench"
    [streams.orders]
    url = "sqlite:orders.db"
    [streams.payments]
    url = "sqlite:orders.db"
    [streams.shipments]
    url = "sqlite:orders.db"
    [streams.order-status]
    url = "sqlite:orders.db"
    [groups.payment]
    stream = "orders"
    idempotency = "orders"
    dead_letters = "orders"
    [groups.shipping]
    stream = "payments"
    idempotency = "orders"
    dead_letters = "orders"
    [groups.management]
    stream = ["orders", "payments", "shipments"]
    idempotency = "orders"
    dead_letters = "orders"
"#;

/// The subject of errors of failed statements.
const WHAT: &str = "the tables of the orders";

/// How many orders are placed before others have come to their end, as in the order flow.
const BACKLOG: u64 = 512;

const LOOK: Duration = Duration::from_millis(5);

pub(super) fn run(orders: u64, batch: usize) -> Result<Figures> {
    let folder = folder()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| {
            Error::new(ErrorKind::Internal, "the tokio runtime did not start").with_source(e)
        })?;
    let figures = runtime.block_on(measure(folder.path(), orders, batch as u64))?;
    let file = Connection::open(folder.path().join("orders.db")).map_err(sql_failed)?;
    audit(&file, orders)?;
    Ok(figures)
}

async fn measure(folder: &Path, orders: u64, batch: u64) -> Result<Figures> {
    let backend = SqliteBackend::new();
    let client = Client::builder()
        .backend("sqlite", backend.clone())
        .toml(CONFIGURATION)
        .folder(folder)
        .build()
        .await?;
    for stream in STREAMS {
        client.producer(stream).await?;
    }
    let store = backend
        .store(
            folder.join("orders.db"),
            Default::default(),
            client.runtime(),
        )
        .await?;
    store
        .transaction(|tx| tx.execute_batch(TABLES).sql(WHAT))
        .await?;
    let workers = [
        client
            .worker("payment")
            .await?
            .state(store.clone())
            .on(kind::PLACED, charge),
        client
            .worker("shipping")
            .await?
            .state(store.clone())
            .on(kind::PAID, label),
        client
            .worker("management")
            .await?
            .state(store.clone())
            .on(kind::PLACED, follow)
            .on(kind::PAID, follow)
            .on(kind::PAYMENT_FAILED, follow)
            .on(kind::LABELLED, follow),
    ];
    let handles: Vec<_> = workers.iter().map(|worker| worker.control()).collect();
    let (meter, written) = (Meter::begin(), Written::begin());
    let running: Vec<_> = workers
        .into_iter()
        .map(|worker| tokio::spawn(worker.run_to_end()))
        .collect();
    for from in (0..orders).step_by(batch as usize) {
        wait_for(&store, from.saturating_sub(BACKLOG)).await?;
        place(&store, from..orders.min(from + batch)).await?;
    }
    wait_for(&store, orders).await?;
    let figures = written.per_order(meter.end(orders), orders);
    handles.iter().for_each(WorkerHandle::stop);
    for ended in running {
        ended.await.map_err(|e| {
            Error::new(ErrorKind::Internal, "a worker ended early").with_source(e)
        })??;
    }
    Ok(figures)
}

/// Waits until as many orders have come to their end: each has its last status event by then.
async fn wait_for(store: &SqliteStore, ended: u64) -> Result<()> {
    loop {
        let count = store.read(|connection| {
            connection
                .prepare_cached("SELECT ended FROM tally")
                .and_then(|mut select| select.query_row([], |row| row.get::<_, i64>(0)))
                .sql(WHAT)
        });
        if count.await? as u64 >= ended {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn place(store: &SqliteStore, numbers: std::ops::Range<u64>) -> Result<()> {
    let publisher = store.clone();
    let placing = store.transaction(move |tx| {
        let mut events = Vec::new();
        for number in numbers {
            let order = Order::new(number);
            let event = Event::json(kind::PLACED, &order)?
                .with_id(order.order_id.as_str())
                .with_source("/bench/placement")
                .with_key(&order.customer_id);
            let content = String::from_utf8_lossy(event.data().map_or(&[][..], |data| data));
            tx.prepare_cached("INSERT INTO intake VALUES (?1, ?2, ?3, ?4)")
                .and_then(|mut insert| {
                    let cents = order.cents() as i64;
                    insert.execute(params![order.order_id, order.customer_id, cents, content])
                })
                .sql(WHAT)?;
            events.push(event);
        }
        publisher.publish_in(tx, &StreamName::new("orders"), &events)
    });
    placing.await
}

/// Handles an event once: what `work` writes, the record and the event that it returns for `stream` are
/// one transaction.
async fn once(
    store: SqliteStore,
    completion: Completion,
    stream: &'static str,
    work: impl FnOnce(&Transaction<'_>) -> Result<Option<Event>> + Send + 'static,
) -> Result<()> {
    let handled = store.handle_once(completion, move |tx| {
        let event = work(tx)?;
        Ok(event
            .map(|event| (StreamName::new(stream), event))
            .into_iter()
            .collect())
    });
    handled.await.map(drop)
}

async fn charge(
    State(store): State<SqliteStore>,
    Json(order): Json<Order>,
    cause: Event,
    completion: Completion,
) -> Result<()> {
    let work = move |tx: &Transaction<'_>| {
        let (kind, payment) = order.pay();
        if kind == kind::PAID {
            tx.prepare_cached("INSERT INTO charges (order_id, cents) VALUES (?1, ?2)")
                .and_then(|mut insert| {
                    insert.execute(params![payment.order_id, payment.cents as i64])
                })
                .sql(WHAT)?;
        }
        let event = Event::json(kind, &payment)?.with_source("/bench/payment");
        Ok(Some(event.caused_by(&cause, 0)))
    };
    once(store, completion, "payments", work).await
}

async fn label(
    State(store): State<SqliteStore>,
    Json(payment): Json<Payment>,
    cause: Event,
    completion: Completion,
) -> Result<()> {
    let work = move |_: &Transaction<'_>| {
        let event = Event::json(kind::LABELLED, &payment.label())?.with_source("/bench/shipping");
        Ok(Some(event.caused_by(&cause, 0)))
    };
    once(store, completion, "shipments", work).await
}

async fn follow(
    State(store): State<SqliteStore>,
    Json(about): Json<AboutOrder>,
    Key(customer): Key,
    cause: Event,
    completion: Completion,
) -> Result<()> {
    let work = move |tx: &Transaction<'_>| {
        let status = status_of(cause.kind());
        if !advance(tx, &about.order_id, &customer, status).sql(WHAT)? {
            return Ok(None);
        }
        let change = Status {
            order_id: about.order_id,
            status: status.into(),
        };
        let event = Event::json(kind::STATUS, &change)?.with_source("/bench/management");
        Ok(Some(event.caused_by(&cause, 0)))
    };
    once(store, completion, "order-status", work).await
}

/// Moves an order's state forward; returns whether it moved.
fn advance(
    tx: &Transaction<'_>,
    order_id: &str,
    customer: &str,
    status: &str,
) -> rusqlite::Result<bool> {
    let known: Option<String> = tx
        .prepare_cached("SELECT status FROM order_state WHERE order_id = ?1")?
        .query_row([order_id], |row| row.get(0))
        .optional()?;
    if known.is_some_and(|known| rank(&known) >= rank(status)) {
        return Ok(false);
    }
    tx.prepare_cached(
        "INSERT INTO order_state VALUES (?1, ?2, ?3)
         ON CONFLICT (order_id) DO UPDATE SET status = ?3",
    )?
    .execute([order_id, customer, status])?;
    if rank(status) == 3 {
        tx.prepare_cached("UPDATE tally SET ended = ended + 1")?
            .execute([])?;
    }
    Ok(true)
}
