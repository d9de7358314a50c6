use rusqlite::{Connection, OptionalExtension as _};

/// Some consecutive events of a partition, stored at once.
struct Row {
    first: i64,
    last: i64,
    stored_at: i64,
}

/// Returns the position of the first event of a partition stored at `time` or later, in nanoseconds.
///
/// The times of a partition never fall, so that their order is that of the positions: they need no index
/// of their own, which every write of an event would pay for.
pub(crate) fn first_since(
    connection: &Connection,
    partition: i64,
    time: i64,
) -> rusqlite::Result<Option<i64>> {
    let newest = match newest(connection, partition)? {
        Some(newest) if newest.stored_at >= time => newest,
        _ => return Ok(None),
    };
    // What is before `low` is earlier; nothing from `high` to `found` is stored.
    let (mut low, mut high, mut found) = (0, newest.first, newest.first);
    while low < high {
        let middle = low + (high - low) / 2;
        match row_at(connection, partition, middle)? {
            Some(row) if row.stored_at < time => low = row.last + 1,
            Some(row) => {
                found = row.first.min(found);
                high = row.first.min(middle);
            }
            None => high = middle,
        }
    }
    Ok(Some(found))
}

/// Returns the newest time of a partition that is not after `time`.
pub(crate) fn newest_until(
    connection: &Connection,
    partition: i64,
    time: i64,
) -> rusqlite::Result<Option<i64>> {
    let Some(later) = first_since(connection, partition, time.saturating_add(1))? else {
        return Ok(newest(connection, partition)?.map(|row| row.stored_at));
    };
    connection
        .prepare_cached(
            "SELECT stored_at FROM aqueduct_segment WHERE partition = ?1 AND last < ?2
             ORDER BY last DESC LIMIT 1",
        )?
        .query_row([partition, later], |row| row.get(0))
        .optional()
}

fn newest(connection: &Connection, partition: i64) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(
            "SELECT first, last, stored_at FROM aqueduct_segment WHERE partition = ?1
             ORDER BY last DESC LIMIT 1",
        )?
        .query_row([partition], read)
        .optional()
}

/// Returns the row of `position`, or the next one if it is not kept.
fn row_at(connection: &Connection, partition: i64, position: i64) -> rusqlite::Result<Option<Row>> {
    connection
        .prepare_cached(
            "SELECT first, last, stored_at FROM aqueduct_segment WHERE partition = ?1 AND last >= ?2
             ORDER BY last LIMIT 1",
        )?
        .query_row([partition, position], read)
        .optional()
}

fn read(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok(Row {
        first: row.get(0)?,
        last: row.get(1)?,
        stored_at: row.get(2)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::schema::{MIGRATIONS, migrate};

    proptest! {
        #[test]
        fn a_time_is_found_as_by_looking_at_every_row(
            steps in prop::collection::vec((1_i64..5, 0_i64..3), 0..20),
            gone in 0_usize..5,
            time in 0_i64..40,
        ) {
            let connection = Connection::open_in_memory().unwrap();
            migrate(&connection, MIGRATIONS).unwrap();
            let (mut next, mut stored_at, mut rows) = (1, 5, Vec::new());
            for (at, (events, later)) in steps.into_iter().enumerate() {
                stored_at += later;
                if at >= gone {
                    rows.push((next, next + events - 1, stored_at));
                }
                next += events;
            }
            for partition in [1, 2, 3] {
                for (first, last, stored_at) in rows.iter().filter(|_| partition != 3) {
                    connection
                        .execute(
                            "INSERT INTO aqueduct_segment
                             (partition, first, last, stored_at, shapes, heads, body)
                             VALUES (?1, ?2, ?3, ?4, '[]', '[]', x'')",
                            (partition, first, last, stored_at),
                        )
                        .unwrap();
                }
            }
            let since = rows.iter().find(|row| row.2 >= time).map(|row| row.0);
            prop_assert_eq!(first_since(&connection, 2, time).unwrap(), since);
            let until = rows.iter().rev().find(|row| row.2 <= time).map(|row| row.2);
            prop_assert_eq!(newest_until(&connection, 2, time).unwrap(), until);
            prop_assert_eq!(first_since(&connection, 3, time).unwrap(), None);
        }
    }
}
