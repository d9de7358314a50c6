//! The history of a run of the order flow, as its tables and streams show it.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use aqueduct_history::{HistoryLine, Op, Phase, Recorder, Text};
use rusqlite::{Connection, Row};

/// Writes the history of a run that was killed that often, for `cargo xtask check-history`: what was taken in
/// is stored, in order for each customer; each order is paid for, or declined, once, in that order.
pub(crate) fn write_history(data: &Path, name: &str, kills: u64) -> (Recorder, PathBuf) {
    let db = Connection::open(data.join("orders.db")).unwrap();
    let mut history = Recorder::new(None).with_effects_once().without_acks();
    let mut time = 0;
    let mut line = |process: &str, op: Op, phase: Phase, event: &str| {
        time += 1;
        HistoryLine::new(time, process, op, phase).event(event)
    };
    let placed = "SELECT customer_id, event_id, order_id FROM intake ORDER BY rowid";
    for [customer, event, _] in rows(&db, placed) {
        let key = Some(Text::from(customer.as_str()));
        for phase in [Phase::Invoke, Phase::Ok] {
            history.add(line("intake", Op::Send, phase, &event).key(key.clone()));
        }
    }
    let stored = "SELECT key, id, partition || '/' || position FROM aqueduct_event \
                  WHERE stream = 'orders' ORDER BY partition, position";
    for [customer, event, place] in rows(&db, stored) {
        let (partition, position) = place.split_once('/').unwrap();
        let line = line("orders", Op::Store, Phase::Ok, &event).key(Some(customer.into()));
        let position = position.parse().unwrap();
        history.add(line.partition(partition).position(position));
    }
    // Each payment is stored in one transaction with its charge, by the handler of its order.
    let paid = "SELECT i.event_id, min(e.position), '' FROM aqueduct_event e \
                JOIN intake i ON i.order_id = CAST(e.data AS TEXT) ->> 'order_id' \
                WHERE e.stream = 'payments' GROUP BY i.event_id ORDER BY e.partition, min(e.position)";
    for [event, _, _] in rows(&db, paid) {
        history.add(line("payment", Op::Handle, Phase::Invoke, &event));
        history.add(line("payment", Op::Handle, Phase::Ok, &event));
    }
    let charged = "SELECT i.event_id, c.order_id, '' FROM charges c \
                   JOIN intake i ON i.order_id = c.order_id ORDER BY c.charge";
    for [event, _, _] in rows(&db, charged) {
        history.add(line("payment", Op::Effect, Phase::Ok, &event));
    }
    for kill in 0..kills {
        let mut line = line(&format!("life-{kill}"), Op::Kill, Phase::Ok, "");
        line.event = None;
        history.add(line);
    }
    history.end(u64::MAX, Ok(()));
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.history.jsonl"));
    history
        .write(BufWriter::new(File::create(&path).unwrap()))
        .unwrap();
    (history, path)
}

fn rows(db: &Connection, query: &str) -> Vec<[String; 3]> {
    let mut select = db.prepare(query).unwrap();
    let text = |row: &Row<'_>, at: usize| -> rusqlite::Result<String> {
        let value: rusqlite::types::Value = row.get(at)?;
        Ok(match value {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            _ => String::new(),
        })
    };
    let read = |row: &Row<'_>| Ok([text(row, 0)?, text(row, 1)?, text(row, 2)?]);
    let found = select.query_map([], read).unwrap();
    found.map(Result::unwrap).collect()
}
