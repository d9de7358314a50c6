use std::sync::{Arc, Weak};
use std::time::Duration;

use aqueduct_core::{Result, Timestamp};
use metrics::counter;
use rusqlite::{Connection, OptionalExtension as _};

use crate::clock_jumps::ClockJumps;
use crate::config::{SqliteOptions, StreamOptions};
use crate::error::SqlResultExt as _;
use crate::handled_records;
use crate::leases;
use crate::retention_clock::RetentionClock;
use crate::store::{Inner, SqliteStore};
use crate::stored_times::{first_since, newest_until};
use crate::streams::{millis, nanos};

/// Corrects at most this many stored times of events in one step.
const CORRECTED: i64 = 64;

/// Looks this often for what may go: limits are kept to within about a second, and a look that
/// finds nothing costs some statements and no sync.
const EVERY: Duration = Duration::from_secs(1);

/// The most rows that one step removes, so that no sender waits long behind it.
const STEP: usize = 64;

/// Starts the removal of what is kept too long, and of what dead processes left, beside everything
/// else. It ends with the store.
///
/// # Errors
/// Those of reading the file.
pub(crate) async fn start(store: &SqliteStore) -> Result<()> {
    let (wall, now) = (store.0.runtime.wall(), store.0.runtime.now());
    // Before this process stores anything: its own clock must not vouch for itself.
    let (newest, jumps) = store
        .read(move |connection| {
            let newest = newest(connection, wall).sql("find the newest stored time")?;
            let jumps = ClockJumps::load(connection).sql("read the jumps of the clock")?;
            Ok((newest, jumps))
        })
        .await?;
    let mut clock = RetentionClock::new(now, wall, newest, jumps);
    if clock.has_unsaved_jumps() {
        let seen = clock.clone();
        let save = move |tx: &rusqlite::Transaction<'_>| {
            seen.save_jumps(tx).sql("save a jump of the clock")
        };
        // A full disk must not keep the file from being opened: the first pass tries again.
        match store.0.writer.run(false, save).await {
            Ok(()) => clock.jumps_are_saved(),
            Err(error) => tracing::warn!(%error, "a jump of the clock is not saved yet"),
        }
    }
    let weak = Arc::downgrade(&store.0);
    let runtime = store.0.runtime.clone();
    let pauses = runtime.clone();
    runtime
        .spawn(async move {
            if let Some(inner) = weak.upgrade() {
                leases::sweep(&SqliteStore(inner)).await;
            }
            while let Some(more) = run_once(&weak, &mut clock).await {
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
    Ok(())
}

/// Returns the newest time stored in the file, in nanoseconds, that is not after `wall`.
fn newest(connection: &Connection, wall: Timestamp) -> rusqlite::Result<Option<i64>> {
    let wall = nanos(wall);
    let mut newest: Option<i64> = connection.query_row(
        "SELECT max(time) FROM (
             SELECT written AS time FROM aqueduct_partition WHERE written BETWEEN 1 AND ?1
             UNION ALL
             SELECT max(buried) * 1000000 FROM aqueduct_letter WHERE buried <= ?1 / 1000000)",
        [wall],
        |row| row.get(0),
    )?;
    let ahead: Vec<i64> = connection
        .prepare_cached("SELECT id FROM aqueduct_partition WHERE written > ?1")?
        .query_map([wall], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for partition in ahead {
        newest = newest.max(newest_until(connection, partition, wall)?);
    }
    if handled_records::is_age_indexed(connection)? {
        let completed: Option<i64> = connection.query_row(
            "SELECT max(time) * 1000000 FROM (
                 SELECT max(completed) AS time FROM aqueduct_handled WHERE completed <= ?1 / 1000000
                 UNION ALL
                 SELECT max(completed) FROM aqueduct_handled_recent WHERE completed <= ?1 / 1000000)",
            [wall],
            |row| row.get(0),
        )?;
        newest = newest.max(completed);
    }
    Ok(newest)
}

/// Returns whether there is more to remove at once; `None` once the store is closed.
async fn run_once(weak: &Weak<Inner>, clock: &mut RetentionClock) -> Option<bool> {
    let step = {
        let store = weak.upgrade()?;
        let options = store.options.clone();
        let wall = store.runtime.wall();
        clock.observe(wall, store.runtime.now());
        let clock = clock.clone();
        let (work, answer) = crate::writer::Closure::new(
            move |tx: &rusqlite::Transaction<'_>| step(tx, &options, &clock),
            false,
        );
        store.writer.submit(Box::new(work));
        // The task holds no reference to the store while it waits, so that the store can close.
        answer
    };
    match step.await {
        Ok(Ok(more)) => {
            clock.jumps_are_saved();
            Some(more)
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "retention failed; it is retried");
            Some(false)
        }
        Err(_) => None,
    }
}

