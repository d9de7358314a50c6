use std::sync::{Arc, Weak};
use std::time::Duration;

use aqueduct_core::{Result, Timestamp};
use metrics::counter;
use rusqlite::{Connection, OptionalExtension as _};

use crate::config::{SqliteOptions, StreamOptions};
use crate::error::SqlResultExt as _;
use crate::leases;
use crate::store::{Inner, SqliteStore};
use crate::streams::{millis, nanos};

/// The interval of retention: limits are kept to within about a second, and a run that removes nothing
/// costs a few statements and no sync.
const EVERY: Duration = Duration::from_secs(1);

/// The most rows that one step removes, so that no sender waits long behind it.
const STEP: usize = 64;

/// Starts the task that removes expired data and the files of dead processes. It ends with the store.
pub(crate) fn start(store: &SqliteStore) {
    let weak = Arc::downgrade(&store.0);
    let runtime = store.0.runtime.clone();
    let pauses = runtime.clone();
    runtime
        .spawn(async move {
            if let Some(inner) = weak.upgrade() {
                leases::sweep(&SqliteStore(inner)).await;
            }
            while let Some(more) = run_once(&weak).await {
                let pause = if more {
                    Duration::from_millis(2)
                } else {
                    EVERY
                };
                // Jittered, so that several processes do not run at the same time.
                pauses.sleep(pause / 2 + pauses.jitter(pause)).await;
            }
        })
        .detach();
}

/// Returns whether there is more to remove at once; `None` once the store is closed.
async fn run_once(weak: &Weak<Inner>) -> Option<bool> {
    let step = {
        let store = weak.upgrade()?;
        let options = store.options.clone();
        let now = store.runtime.wall();
        let (work, answer) = crate::writer::Closure::new(
            move |tx: &rusqlite::Transaction<'_>| step(tx, &options, now),
            false,
        );
        store.writer.submit(Box::new(work));
        // The task holds no reference to the store while it waits, so that the store can close.
        answer
    };
    match step.await {
        Ok(Ok(more)) => Some(more),
        Ok(Err(error)) => {
            tracing::warn!(%error, "retention failed; it is retried");
            Some(false)
        }
        Err(_) => None,
    }
}

/// Removes some expired rows; returns whether there are more.
pub(crate) fn step(
    connection: &Connection,
    options: &SqliteOptions,
    now: Timestamp,
) -> Result<bool> {
    let mut budget = STEP;
    clear_deleted(connection, &mut budget).sql("clear a deleted stream")?;
    by_age(connection, now, &mut budget).sql("remove events by age")?;
    by_size(connection, &mut budget).sql("remove events by size")?;
    let before = |kept: Duration| now.saturating_sub(kept).as_millis();
    if let Some(kept) = options.dead_letter_retention {
        connection
            .execute(
                "DELETE FROM aqueduct_letter WHERE id IN
                 (SELECT id FROM aqueduct_letter WHERE buried < ?1 ORDER BY buried LIMIT 256)",
                [before(kept)],
            )
            .sql("remove dead letters by age")?;
    }
    if let Some(kept) = options.idempotency_retention {
        purge_completed(connection, before(kept), 1024).sql("remove completed ids by age")?;
    }
    Ok(budget == 0)
}

pub(crate) fn purge_completed(
    connection: &Connection,
    before: i64,
    most: i64,
) -> rusqlite::Result<usize> {
    connection
        .prepare_cached(concat!(
            "DELETE FROM aqueduct_handled WHERE (name, handlers, replay, source, event) IN ",
            "(SELECT name, handlers, replay, source, event FROM aqueduct_handled ",
            "WHERE completed < ?1 LIMIT ?2)"
        ))?
        .execute([before, most])
}

fn clear_deleted(connection: &Connection, budget: &mut usize) -> rusqlite::Result<()> {
    let orphans: Vec<i64> = connection
        .prepare_cached(concat!(
            "SELECT id FROM aqueduct_partition p WHERE NOT EXISTS ",
            "(SELECT 1 FROM aqueduct_stream s WHERE s.id = p.stream)"
        ))?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for partition in orphans {
        remove_oldest(connection, partition, i64::MAX, budget)?;
        if *budget == 0 {
            return Ok(());
        }
        connection.execute("DELETE FROM aqueduct_partition WHERE id = ?1", [partition])?;
    }
    Ok(())
}

