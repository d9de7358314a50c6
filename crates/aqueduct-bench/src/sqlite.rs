use std::path::Path;
use std::sync::Arc;

use aqueduct_core::{
    Backend as _, BatchConsumer, Error, ErrorKind, Event, GroupName, Options, Resource, Result,
    Runtime, SmallStr, Source, Url,
};
use aqueduct_group::{Group, GroupOptions};
use aqueduct_producer::{Producer, ProducerOptions};
use aqueduct_sqlite::SqliteBackend;
use rusqlite::{Connection, params};

use crate::Contestant;
use crate::measure::{Figures, Meter};
use crate::memory::block_on;
use crate::payload::Reading;

/// Both use `synchronous=FULL` in WAL mode: an event is durable when its batch returns.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    Contestant {
        name: "rusqlite",
        direction: Some("in"),
        batch: 1000,
        run: rusqlite_in,
    },
    Contestant {
        name: "aqueduct",
        direction: Some("in"),
        batch: 1000,
        run: aqueduct_in,
    },
    Contestant {
        name: "rusqlite",
        direction: Some("out"),
        batch: 1000,
        run: rusqlite_out,
    },
    Contestant {
        name: "aqueduct",
        direction: Some("out"),
        batch: 1000,
        run: aqueduct_out,
    },
];

/// The number of batches in flight, so that commits are shared.
const PIPELINE: usize = 8;

/// A hand-written loop: a row for each event, a transaction for each batch.
fn rusqlite_in(events: u64, batch: usize) -> Result<Figures> {
    let folder = folder()?;
    let mut file = bare_file(&folder.path().join("bare.db"))?;
    let meter = Meter::begin();
    fill(&mut file, events, batch)?;
    Ok(meter.end(events))
}

fn rusqlite_out(events: u64, batch: usize) -> Result<Figures> {
    let folder = folder()?;
    let mut file = bare_file(&folder.path().join("bare.db"))?;
    fill(&mut file, events, batch)?;
    let meter = Meter::begin();
    let mut last = 0i64;
    let mut bytes = 0;
    loop {
        let mut select = file
            .prepare_cached(
                "SELECT position, id, key, data FROM event WHERE position > ?1 ORDER BY position LIMIT ?2",
            )
            .map_err(sql)?;
        let rows: Vec<(i64, String, String, Vec<u8>)> = select
            .query_map(params![last, batch as i64], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
            })
            .and_then(Iterator::collect)
            .map_err(sql)?;
        let Some(newest) = rows.last() else { break };
        last = newest.0;
        bytes += rows.iter().map(|row| row.3.len()).sum::<usize>();
    }
    std::hint::black_box(bytes);
    Ok(meter.end(events))
}

fn fill(file: &mut Connection, events: u64, batch: usize) -> Result<()> {
    let mut number = 0;
    while number < events {
        let transaction = file.transaction().map_err(sql)?;
        {
            let mut insert = transaction
                .prepare_cached(
                    "INSERT INTO event (stored_at, id, source, type, key, data) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )
                .map_err(sql)?;
            for _ in 0..batch.min((events - number) as usize) {
                let event = event(number)?;
                let data = event.data().map_or(&[][..], |data| data);
                insert
                    .execute(params![
                        1_700_000_000_000i64,
                        event.id().to_string(),
                        "/bench",
                        event.kind(),
                        event.key(),
                        data
                    ])
                    .map_err(sql)?;
                number += 1;
            }
        }
        transaction.commit().map_err(sql)?;
    }
    Ok(())
}

fn bare_file(path: &Path) -> Result<Connection> {
    let file = Connection::open(path).map_err(sql)?;
    file.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
         CREATE TABLE event (
             position INTEGER PRIMARY KEY, stored_at INTEGER, id TEXT, source TEXT, type TEXT,
             key TEXT, data BLOB
         );",
    )
    .map_err(sql)?;
    Ok(file)
}

fn aqueduct_in(events: u64, batch: usize) -> Result<Figures> {
    block_on(async {
        let folder = folder()?;
        let runtime = aqueduct_runtime::tokio();
        let resource = resource(folder.path())?;
        let engine = engine(&resource, &runtime).await?;
        let meter = Meter::begin();
        publish(&engine, events, batch).await?;
        let figures = meter.end(events);
        engine.close().await?;
        Ok(figures)
    })
}