/// Removes some of what is kept too long; returns whether there is more.
pub(crate) fn step(
    connection: &Connection,
    options: &SqliteOptions,
    clock: &RetentionClock,
) -> Result<bool> {
    let mut budget = STEP;
    clock
        .save_jumps(connection)
        .sql("save a jump of the clock")?;
    clear_deleted(connection, &mut budget).sql("clear a deleted stream")?;
    by_age(connection, clock, &mut budget).sql("remove events by age")?;
    by_size(connection, &mut budget).sql("remove events by size")?;
    let before = |kept: Duration| clock.before(kept).div_euclid(1_000_000);
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
        handled_records::purge_completed(connection, before(kept), 1024)
            .sql("remove completed ids by age")?;
    }
    let more = handled_records::move_recent(connection, false).sql("move idempotency records")?;
    let corrected = match clock.correction() {
        Some((wall, far)) => correct(connection, wall, far).sql("correct stored times")?,
        None => false,
    };
    Ok(budget == 0 || corrected || more)
}

/// Replaces some of the stored times after `far` by `wall`; returns whether it found any events to
/// correct.
///
/// A clock that was ahead stored them. Left alone, they would keep every later event of their
/// partition from ageing, since the time of storing never falls.
fn correct(connection: &Connection, wall: Timestamp, far: Timestamp) -> rusqlite::Result<bool> {
    let mut found = false;
    let partitions: Vec<i64> = connection
        .prepare_cached("SELECT id FROM aqueduct_partition WHERE written > ?1")?
        .query_map([nanos(far)], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for partition in partitions {
        // The oldest first, so that the times rise at every moment. Those between `wall` and `far`
        // are lowered too, or they would stand before lower ones.
        let corrected = match first_since(connection, partition, nanos(wall) + 1)? {
            None => 0,
            Some(first) => connection
                .prepare_cached(concat!(
                    "UPDATE aqueduct_segment SET stored_at = ?2 WHERE id IN (SELECT id ",
                    "FROM aqueduct_segment WHERE partition = ?1 AND last >= ?4 ORDER BY last LIMIT ?3)"
                ))?
                .execute((partition, nanos(wall), CORRECTED, first))?,
        };
        if (corrected as i64) < CORRECTED {
            connection.execute(
                "UPDATE aqueduct_partition SET written = ?2 WHERE id = ?1",
                (partition, nanos(wall)),
            )?;
        }
        found = true;
    }
    let millis = (wall.as_millis(), far.as_millis());
    connection.execute(
        "UPDATE aqueduct_partition SET closed = ?1 WHERE closed > ?2",
        millis,
    )?;
    connection.execute(
        "UPDATE aqueduct_letter SET buried = ?1 WHERE id IN
         (SELECT id FROM aqueduct_letter WHERE buried > ?2 LIMIT 256)",
        millis,
    )?;
    if handled_records::is_age_indexed(connection)? {
        handled_records::move_recent(connection, true)?;
        connection.execute(
            "UPDATE aqueduct_handled SET completed = ?1 WHERE (scope, event) IN
             (SELECT scope, event FROM aqueduct_handled WHERE completed > ?2 LIMIT 1024)",
            millis,
        )?;
    }
    Ok(found)
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

fn by_age(
    connection: &Connection,
    clock: &RetentionClock,
    budget: &mut usize,
) -> rusqlite::Result<()> {
    let limited: Vec<(i64, i64, Option<i64>)> = connection
        .prepare_cached(concat!(
            "SELECT p.id, s.retention, p.closed FROM aqueduct_partition p ",
            "JOIN aqueduct_stream s ON s.id = p.stream WHERE s.retention IS NOT NULL"
        ))?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<Result<_, _>>()?;
    for (partition, retention, closed) in limited {
        let before = clock.before(Duration::from_millis(retention.max(0) as u64));
        remove_oldest(connection, partition, before, budget)?;
        if *budget == 0 {
            return Ok(());
        }
        if closed.is_some_and(|closed| closed < before.div_euclid(1_000_000)) {
            // Nothing is left of it to read: its children no longer wait for it.
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
    if oldest(connection, partition)?.is_none_or(|stored_at| stored_at >= before) {
        return Ok(0);
    }
    let (count, last, bytes): (i64, Option<i64>, i64) = connection
        .prepare_cached(concat!(
            "SELECT count(*), max(last), coalesce(sum(bytes), 0) FROM (SELECT last, stored_at, ",
            "octet_length(shapes) + octet_length(heads) + octet_length(body) AS bytes ",
            "FROM aqueduct_segment WHERE partition = ?1 ORDER BY last LIMIT ?3) WHERE stored_at < ?2"
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

/// Returns the time of the oldest row of a partition.
fn oldest(connection: &Connection, partition: i64) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT stored_at FROM aqueduct_segment WHERE partition = ?1 ORDER BY last LIMIT 1",
        )?
        .query_row([partition], |row| row.get(0))
        .optional()
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
