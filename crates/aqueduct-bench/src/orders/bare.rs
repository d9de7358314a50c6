//! The smallest program by hand: four stages in one thread, each takes up to 20 events a commit.

use aqueduct_core::Result;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{
    AboutOrder, Label, Order, Payment, Status, TABLES, Written, audit, json_failed, kind, rank,
    sql_failed, status_of,
};
use crate::measure::{Figures, Meter};
use crate::sqlite::folder;

const ORDERS: i64 = 0;
const PAYMENTS: i64 = 1;
const SHIPMENTS: i64 = 2;
const STATUSES: i64 = 3;

/// A stage and the streams that it reads.
const STAGES: [(&str, &[i64]); 3] = [
    ("payment", &[ORDERS]),
    ("shipping", &[PAYMENTS]),
    ("management", &[ORDERS, PAYMENTS, SHIPMENTS]),
];

struct Event {
    position: i64,
    id: String,
    kind: String,
    key: String,
    data: Vec<u8>,
}

pub(super) fn run(orders: u64, batch: usize) -> Result<Figures> {
    let folder = folder()?;
    let mut file = Connection::open(folder.path().join("bare.db")).map_err(sql_failed)?;
    file.set_prepared_statement_cache_capacity(64);
    file.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE event (
             stream INTEGER, position INTEGER, id TEXT, type TEXT, key TEXT, data BLOB,
             PRIMARY KEY (stream, position)
         ) WITHOUT ROWID;
         CREATE TABLE cursor (
             stage TEXT, stream INTEGER, position INTEGER, PRIMARY KEY (stage, stream)
         ) WITHOUT ROWID;
         CREATE TABLE handled (stage TEXT, id TEXT, PRIMARY KEY (stage, id)) WITHOUT ROWID;",
    )
    .map_err(sql_failed)?;
    file.execute_batch(TABLES).map_err(sql_failed)?;
    let (meter, written) = (Meter::begin(), Written::begin());
    let mut placed = 0;
    loop {
        let mut moved = place(&mut file, &mut placed, orders, batch)?;
        for (stage, streams) in STAGES {
            for stream in streams {
                moved |= advance(&mut file, stage, *stream, batch)?;
            }
        }
        if !moved {
            break;
        }
    }
    let figures = written.per_order(meter.end(orders), orders);
    audit(&file, orders)?;
    Ok(figures)
}

fn place(file: &mut Connection, placed: &mut u64, orders: u64, batch: usize) -> Result<bool> {
    let until = orders.min(*placed + batch as u64);
    if *placed == until {
        return Ok(false);
    }
    let tx = file.transaction().map_err(sql_failed)?;
    for number in *placed..until {
        let order = Order::new(number);
        let content = serde_json::to_string(&order).map_err(json_failed)?;
        tx.prepare_cached("INSERT INTO intake VALUES (?1, ?2, ?3, ?4)")
            .and_then(|mut insert| {
                let cents = order.cents() as i64;
                insert.execute(params![order.order_id, order.customer_id, cents, content])
            })
            .map_err(sql_failed)?;
        let bytes = content.as_bytes();
        publish(
            &tx,
            ORDERS,
            &order.order_id,
            kind::PLACED,
            &order.customer_id,
            bytes,
        )?;
    }
    tx.commit().map_err(sql_failed)?;
    *placed = until;
    Ok(true)
}

/// Handles the next events of a stream in one transaction; returns whether there were any.
fn advance(file: &mut Connection, stage: &str, stream: i64, batch: usize) -> Result<bool> {
    let tx = file.transaction().map_err(sql_failed)?;
    let events = next(&tx, stage, stream, batch).map_err(sql_failed)?;
    let Some(last) = events.last().map(|event| event.position) else {
        return Ok(false);
    };
    for event in &events {
        let new = tx
            .prepare_cached("INSERT OR IGNORE INTO handled VALUES (?1, ?2)")
            .and_then(|mut insert| insert.execute([stage, &event.id]))
            .map_err(sql_failed)?;
        if new == 1 {
            handle(&tx, stage, event)?;
        }
    }
    tx.prepare_cached(
        "INSERT INTO cursor VALUES (?1, ?2, ?3)
         ON CONFLICT (stage, stream) DO UPDATE SET position = ?3",
    )
    .and_then(|mut upsert| upsert.execute(params![stage, stream, last]))
    .map_err(sql_failed)?;
    tx.commit().map_err(sql_failed)?;
    Ok(true)
}