fn by_age(connection: &Connection, now: Timestamp, budget: &mut usize) -> rusqlite::Result<()> {
    let limited: Vec<(i64, i64, bool)> = connection
        .prepare_cached(concat!(
            "SELECT p.id, s.retention, p.closed < ?1 - s.retention FROM aqueduct_partition p ",
            "JOIN aqueduct_stream s ON s.id = p.stream WHERE s.retention IS NOT NULL"
        ))?
        .query_map([now.as_millis()], |row| {
            Ok((
                row.get(0)?,
                row.get(1)?,
                row.get::<_, Option<bool>>(2)?.unwrap_or(false),
            ))
        })?
        .collect::<Result<_, _>>()?;
    for (partition, retention, closed_long_ago) in limited {
        let before = nanos(now).saturating_sub(retention.saturating_mul(1_000_000));
        remove_oldest(connection, partition, before, budget)?;
        if *budget == 0 {
            return Ok(());
        }
        if closed_long_ago {
            // An empty closed partition is removed, so that its children no longer wait for it.
            connection.execute(
                "DELETE FROM aqueduct_partition WHERE id = ?1 AND first = next",
                [partition],
            )?;
        }
    }
    Ok(())
}

fn by_size(connection: &Connection, budget: &mut usize) -> rusqlite::Result<()> {
    let limited: Vec<(i64, i64)> = connection
        .prepare_cached(concat!(
            "SELECT s.id, sum(p.bytes) - s.max_bytes FROM aqueduct_stream s ",
            "JOIN aqueduct_partition p ON p.stream = s.id WHERE s.max_bytes IS NOT NULL ",
            "GROUP BY s.id HAVING sum(p.bytes) > s.max_bytes"
        ))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<Result<_, _>>()?;
    for (stream, mut over) in limited {
        while over > 0 && *budget > 0 {
            let oldest: Option<(i64, i64)> = connection
                .prepare_cached(concat!(
                    "SELECT p.id, (SELECT stored_at FROM aqueduct_segment g ",
                    "WHERE g.partition = p.id ORDER BY g.last LIMIT 1) AS oldest ",
                    "FROM aqueduct_partition p WHERE p.stream = ?1 AND oldest IS NOT NULL ",
                    "ORDER BY oldest LIMIT 1"
                ))?
                .query_row([stream], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            let Some((partition, _)) = oldest else { break };
            let mut one = 1;
            over -= remove_oldest(connection, partition, i64::MAX, &mut one)?;
            *budget -= 1;
        }
    }
    Ok(())
}

/// Removes the oldest rows of a partition that were stored before `before`, within the budget; returns
/// their bytes.
fn remove_oldest(
    connection: &Connection,
    partition: i64,
    before: i64,
    budget: &mut usize,
) -> rusqlite::Result<i64> {
    let (count, last, bytes): (i64, Option<i64>, i64) = connection
        .prepare_cached(concat!(
            "SELECT count(*), max(last), coalesce(sum(bytes), 0) FROM (SELECT last, ",
            "octet_length(shapes) + octet_length(heads) + octet_length(body) AS bytes ",
            "FROM aqueduct_segment WHERE partition = ?1 AND stored_at < ?2 ORDER BY last LIMIT ?3)"
        ))?
        .query_row((partition, before, *budget as i64), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let Some(last) = last else { return Ok(0) };
    connection
        .prepare_cached("DELETE FROM aqueduct_segment WHERE partition = ?1 AND last <= ?2")?
        .execute([partition, last])?;
    connection
        .prepare_cached(
            "UPDATE aqueduct_partition SET first = ?2 + 1, bytes = bytes - ?3 WHERE id = ?1",
        )?
        .execute([partition, last, bytes])?;
    counter!("aqueduct_sqlite_expired_segments_total").increment(count as u64);
    *budget -= count as usize;
    Ok(bytes)
}

/// Sets the limits of a stream, if the configuration has any.
pub(crate) fn configure(
    connection: &Connection,
    stream: i64,
    options: &StreamOptions,
) -> Result<()> {
    connection
        .execute(
            "UPDATE aqueduct_stream SET retention = coalesce(?2, retention),
             max_bytes = coalesce(?3, max_bytes),
             max_event_bytes = coalesce(?4, max_event_bytes) WHERE id = ?1",
            (
                stream,
                options.retention.map(millis),
                options.max_bytes.map(|bytes| bytes as i64),
                options.max_event_bytes.map(|bytes| bytes as i64),
            ),
        )
        .map(drop)
        .sql("set the stream's limits")
}
