use aqueduct_core::{Error, ErrorKind, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::SqlResultExt as _;

/// One step of the schema: what turns version `n` into `n + 1`, `n` being its index.
pub(crate) type Migration = &'static str;

/// Every step, never changed once released: a new version is a new step at the end.
pub(crate) const MIGRATIONS: &[Migration] = &[
    include_str!("v1.sql"),
    include_str!("v2.sql"),
    include_str!("v3.sql"),
    include_str!("v4.sql"),
    include_str!("v5.sql"),
];

/// `AQUD`: what `file` and the like know a database of Aqueduct by.
const APPLICATION_ID: i32 = 0x4151_5544;

/// Brings the file to the newest version, or refuses it.
///
/// The version stands in a table of its own: `user_version` belongs to the application, whose
/// tables may live in the same file.
///
/// # Errors
/// `Unsupported` for a version that only a newer release knows; `Config` for a file that belongs
/// to another application.
pub(crate) fn migrate(connection: &Connection, migrations: &[Migration]) -> Result<()> {
    if version(connection)? == Some(migrations.len()) {
        return Ok(());
    }
    let tx = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)
        .sql("lock the file for its migration")?;
    let found = match version(&tx)? {
        Some(found) => found,
        None => {
            adopt(&tx)?;
            0
        }
    };
    if found > migrations.len() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "its schema has version {found}, and this release knows up to {}: use a newer one",
                migrations.len()
            ),
        ));
    }
    for (at, step) in migrations.iter().enumerate().skip(found) {
        tx.execute_batch(step).sql("migrate the schema")?;
        tx.execute("UPDATE aqueduct_schema SET version = ?1", [at as i64 + 1])
            .sql("record the schema's version")?;
    }
    if found > 0 {
        tracing::info!(from = found, to = migrations.len(), "migrated the schema");
    }
    tx.commit().sql("commit the migration")
}

fn version(connection: &Connection) -> Result<Option<usize>> {
    let known: bool = connection
        .query_row(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'aqueduct_schema')",
            [],
            |row| row.get(0),
        )
        .sql("read the schema")?;
    if !known {
        return Ok(None);
    }
    let version: i64 = connection
        .query_row("SELECT version FROM aqueduct_schema", [], |row| row.get(0))
        .sql("read the schema's version")?;
    Ok(Some(usize::try_from(version).unwrap_or(usize::MAX)))
}

