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
                "WITH s AS (SELECT id FROM aqueduct_handled_scope WHERE name = ?1
                     AND handlers = ?2 AND replay = ?3 AND source = ?4)
                 SELECT completed IS NOT NULL, partition, generation, nonce, heartbeat, stream
                 FROM aqueduct_handled_recent WHERE scope = (SELECT id FROM s) AND event = ?5
                 UNION ALL
                 SELECT completed IS NOT NULL, partition, generation, nonce, heartbeat, stream
                 FROM aqueduct_handled WHERE scope = (SELECT id FROM s) AND event = ?5
                 LIMIT 1",
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
            "INSERT OR REPLACE INTO aqueduct_handled_recent
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
    let delete = [
        "DELETE FROM aqueduct_handled_recent WHERE scope = ?1 AND event = ?2",
        "DELETE FROM aqueduct_handled WHERE scope = ?1 AND event = ?2",
    ];
    for sql in delete {
        change(connection, sql, scope, claim)?;
    }
    Ok(())
}

pub(crate) fn raise_heartbeat(
    connection: &Connection,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Result<()> {
    let recent = "UPDATE aqueduct_handled_recent SET heartbeat = heartbeat + 1
                  WHERE scope = ?1 AND event = ?2";
    let older = "UPDATE aqueduct_handled SET heartbeat = heartbeat + 1
                 WHERE scope = ?1 AND event = ?2";
    if change(connection, recent, scope, claim)? == 0 {
        change(connection, older, scope, claim)?;
    }
    Ok(())
}

/// Runs a statement on the claim's row; returns how many rows it changed.
fn change(
    connection: &Connection,
    sql: &str,
    scope: &IdempotencyScope,
    claim: &EventClaim,
) -> Result<usize> {
    let write = || {
        let id = scope_of(connection, scope, claim)?;
        let mut statement = connection.prepare_cached(sql)?;
        claim.id.with_str(|event| statement.execute((id, event)))
    };
    write().sql("change an idempotency record")
}

/// The number of recent records from which they move: a move writes most pages of a large table, so each
/// record pays for one page in some.
const FULL: i64 = 8_192;

/// The most records of one move, so that others do not wait long.
const MOVED: i64 = 8_192;

/// Moves recent records to the others if there are many, or if `all` are to move; returns whether more are
/// to move.
pub(crate) fn move_recent(connection: &Connection, all: bool) -> rusqlite::Result<bool> {
    let recent: i64 = connection
        .prepare_cached("SELECT count(*) FROM aqueduct_handled_recent")?
        .query_row([], |row| row.get(0))?;
    if recent == 0 || recent < FULL && !all {
        return Ok(false);
    }
    let most = if all { i64::MAX } else { MOVED };
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO aqueduct_handled
             SELECT * FROM aqueduct_handled_recent ORDER BY scope, event LIMIT ?1",
        )?
        .execute([most])?;
    connection
        .prepare_cached(
            "DELETE FROM aqueduct_handled_recent WHERE (scope, event) IN
             (SELECT scope, event FROM aqueduct_handled_recent ORDER BY scope, event LIMIT ?1)",
        )?
        .execute([most])?;
    Ok(recent - most.min(recent) >= FULL)
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
    move_recent(connection, true)?;
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