fn next(
    tx: &Transaction<'_>,
    stage: &str,
    stream: i64,
    batch: usize,
) -> rusqlite::Result<Vec<Event>> {
    let after: Option<i64> = tx
        .prepare_cached("SELECT position FROM cursor WHERE stage = ?1 AND stream = ?2")?
        .query_row(params![stage, stream], |row| row.get(0))
        .optional()?;
    tx.prepare_cached(
        "SELECT position, id, type, key, data FROM event WHERE stream = ?1 AND position > ?2
         ORDER BY position LIMIT ?3",
    )?
    .query_map(params![stream, after.unwrap_or(0), batch as i64], |row| {
        Ok(Event {
            position: row.get(0)?,
            id: row.get(1)?,
            kind: row.get(2)?,
            key: row.get(3)?,
            data: row.get(4)?,
        })
    })?
    .collect()
}

fn handle(tx: &Transaction<'_>, stage: &str, event: &Event) -> Result<()> {
    match (stage, event.kind.as_str()) {
        ("payment", kind::PLACED) => {
            let order: Order = serde_json::from_slice(&event.data).map_err(json_failed)?;
            let (kind, payment) = order.pay();
            if kind == kind::PAID {
                tx.prepare_cached("INSERT INTO charges (order_id, cents) VALUES (?1, ?2)")
                    .and_then(|mut insert| {
                        insert.execute(params![payment.order_id, payment.cents as i64])
                    })
                    .map_err(sql_failed)?;
            }
            let data = serde_json::to_vec(&payment).map_err(json_failed)?;
            let id = format!("payment/{}", payment.order_id);
            publish(tx, PAYMENTS, &id, kind, &event.key, &data)
        }
        ("shipping", kind::PAID) => {
            let payment: Payment = serde_json::from_slice(&event.data).map_err(json_failed)?;
            let label: Label = payment.label();
            let data = serde_json::to_vec(&label).map_err(json_failed)?;
            let id = format!("label/{}", label.order_id);
            publish(tx, SHIPMENTS, &id, kind::LABELLED, &event.key, &data)
        }
        ("management", _) => follow(tx, event),
        _ => Ok(()),
    }
}

fn follow(tx: &Transaction<'_>, event: &Event) -> Result<()> {
    let about: AboutOrder = serde_json::from_slice(&event.data).map_err(json_failed)?;
    let status = status_of(&event.kind);
    let known: Option<String> = tx
        .prepare_cached("SELECT status FROM order_state WHERE order_id = ?1")
        .and_then(|mut select| {
            select
                .query_row([&about.order_id], |row| row.get(0))
                .optional()
        })
        .map_err(sql_failed)?;
    if known.is_some_and(|known| rank(&known) >= rank(status)) {
        return Ok(());
    }
    tx.prepare_cached(
        "INSERT INTO order_state VALUES (?1, ?2, ?3)
         ON CONFLICT (order_id) DO UPDATE SET status = ?3",
    )
    .and_then(|mut upsert| upsert.execute([&about.order_id, &event.key, status]))
    .map_err(sql_failed)?;
    let id = format!("{status}/{}", about.order_id);
    let change = Status {
        order_id: about.order_id,
        status: status.into(),
    };
    let data = serde_json::to_vec(&change).map_err(json_failed)?;
    publish(tx, STATUSES, &id, kind::STATUS, &event.key, &data)
}

fn publish(
    tx: &Transaction<'_>,
    stream: i64,
    id: &str,
    kind: &str,
    key: &str,
    data: &[u8],
) -> Result<()> {
    tx.prepare_cached(
        "INSERT INTO event VALUES (?1,
             (SELECT coalesce(max(position), 0) + 1 FROM event WHERE stream = ?1), ?2, ?3, ?4, ?5)",
    )
    .and_then(|mut insert| insert.execute(params![stream, id, kind, key, data]))
    .map(drop)
    .map_err(sql_failed)
}