fn adopt(tx: &Transaction<'_>) -> Result<()> {
    let application: i32 = tx
        .query_row("PRAGMA application_id", [], |row| row.get(0))
        .sql("read the file's application")?;
    if application != 0 && application != APPLICATION_ID {
        return Err(Error::config(format!(
            "the database belongs to another application (application_id {application:#x}); \
             name a file of its own"
        )));
    }
    let empty: bool = tx
        .query_row(
            "SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)",
            [],
            |row| row.get(0),
        )
        .sql("read the schema")?;
    if empty {
        tx.pragma_update(None, "application_id", APPLICATION_ID)
            .sql("mark the file")?;
    }
    tx.execute_batch(
        "CREATE TABLE aqueduct_schema (version INTEGER NOT NULL) STRICT;
         INSERT INTO aqueduct_schema VALUES (0);",
    )
    .sql("create the schema")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Migration = "CREATE TABLE note (text TEXT); INSERT INTO note VALUES ('kept');";
    const TWO: Migration = "ALTER TABLE note ADD COLUMN read INTEGER NOT NULL DEFAULT 0;";

    fn note(connection: &Connection) -> (String, i64) {
        connection
            .query_row("SELECT text, read FROM note", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap()
    }

    #[test]
    fn an_older_file_is_brought_forward_with_what_it_holds() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &[ONE]).unwrap();
        assert_eq!(version(&connection).unwrap(), Some(1));
        migrate(&connection, &[ONE, TWO]).unwrap();
        migrate(&connection, &[ONE, TWO]).unwrap();
        assert_eq!(version(&connection).unwrap(), Some(2));
        assert_eq!(note(&connection), ("kept".into(), 0));
    }

    #[test]
    fn a_step_that_fails_leaves_the_older_version_whole() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &[ONE]).unwrap();
        let broken = "DELETE FROM note; CREATE TABLE note (text TEXT);";
        migrate(&connection, &[ONE, broken]).unwrap_err();
        assert!(connection.is_autocommit());
        assert_eq!(version(&connection).unwrap(), Some(1));
        migrate(&connection, &[ONE, TWO]).unwrap();
        assert_eq!(note(&connection), ("kept".into(), 0));
    }

    #[test]
    fn a_newer_schema_is_refused_and_left_alone() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &[ONE, TWO]).unwrap();
        let error = migrate(&connection, &[ONE]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.message().contains("version 2") && error.message().contains("up to 1"));
        assert_eq!(version(&connection).unwrap(), Some(2));
    }

    #[test]
    fn a_file_of_version_1_keeps_its_leases_and_claims() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &MIGRATIONS[..1]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO aqueduct_lease VALUES ('billing', 'orders', '0', 7, 'a', 3, 41, NULL,
                     'at:12', '14', NULL, 0, 0, 0, '[]', '[]', NULL, 5);
                 INSERT INTO aqueduct_handled VALUES ('billing', 'h', 0, '/shop', 'A1', NULL, '0',
                     3, 9, 2);",
            )
            .unwrap();
        migrate(&connection, MIGRATIONS).unwrap();
        let key = aqueduct_core::GroupKey::new("billing", "orders");
        let lease = crate::leases::list(&connection, &key).unwrap().remove(0);
        let owner = lease.owner.as_ref().map(|owner| owner.as_str());
        assert_eq!((owner, lease.generation), (Some("a"), 3));
        assert_eq!(lease.checkpoint.to_string(), "at:12");
        assert_eq!((lease.resume_token, lease.caught_up_at), (None, None));
        let stream: Option<String> = connection
            .query_row("SELECT stream FROM aqueduct_handled", [], |row| row.get(0))
            .unwrap();
        assert_eq!(stream, None);
    }

    #[test]
    fn a_file_of_version_2_gives_its_streams_identities_and_keeps_its_groups() {
        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &MIGRATIONS[..2]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO aqueduct_stream (name, created, next_number, max_event_bytes)
                     VALUES ('orders', 1, 1, 9), ('bills', 1, 1, 9);
                 INSERT INTO aqueduct_group VALUES ('billing', 'orders', '2026-01-01T00:00:00Z', '[]',
                     3, '2026-01-01T00:00:00Z');",
            )
            .unwrap();
        migrate(&connection, MIGRATIONS).unwrap();
        let identity = |name: &str| {
            let row = crate::streams::find_stream(&connection, name).unwrap();
            row.unwrap().identity
        };
        assert_eq!(identity("orders").map(|it| it.len()), Some(32));
        assert_ne!(identity("orders"), identity("bills"));
        let key = aqueduct_core::GroupKey::new("billing", "orders");
        let record = crate::leases::find_group(&connection, &key).unwrap();
        let record = record.unwrap();
        assert_eq!((record.replay, record.stream_id), (3, None));
    }

    #[test]
    fn a_file_of_version_4_keeps_its_records_of_handled_events() {
        use aqueduct_core::claim_rules::ClaimRecord;
        use aqueduct_core::{Event, EventClaim, EventId, IdempotencyScope};

        let connection = Connection::open_in_memory().unwrap();
        migrate(&connection, &MIGRATIONS[..4]).unwrap();
        connection
            .execute_batch(
                "INSERT INTO aqueduct_handled VALUES
                     ('billing', 'h', 0, '/shop', 'A1', 12, '0', 3, 9, 0, 'orders'),
                     ('billing', 'h', 0, '/shop', 'A2', NULL, '1', 4, 8, 2, NULL),
                     ('billing', 'h', 1, '/shop', 'A2', NULL, NULL, 0, 7, 0, NULL);",
            )
            .unwrap();
        migrate(&connection, MIGRATIONS).unwrap();
        let record = |replay, id: &str| {
            let event = Event::new("x")
                .with_source("/shop")
                .with_id(EventId::from(id));
            let scope = IdempotencyScope {
                group: "billing".into(),
                handlers: "h".into(),
                replay,
            };
            crate::handled_records::find(&connection, &scope, &EventClaim::new(&event, 1)).unwrap()
        };
        assert!(record(0, "A1").unwrap().completed);
        assert_eq!(
            record(0, "A2"),
            Some(ClaimRecord {
                completed: false,
                stream: None,
                partition: Some("1".into()),
                generation: 4,
                nonce: 8,
                heartbeat: 2,
            })
        );
        assert_eq!(record(1, "A2").map(|it| it.nonce), Some(7));
        assert_eq!(record(1, "A1"), None);
    }

    #[test]
    fn an_applications_own_tables_may_be_there_and_another_applications_file_may_not() {
        let own = Connection::open_in_memory().unwrap();
        own.execute_batch("CREATE TABLE orders (id TEXT); PRAGMA user_version = 7")
            .unwrap();
        migrate(&own, MIGRATIONS).unwrap();
        let kept: i64 = own
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(kept, 7);

        let foreign = Connection::open_in_memory().unwrap();
        foreign
            .execute_batch("CREATE TABLE x (y); PRAGMA application_id = 252006674")
            .unwrap();
        let error = migrate(&foreign, MIGRATIONS).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
    }
}
