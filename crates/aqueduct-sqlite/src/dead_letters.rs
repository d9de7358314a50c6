use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterReason, DeadLetterStore,
    Error, ErrorKind, Failure, GroupName, PartitionId, Result, SmallStr, StoredDeadLetter,
    StreamName,
};
use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction};
use serde_json::{Value, json};

use crate::append::as_text;
use crate::codec::{pack_one, unpack_one};
use crate::error::SqlResultExt as _;
use crate::leases::{damaged, parse, parse_optional};
use crate::store::SqliteStore;

/// The dead letters in the file, of every group that stores them here.
pub(crate) struct SqliteDeadLetters {
    store: SqliteStore,
}

const COLUMNS: &str = "id, name, stream, partition, position, reason, message, holds_key, \
     attempts, failures, stored_at, buried_at, shapes, head, body";

impl SqliteDeadLetters {
    pub(crate) fn new(store: SqliteStore) -> Self {
        Self { store }
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.store.0.writer.run(false, work).await
    }
}

#[async_trait]
impl DeadLetterQueue for SqliteDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let owned = dead_letters.to_vec();
        let stored = self
            .write(move |tx| {
                owned
                    .iter()
                    .try_for_each(|dead_letter| put(tx, dead_letter))
            })
            .await;
        dead_letters.iter().map(|_| stored.clone()).collect()
    }
}