fn aqueduct_out(events: u64, batch: usize) -> Result<Figures> {
    block_on(async {
        let folder = folder()?;
        let runtime = aqueduct_runtime::tokio();
        let resource = resource(folder.path())?;
        let engine = engine(&resource, &runtime).await?;
        publish(&engine, events, batch).await?;
        let consumer = consumer(&resource, &runtime).await?;
        let meter = Meter::begin();
        let mut left = events;
        let mut bytes = 0;
        while left > 0 {
            let deliveries = consumer.receive_batch(batch).await?;
            left -= deliveries.len() as u64;
            for delivery in deliveries {
                bytes += delivery.event().data().map_or(0, |data| data.len());
                delivery.ack().await?;
            }
        }
        consumer.flush().await?;
        let figures = meter.end(events);
        std::hint::black_box(bytes);
        consumer.close().await?;
        engine.close().await?;
        Ok(figures)
    })
}

async fn publish(engine: &Producer, events: u64, batch: usize) -> Result<()> {
    let mut under_way = std::collections::VecDeque::with_capacity(PIPELINE);
    for from in (0..events).step_by(batch) {
        let events = (from..events.min(from + batch as u64))
            .map(event)
            .collect::<Result<Vec<_>>>()?;
        let engine = engine.clone();
        under_way.push_back(tokio::spawn(async move { engine.send_all(events).await }));
        if under_way.len() == PIPELINE {
            finish(under_way.pop_front()).await?;
        }
    }
    while !under_way.is_empty() {
        finish(under_way.pop_front()).await?;
    }
    Ok(())
}

type Sending = tokio::task::JoinHandle<
    std::result::Result<Vec<aqueduct_core::Receipt>, aqueduct_producer::PartialFailure>,
>;

async fn finish(sending: Option<Sending>) -> Result<()> {
    if let Some(sending) = sending {
        sending.await.map_err(|e| {
            Error::new(ErrorKind::Internal, "a sending task ended early").with_source(e)
        })??;
    }
    Ok(())
}

fn resource(folder: &Path) -> Result<Arc<dyn Resource>> {
    let path = folder.join("aqueduct.db");
    let url = Url::parse(&format!("sqlite:{}", path.display())).map_err(invalid_url)?;
    SqliteBackend::new().parse("bench", &url, Options::new("streams.bench"))
}

async fn engine(resource: &Arc<dyn Resource>, runtime: &Runtime) -> Result<Producer> {
    let options = ProducerOptions {
        source: Some(SmallStr::literal("/bench")),
        max_batch_events: 10_000,
        max_batch_bytes: 16 << 20,
        max_buffered_events: 100_000,
        ..ProducerOptions::default()
    };
    Ok(Producer::new(
        resource.producer(runtime).await?,
        options,
        runtime,
    ))
}

async fn consumer(
    resource: &Arc<dyn Resource>,
    runtime: &Runtime,
) -> Result<Arc<dyn BatchConsumer>> {
    let Source::Log(log) = resource.source(runtime).await? else {
        return Err(resource.does_not_offer("log"));
    };
    let options = GroupOptions::new(GroupName::new("bench"));
    Group::open(log, resource.leases(runtime).await?, options, runtime).await
}

fn event(number: u64) -> Result<Event> {
    let reading = Reading::new(number);
    Ok(Event::json("reading", &reading)?.with_key(reading.key()))
}

pub(crate) fn folder() -> Result<tempfile::TempDir> {
    // Beside the build's output, since a temporary folder may be in memory, where `fsync` is free.
    let here = std::env::current_dir().and_then(|here| tempfile::tempdir_in(here.join("target")));
    here.or_else(|_| tempfile::tempdir()).map_err(|e| {
        Error::new(
            ErrorKind::Unavailable,
            "the temporary folder could not be created",
        )
        .with_source(e)
    })
}

pub(crate) fn invalid_url(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Internal, "invalid URL of the bench").with_source(error)
}

fn sql(error: rusqlite::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "the plain SQLite file failed").with_source(error)
}
