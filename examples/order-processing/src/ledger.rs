use aqueduct::{Error, ErrorKind, Result};
use aqueduct_sqlite::SqlResultExt as _;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use rust_decimal::Decimal;

use crate::audit::Seen;
use crate::order::{Order, Status, kind};

/// The flow's own tables. They are in the file of the embedded store, so that a role's writes and the
/// events that they cause are one transaction. No table forbids charging an order twice: the audit
/// checks that. `tally` has the number of orders in each state, so that the progress is read without
/// counting them.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS intake (
        order_id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL,
        gross TEXT NOT NULL,
        content TEXT NOT NULL,
        event_id TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS input (
        name TEXT PRIMARY KEY,
        lines INTEGER NOT NULL
    );
    CREATE TABLE IF NOT EXISTS charges (
        charge INTEGER PRIMARY KEY,
        order_id TEXT NOT NULL,
        amount TEXT NOT NULL,
        event_id TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS order_state (
        order_id TEXT PRIMARY KEY,
        customer_id TEXT NOT NULL,
        status TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS tally (
        name TEXT PRIMARY KEY,
        orders INTEGER NOT NULL
    ) WITHOUT ROWID;
    INSERT OR IGNORE INTO tally
        SELECT 'taken_in', count(*) FROM intake
        UNION ALL SELECT status, count(*) FROM order_state
            WHERE NOT EXISTS (SELECT 1 FROM tally) GROUP BY status;
    DROP INDEX IF EXISTS order_state_status;
    DROP INDEX IF EXISTS charges_order;
    CREATE TABLE IF NOT EXISTS journal (
        entry INTEGER PRIMARY KEY,
        stream TEXT NOT NULL,
        event_id TEXT NOT NULL,
        kind TEXT NOT NULL,
        customer_id TEXT NOT NULL,
        order_id TEXT NOT NULL,
        status TEXT
    );
";

/// The row of `tally` that counts the orders taken in; the others are named for a status.
const TAKEN_IN: &str = "taken_in";

/// The subject of errors of failed statements.
const TABLES: &str = "the tables of the order flow";

pub(crate) fn create(connection: &Connection) -> Result<()> {
    connection.execute_batch(SCHEMA).sql(TABLES)
}

/// The result of taking an order in.
pub(crate) enum Taken {
    New,
    Already,
    OtherContent,
}

/// Takes an order in once; `content` is its line as JSON in one form.
pub(crate) fn take_in(
    connection: &Connection,
    order: &Order,
    gross: Decimal,
    content: &str,
    event_id: &str,
) -> Result<Taken> {
    let known: Option<String> = connection
        .prepare_cached("SELECT content FROM intake WHERE order_id = ?1")
        .and_then(|mut find| {
            find.query_row([&order.order_id], |row| row.get(0))
                .optional()
        })
        .sql(TABLES)?;
    match known {
        Some(known) if known == content => Ok(Taken::Already),
        Some(_) => Ok(Taken::OtherContent),
        None => {
            connection
                .prepare_cached("INSERT INTO intake VALUES (?1, ?2, ?3, ?4, ?5)")
                .and_then(|mut insert| {
                    insert.execute(params![
                        order.order_id,
                        order.customer_id,
                        gross.to_string(),
                        content,
                        event_id
                    ])
                })
                .sql(TABLES)?;
            Ok(Taken::New)
        }
    }
}

/// Adds to the number of orders taken in.
pub(crate) fn tally_taken_in(connection: &Connection, orders: usize) -> Result<()> {
    tally(connection, TAKEN_IN, orders as i64)
}

fn tally(connection: &Connection, name: &str, change: i64) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO tally VALUES (?1, ?2) \
             ON CONFLICT (name) DO UPDATE SET orders = orders + ?2",
        )
        .and_then(|mut upsert| upsert.execute(params![name, change]))
        .map(drop)
        .sql(TABLES)
}

/// Notes that an input was read to its end.
pub(crate) fn input_read(connection: &Connection, name: &str, lines: u64) -> Result<()> {
    connection
        .execute(
            "INSERT INTO input VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET lines = ?2",
            params![name, lines as i64],
        )
        .sql(TABLES)?;
    Ok(())
}

/// Notes that an input is being read, before its end is known.
pub(crate) fn input_begun(connection: &Connection) -> Result<()> {
    connection.execute("DELETE FROM input", []).sql(TABLES)?;
    Ok(())
}

/// Charges an order.
pub(crate) fn charge(
    connection: &Connection,
    order_id: &str,
    amount: Decimal,
    event_id: &str,
) -> Result<()> {
    connection
        .prepare_cached("INSERT INTO charges (order_id, amount, event_id) VALUES (?1, ?2, ?3)")
        .and_then(|mut insert| insert.execute(params![order_id, amount.to_string(), event_id]))
        .sql(TABLES)?;
    Ok(())
}

