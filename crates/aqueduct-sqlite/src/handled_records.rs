use aqueduct_core::claim_rules::ClaimRecord;
use aqueduct_core::{EventClaim, IdempotencyScope, PartitionId, Result, StreamName, Timestamp};
use rusqlite::{Connection, OptionalExtension as _};

use crate::error::SqlResultExt as _;

/// Returns the record of the claim's event.
pub(crate) fn find(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Result<Option<ClaimRecord>> {
    claim.id.with_str(|id| {
        connection
            .prepare_cached(
                "SELECT completed IS NOT NULL, partition, generation, nonce, heartbeat, stream
                 FROM aqueduct_handled
                 WHERE scope = (SELECT id FROM aqueduct_handled_scope WHERE name = ?1
                     AND handlers = ?2 AND replay = ?3 AND source = ?4) AND event = ?5",
            )
            .and_then(|mut select| {
                select
                    .query_row(
                        (
                            scope.group.as_str(),
                            scope.handlers.as_str(),
                            scope.replay as i64,
                            claim.source.as_str(),
                            id,
                        ),
                        |row| {
                            let text = |at| row.get::<_, Option<String>>(at);
                            Ok(ClaimRecord {
                                completed: row.get(0)?,
                                stream: text(5)?.map(StreamName::new),
                                partition: text(1)?.map(PartitionId::new),
                                generation: row.get::<_, i64>(2)? as u64,
                                nonce: row.get::<_, i64>(3)? as u64,
                                heartbeat: row.get::<_, i64>(4)? as u64,
                            })
                        },
                    )
                    .optional()
            })
            .sql("read an idempotency record")
    })
}

/// Stores the claim, or the event as completed: the claim itself is not kept then.
pub(crate) fn put(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
    completed: Option<Timestamp>,
) -> Result<()> {
    let write = || {
        let id = scope_of(connection, scope, claim)?;
        let mut insert = connection.prepare_cached(
            "INSERT OR REPLACE INTO aqueduct_handled
             (scope, event, completed, generation, nonce, stream, partition)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        claim.id.with_str(|event| match completed {
            Some(completed) => {
                let none = None::<&str>;
                insert.execute((id, event, completed.as_millis(), 0, 0, none, none))
            }
            None => insert.execute((
                id,
                event,
                None::<i64>,
                claim.generation as i64,
                claim.nonce as i64,
                claim.stream.as_ref().map(|stream| stream.as_str()),
                claim.partition.as_ref().map(|partition| partition.as_str()),
            )),
        })
    };
    write().map(drop).sql("write an idempotency record")
}

fn scope_of(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> rusqlite::Result<i64> {
    let key = (
        scope.group.as_str(),
        scope.handlers.as_str(),
        scope.replay as i64,
        claim.source.as_str(),
    );
    let known = connection
        .prepare_cached(
            "SELECT id FROM aqueduct_handled_scope
             WHERE name = ?1 AND handlers = ?2 AND replay = ?3 AND source = ?4",
        )?
        .query_row(key, |row| row.get(0))
        .optional()?;
    match known {
        Some(id) => Ok(id),
        None => connection
            .prepare_cached(
                "INSERT INTO aqueduct_handled_scope (name, handlers, replay, source)
                 VALUES (?1, ?2, ?3, ?4) RETURNING id",
            )?
            .query_row(key, |row| row.get(0)),
    }
}

/// Removes the record of the claim's event.
pub(crate) fn remove(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Result<()> {
    change(
        connection,
        "DELETE FROM aqueduct_handled WHERE scope = ?1 AND event = ?2",
        scope,
        claim,
    )
}

pub(crate) fn raise_heartbeat(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Result<()> {
    change(
        connection,
        "UPDATE aqueduct_handled SET heartbeat = heartbeat + 1 WHERE scope = ?1 AND event = ?2",
        scope,
        claim,
    )
}

/// Runs a statement on the claim's row.
fn change(
    connection: &Connection,
    sql: &str,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Result<()> {
    let write = || {
        let id = scope_of(connection, scope, claim)?;
        let mut statement = connection.prepare_cached(sql)?;
        claim.id.with_str(|event| statement.execute((id, event)))
    };
    write().map(drop).sql("change an idempotency record")
}

/// Makes the index by which completed ids are removed by age. Every record pays for it, so it exists only
/// where that is done.
pub(crate) fn index_age(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE INDEX IF NOT EXISTS aqueduct_handled_age ON aqueduct_handled (completed)
         WHERE completed IS NOT NULL",
    )
}

pub(crate) fn is_age_indexed(connection: &Connection) -> rusqlite::Result<bool> {
    connection
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'aqueduct_handled_age')",
        )?
        .query_row([], |row| row.get(0))
}

/// Removes up to `most` records completed before `before`, in milliseconds, and the scopes that they
/// leave empty; returns how many records.
pub(crate) fn purge_completed(
    connection: &Connection,
    before: i64,
    most: i64,
) -> rusqlite::Result<usize> {
    let scopes: Vec<i64> = connection
        .prepare_cached(
            "DELETE FROM aqueduct_handled WHERE (scope, event) IN
             (SELECT scope, event FROM aqueduct_handled WHERE completed < ?1 LIMIT ?2)
             RETURNING scope",
        )?
        .query_map([before, most], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut empty = connection.prepare_cached(
        "DELETE FROM aqueduct_handled_scope WHERE id = ?1
         AND NOT EXISTS (SELECT 1 FROM aqueduct_handled WHERE scope = ?1)",
    )?;
    let distinct: std::collections::BTreeSet<i64> = scopes.iter().copied().collect();
    for scope in distinct {
        empty.execute([scope])?;
    }
    Ok(scopes.len())
}
