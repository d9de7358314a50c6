//! Durable events a second into a file and out of it, beside a bare rusqlite loop.
//!
//! `cargo run --release -p aqueduct-sqlite --example throughput -- [EVENTS] [BATCH] [SENDERS]`

use std::time::Instant;

use aqueduct_core::{
    Backend as _, Event, GroupName, OpenPartition, Options, ReadFrom, Result, Source, Url,
};
use aqueduct_sqlite::{SqliteBackend, rusqlite};

#[tokio::main]
async fn main() -> Result<()> {
    let mut numbers = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok());
    let events: usize = numbers.next().unwrap_or(500_000);
    let batch = numbers.next().unwrap_or(1000);
    let senders = numbers.next().unwrap_or(2);
    let folder = tempfile::tempdir_in(".").map_err(|error| {
        aqueduct_core::Error::config(format!("no folder for the file: {error}"))
    })?;
    let runtime = aqueduct_runtime::tokio();
    let path = folder.path().join("events.db");
    let url = Url::parse(&format!("sqlite:{}", path.display()))
        .map_err(|error| aqueduct_core::Error::config(error.to_string()))?;
    let backend = SqliteBackend::new();
    let resource = backend.parse("orders", &url, Options::new("streams.orders"))?;
    let producer = resource.producer(&runtime).await?;

    let made: Vec<Event> = (0..events)
        .map(|n| {
            let data = format!("{{\"order\":{n:010},\"note\":\"{:0>70}\"}}", n);
            Event::bytes("order.placed", Event::JSON, data)
                .with_source("/shop/web")
                .with_key(format!("customer-{}", n % 1000))
        })
        .collect();
    let begun = Instant::now();
    let parts = made.chunks(events.div_ceil(senders)).map(|part| {
        let (producer, part) = (producer.clone(), part.to_vec());
        runtime.spawn(async move {
            for batch in part.chunks(batch) {
                producer.send_batch(batch).await.into_result()?;
            }
            Ok::<_, aqueduct_core::Error>(())
        })
    });
    for done in futures::future::join_all(parts).await {
        done??;
    }
    tell("aqueduct in", events, begun);

    let Source::Log(log) = resource.source(&runtime).await? else {
        return Ok(());
    };
    let begun = Instant::now();
    let mut read = 0;
    let mut readers = Vec::new();
    for partition in log.partitions().await? {
        let request = OpenPartition::new(GroupName::new("bench"), partition.id, ReadFrom::Earliest);
        let mut reader = log.open(&request).await?;
        readers.push(runtime.spawn(async move {
            let mut count = 0;
            loop {
                let found = reader.read(batch).await?;
                count += found.records.len();
                if found.tail.and_then(|tail| tail.events_behind) == Some(0) {
                    return Ok::<_, aqueduct_core::Error>(count);
                }
            }
        }));
    }
    for reader in readers {
        read += reader.await??;
    }
    tell("aqueduct out", read, begun);
    let bare = bare(&folder.path().join("bare.db"), &made, batch);
    bare.map_err(|error| aqueduct_core::Error::config(error.to_string()))
}

/// Runs a hand-written loop: a row for each event, a transaction for each batch.
fn bare(path: &std::path::Path, events: &[Event], batch: usize) -> rusqlite::Result<()> {
    let mut connection = rusqlite::Connection::open(path)?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE event (position INTEGER PRIMARY KEY, id TEXT, type TEXT, key TEXT, data BLOB)",
    )?;
    let begun = Instant::now();
    for batch in events.chunks(batch) {
        let tx = connection.transaction()?;
        {
            let mut insert =
                tx.prepare_cached("INSERT INTO event (id, type, key, data) VALUES (?, ?, ?, ?)")?;
            for event in batch {
                let data = event.data().map(|data| &data[..]);
                insert.execute((event.id().to_string(), event.kind(), event.key(), data))?;
            }
        }
        tx.commit()?;
    }
    tell("bare rusqlite in", events.len(), begun);
    let begun = Instant::now();
    let mut select = connection.prepare(
        "SELECT id, type, key, data FROM event WHERE position > ? ORDER BY position LIMIT ?",
    )?;
    let (mut last, mut read) = (0i64, 0);
    loop {
        let mut rows = select.query((last, batch as i64))?;
        let mut found = 0;
        while let Some(row) = rows.next()? {
            let _: (String, String, String, Vec<u8>) =
                (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            found += 1;
        }
        if found == 0 {
            break;
        }
        read += found;
        last += found as i64;
    }
    tell("bare rusqlite out", read, begun);
    Ok(())
}

fn tell(what: &str, events: usize, begun: Instant) {
    let seconds = begun.elapsed().as_secs_f64();
    println!(
        "{what}: {events} in {seconds:.3} s, {:.0} a second",
        events as f64 / seconds
    );
}