/// Moves an order's state forward; returns the earlier state if it moved.
pub(crate) fn advance(
    connection: &Connection,
    order_id: &str,
    customer_id: &str,
    to: Status,
) -> Result<Option<Option<Status>>> {
    let from = status(connection, order_id)?;
    if from >= Some(to) {
        return Ok(None);
    }
    connection
        .prepare_cached(
            "INSERT INTO order_state VALUES (?1, ?2, ?3) \
             ON CONFLICT (order_id) DO UPDATE SET status = ?3",
        )
        .and_then(|mut upsert| upsert.execute(params![order_id, customer_id, to.as_str()]))
        .sql(TABLES)?;
    if let Some(from) = from {
        tally(connection, from.as_str(), -1)?;
    }
    tally(connection, to.as_str(), 1)?;
    Ok(Some(from))
}

/// Notes an event of a stream that cannot be read again, in the order in which management handled or
/// caused it.
pub(crate) fn note(connection: &Connection, stream: &str, seen: &Seen) -> Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO journal (stream, event_id, kind, customer_id, order_id, status) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )
        .and_then(|mut insert| {
            insert.execute(params![
                stream,
                seen.id,
                seen.kind,
                seen.customer,
                seen.order,
                seen.status.map(Status::as_str)
            ])
        })
        .sql(TABLES)?;
    Ok(())
}

/// Returns the noted events of a stream, in order.
pub(crate) fn noted(connection: &Connection, stream: &str) -> Result<Vec<Seen>> {
    let mut query = connection
        .prepare_cached(
            "SELECT event_id, kind, customer_id, order_id, status FROM journal \
             WHERE stream = ?1 ORDER BY entry",
        )
        .sql(TABLES)?;
    let noted = query
        .query_map([stream], |row| {
            let status: Option<String> = row.get(4)?;
            Ok(Seen {
                id: row.get(0)?,
                kind: row.get(1)?,
                customer: row.get(2)?,
                order: row.get(3)?,
                status: status.as_deref().and_then(Status::from_name),
            })
        })
        .sql(TABLES)?;
    noted.map(|seen| seen.sql(TABLES)).collect()
}

/// Returns how many events are noted, and how many more the orders that were taken in have: one that was
/// placed and one that was paid or declined for each order, and a label for each paid one.
pub(crate) fn notes(connection: &Connection) -> Result<Notes> {
    let of = |kind: &str| {
        let query = "SELECT count(DISTINCT event_id) FROM journal WHERE kind = ?1";
        connection
            .prepare_cached(query)
            .and_then(|mut query| query.query_row([kind], |row| row.get::<_, i64>(0)))
            .map(|count| count as u64)
            .sql(TABLES)
    };
    let orders = count(connection, "SELECT count(*) FROM intake")?;
    let (placed, paid) = (of(kind::PLACED)?, of(kind::PAID)?);
    let (declined, labelled) = (of(kind::PAYMENT_FAILED)?, of(kind::LABELLED)?);
    let noted = placed + paid + declined + labelled;
    let expected = orders * 2 + orders.saturating_sub(declined);
    Ok(Notes {
        noted,
        missing: expected.saturating_sub(noted),
    })
}

/// How complete the journal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notes {
    pub(crate) noted: u64,
    pub(crate) missing: u64,
}

fn status(connection: &Connection, order_id: &str) -> Result<Option<Status>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT status FROM order_state WHERE order_id = ?1")
        .and_then(|mut find| find.query_row([order_id], |row| row.get(0)).optional())
        .sql(TABLES)?;
    text.map(|text| {
        Status::from_name(&text).ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("order {order_id} has status `{text}`"),
            )
        })
    })
    .transpose()
}

/// The progress of the flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Whether the input was read to its end.
    pub(crate) input_read: bool,
    pub(crate) taken_in: u64,
    pub(crate) placed: u64,
    pub(crate) paid: u64,
    pub(crate) payment_failed: u64,
    pub(crate) shipped: u64,
}

impl Standing {
    /// The number of finished orders.
    pub(crate) fn finished(self) -> u64 {
        self.payment_failed + self.shipped
    }

    /// The number of orders that were taken in and are not finished.
    pub(crate) fn under_way(self) -> u64 {
        self.taken_in.saturating_sub(self.finished())
    }

    /// Returns whether the whole input was read and every order is finished.
    pub(crate) fn is_complete(self) -> bool {
        self.input_read && self.finished() == self.taken_in
    }
}

pub(crate) fn standing(connection: &Connection) -> Result<Standing> {
    let mut standing = Standing {
        input_read: count(connection, "SELECT count(*) FROM input")? > 0,
        ..Standing::default()
    };
    let numbers = rows(connection, "SELECT name, orders FROM tally", |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64))
    })?;
    for (name, orders) in numbers {
        match Status::from_name(&name) {
            Some(Status::Placed) => standing.placed = orders,
            Some(Status::Paid) => standing.paid = orders,
            Some(Status::PaymentFailed) => standing.payment_failed = orders,
            Some(Status::Shipped) => standing.shipped = orders,
            None if name == TAKEN_IN => standing.taken_in = orders,
            None => {}
        }
    }
    Ok(standing)
}