#[async_trait]
impl DeadLetterStore for SqliteDeadLetters {
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>> {
        let after = match &query.after {
            None => 0,
            Some(id) => number_of(id).ok_or_else(|| {
                Error::new(
                    ErrorKind::Invalid,
                    format!("invalid dead letter id {id} (expected a number)"),
                )
            })?,
        };
        let query = query.clone();
        self.store
            .read(move |connection| {
                let mut select = connection
                    .prepare_cached(&format!(
                        "SELECT {COLUMNS} FROM aqueduct_letter WHERE id > ?1
                         AND (?2 IS NULL OR name = ?2) AND (?3 IS NULL OR stream = ?3)
                         AND (?4 IS NULL OR key = ?4) ORDER BY id LIMIT ?5"
                    ))
                    .sql("list the dead letters")?;
                let rows = select
                    .query_map(
                        (
                            after,
                            query.group.as_ref().map(GroupName::as_str),
                            query.stream.as_ref().map(StreamName::as_str),
                            query.key.as_deref(),
                            i64::try_from(query.limit).unwrap_or(i64::MAX),
                        ),
                        |row| Ok(read_dead_letter(row)),
                    )
                    .sql("list the dead letters")?;
                rows.map(|row| row.sql("list the dead letters")?).collect()
            })
            .await
    }

    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>> {
        let owned = ids.to_vec();
        let shown = self
            .store
            .read(move |connection| Ok(owned.iter().map(|id| find(connection, id)).collect()))
            .await;
        match shown {
            Ok(outcomes) => outcomes,
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>> {
        let owned = ids.to_vec();
        let purged = self
            .write(move |tx| {
                let mut outcomes = Vec::with_capacity(owned.len());
                for id in &owned {
                    let removed = match number_of(id) {
                        Some(number) => remove(tx, number)?,
                        None => false,
                    };
                    outcomes.push(if removed { Ok(()) } else { Err(not_found(id)) });
                }
                Ok(outcomes)
            })
            .await;
        match purged {
            Ok(outcomes) => outcomes,
            Err(error) => ids.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>> {
        let (group, stream) = (group.clone(), stream.clone());
        self.store
            .read(move |connection| {
                connection
                    .prepare_cached(
                        "SELECT key FROM aqueduct_held_key WHERE name = ?1 AND stream = ?2
                         ORDER BY key",
                    )
                    .and_then(|mut select| {
                        select
                            .query_map([group.as_str(), stream.as_str()], |row| {
                                Ok(SmallStr::from(row.get_ref(0)?.as_str()?))
                            })?
                            .collect()
                    })
                    .sql("list the held keys")
            })
            .await
    }

    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()> {
        let (group, stream, key) = (group.clone(), stream.clone(), key.to_owned());
        self.write(move |tx| {
            tx.execute(
                "DELETE FROM aqueduct_held_key WHERE name = ?1 AND stream = ?2 AND key = ?3",
                (group.as_str(), stream.as_str(), key),
            )
            .map(drop)
            .sql("release a key")
        })
        .await
    }
}

fn put(tx: &Transaction<'_>, dead_letter: &DeadLetter) -> Result<()> {
    let event = &dead_letter.event;
    let packed = pack_one(event);
    let failures: Vec<Value> = dead_letter
        .failures
        .iter()
        .map(|failure| {
            json!({
                "attempt": failure.attempt,
                "at": failure.at.to_string(),
                "error": failure.error.as_str(),
            })
        })
        .collect();
    // Redriven and failed again before the redrive removed the old dead letter: the new one needs its own
    // number, so that the redrive does not remove it too (`DeadLetter::is_same_failure`, in SQL).
    event
        .id()
        .with_str(|id| {
            tx.prepare_cached(
                "DELETE FROM aqueduct_letter WHERE name = ?1 AND stream = ?2 AND source = ?3
                 AND event = ?4
                 AND NOT (partition IS ?5 AND position IS ?6 AND (position IS NOT NULL OR ?7))",
            )
            .and_then(|mut delete| {
                delete.execute((
                    dead_letter.group.as_str(),
                    dead_letter.stream.as_str(),
                    event.source(),
                    id,
                    dead_letter.partition.as_ref().map(PartitionId::as_str),
                    dead_letter.position.map(|position| position.to_string()),
                    DeadLetter::target_group(event).is_none(),
                ))
            })
        })
        .sql("replace a dead letter")?;
    tx.prepare_cached(
        "INSERT INTO aqueduct_letter (name, stream, partition, position, key, source, event, type,
         reason, message, holds_key, attempts, failures, stored_at, buried_at, buried, shapes,
         head, body) VALUES
         (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)
         ON CONFLICT DO NOTHING",
    )
    .and_then(|mut insert| {
        insert.execute(rusqlite::params![
            dead_letter.group.as_str(),
            dead_letter.stream.as_str(),
            dead_letter.partition.as_ref().map(PartitionId::as_str),
            dead_letter.position.map(|position| position.to_string()),
            event.key(),
            event.source(),
            event.id().to_string(),
            event.kind(),
            dead_letter.reason.as_str(),
            dead_letter.message.as_str(),
            dead_letter.holds_key,
            dead_letter.attempts,
            Value::from(failures).to_string(),
            dead_letter.stored_at.map(|time| time.to_string()),
            dead_letter.buried_at.to_string(),
            dead_letter.buried_at.as_millis(),
            as_text(&packed.shapes),
            as_text(&packed.heads),
            packed.body,
        ])
    })
    .sql("store a dead letter")?;
    if let (true, Some(key)) = (dead_letter.holds_key, event.key()) {
        tx.execute(
            "INSERT INTO aqueduct_held_key (name, stream, key, since) VALUES (?1, ?2, ?3, ?4)
             ON CONFLICT DO NOTHING",
            (
                dead_letter.group.as_str(),
                dead_letter.stream.as_str(),
                key,
                dead_letter.buried_at.as_millis(),
            ),
        )
        .sql("hold a key")?;
    }
    Ok(())
}

fn find(connection: &Connection, id: &DeadLetterId) -> Result<StoredDeadLetter> {
    let number = number_of(id).ok_or_else(|| not_found(id))?;
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM aqueduct_letter WHERE id = ?1"
        ))
        .and_then(|mut select| {
            select
                .query_row([number], |row| Ok(read_dead_letter(row)))
                .optional()
        })
        .sql("read a dead letter")?
        .ok_or_else(|| not_found(id))?
}

fn read_dead_letter(row: &Row<'_>) -> Result<StoredDeadLetter> {
    let event = {
        let text = |at| row.get_ref(at).and_then(|value| Ok(value.as_bytes()?));
        let shapes = text(12).sql("read a dead letter")?;
        let head = text(13).sql("read a dead letter")?;
        unpack_one(shapes, head, row.get(14).sql("read a dead letter")?)?
    };
    let reason = row.get_ref(5).and_then(|value| Ok(value.as_str()?));
    let reason = DeadLetterReason::from_name(reason.sql("read a dead letter")?)?;
    read_columns(row, event, reason).sql("read a dead letter")
}

fn read_columns(
    row: &Row<'_>,
    event: aqueduct_core::Event,
    reason: DeadLetterReason,
) -> rusqlite::Result<StoredDeadLetter> {
    let message: String = row.get(6)?;
    let mut dead_letter = DeadLetter::new(
        event,
        StreamName::new(row.get::<_, String>(2)?),
        GroupName::new(row.get::<_, String>(1)?),
        reason,
        message,
        parse(row, 11)?,
    );
    dead_letter.partition = row.get::<_, Option<String>>(3)?.map(PartitionId::new);
    dead_letter.position = parse_optional(row, 4)?;
    dead_letter.holds_key = row.get(7)?;
    dead_letter.attempts = row.get(8)?;
    dead_letter.failures = read_failures(row.get_ref(9)?.as_str()?)
        .ok_or_else(|| damaged(9, "the failures of a dead letter"))?;
    dead_letter.stored_at = parse_optional(row, 10)?;
    Ok(StoredDeadLetter {
        id: DeadLetterId(SmallStr::from(row.get::<_, i64>(0)?.to_string())),
        dead_letter,
    })
}

fn read_failures(text: &str) -> Option<Vec<Failure>> {
    let stored: Vec<Value> = serde_json::from_str(text).ok()?;
    stored
        .iter()
        .map(|failure| {
            Some(Failure {
                attempt: failure.get("attempt")?.as_u64()?.try_into().ok()?,
                at: failure.get("at")?.as_str()?.parse().ok()?,
                error: failure.get("error")?.as_str()?.into(),
            })
        })
        .collect()
}

fn remove(connection: &Connection, number: i64) -> Result<bool> {
    connection
        .execute("DELETE FROM aqueduct_letter WHERE id = ?1", [number])
        .map(|deleted| deleted > 0)
        .sql("remove a dead letter")
}

fn number_of(id: &DeadLetterId) -> Option<i64> {
    id.0.parse().ok()
}

fn not_found(id: &DeadLetterId) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("dead letter {id} does not exist"),
    )
}