/// The contents of the flow's tables, for the audit.
pub(crate) struct Books {
    /// Every order in the order of intake: id, customer, id of its event.
    pub(crate) intake: Vec<(String, String, String)>,
    pub(crate) gross: Decimal,
    pub(crate) charged_twice: u64,
    /// Orders without a final state.
    pub(crate) unfinished: u64,
}

pub(crate) fn books(connection: &Connection) -> Result<Books> {
    let intake = rows(
        connection,
        "SELECT order_id, customer_id, event_id FROM intake ORDER BY rowid",
        |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
    )?;
    let amounts: Vec<String> = rows(connection, "SELECT gross FROM intake", |row| {
        row.get::<_, String>(0)
    })?;
    let gross = amounts.iter().try_fold(Decimal::ZERO, |sum, text| {
        let amount = Decimal::from_str_exact(text).ok()?;
        sum.checked_add(amount)
    });
    Ok(Books {
        intake,
        gross: gross.ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                "the amounts of the orders do not add up",
            )
        })?,
        charged_twice: count(
            connection,
            "SELECT count(*) FROM \
             (SELECT 1 FROM charges GROUP BY order_id HAVING count(*) > 1)",
        )?,
        unfinished: count(
            connection,
            "SELECT count(*) FROM intake LEFT JOIN order_state USING (order_id) \
             WHERE status IS NULL OR status NOT IN ('shipped', 'payment_failed')",
        )?,
    })
}

fn count(connection: &Connection, query: &str) -> Result<u64> {
    connection
        .prepare_cached(query)
        .and_then(|mut query| query.query_row([], |row| row.get::<_, i64>(0)))
        .map(|count| count as u64)
        .sql(TABLES)
}

fn rows<T>(
    connection: &Connection,
    query: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> Result<Vec<T>> {
    connection
        .prepare_cached(query)
        .and_then(|mut query| query.query_map([], read)?.collect())
        .sql(TABLES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_only_move_forward() {
        let db = Connection::open_in_memory().unwrap();
        create(&db).unwrap();
        assert_eq!(advance(&db, "1", "A", Status::Shipped).unwrap(), Some(None));
        assert_eq!(advance(&db, "1", "A", Status::Paid).unwrap(), None);
        assert_eq!(advance(&db, "2", "A", Status::Placed).unwrap(), Some(None));
        assert_eq!(
            advance(&db, "2", "A", Status::Paid).unwrap(),
            Some(Some(Status::Placed))
        );
        let standing = standing(&db).unwrap();
        assert_eq!(
            (standing.shipped, standing.paid, standing.input_read),
            (1, 1, false)
        );
    }

    #[test]
    fn a_file_from_before_the_tally_is_counted_once() {
        let db = Connection::open_in_memory().unwrap();
        create(&db).unwrap();
        for (order, status) in [("1", Status::Paid), ("2", Status::Shipped)] {
            advance(&db, order, "A", status).unwrap();
        }
        db.execute_batch("INSERT INTO intake VALUES ('1', 'A', '1', '', 'a'); DELETE FROM tally")
            .unwrap();
        for _ in 0..2 {
            create(&db).unwrap();
            let standing = standing(&db).unwrap();
            assert_eq!(
                (standing.taken_in, standing.paid, standing.shipped),
                (1, 1, 1)
            );
        }
    }

    #[test]
    fn the_journal_keeps_the_order_and_knows_what_is_missing() {
        let db = Connection::open_in_memory().unwrap();
        create(&db).unwrap();
        db.execute("INSERT INTO intake VALUES ('1', 'A', '1', '', 'a')", [])
            .unwrap();
        let seen = |id: &str, kind: &str, status| Seen {
            id: id.into(),
            kind: kind.into(),
            customer: "A".into(),
            order: "1".into(),
            status,
        };
        let counted = |noted, missing| {
            assert_eq!(notes(&db).unwrap(), Notes { noted, missing });
        };
        counted(0, 3);
        let placed = seen("a", kind::PLACED, None);
        note(&db, "orders", &placed).unwrap();
        note(&db, "orders", &placed).unwrap();
        counted(1, 2);
        note(&db, "payments", &seen("b", kind::PAYMENT_FAILED, None)).unwrap();
        counted(2, 0);
        let changed = seen("c", kind::STATUS, Some(Status::PaymentFailed));
        note(&db, "order-status", &changed).unwrap();
        assert_eq!(noted(&db, "orders").unwrap(), [placed.clone(), placed]);
        assert_eq!(noted(&db, "order-status").unwrap(), [changed]);
    }

    #[test]
    fn a_failed_statement_keeps_its_cause() {
        let db = Connection::open_in_memory().unwrap();
        let error = standing(&db).unwrap_err().to_string();
        assert!(
            error.contains(TABLES) && error.contains("no such table"),
            "{error}"
        );
    }

    #[test]
    fn the_books_find_a_second_charge() {
        let db = Connection::open_in_memory().unwrap();
        create(&db).unwrap();
        for event in ["a", "b"] {
            charge(&db, "1", Decimal::ONE, event).unwrap();
        }
        charge(&db, "2", Decimal::ONE, "c").unwrap();
        assert_eq!(books(&db).unwrap().charged_twice, 1);
    }
}
