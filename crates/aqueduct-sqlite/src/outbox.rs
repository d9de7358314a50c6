use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Backoff, BatchProducer, Error, ErrorKind, Event, Result, Retry, Runtime, StreamName,
};
use event_listener::Event as Signal;
use futures::future::select;
use metrics::counter;
use rusqlite::{Connection, Transaction};

use crate::append::{append_events, as_text};
use crate::codec::{Packed, unpack_one};
use crate::error::SqlResultExt as _;
use crate::store::SqliteStore;
use crate::streams::StreamRow;

/// The events that [`SqliteStore::publish_in`] accepted for one stream that is not in this file.
///
/// They are sent in the order in which they were published and removed once they are stored there.
/// A crash in between sends some again, with the same ids, and deduplication on the other side removes
/// them. Run one relay for each stream: several send some events twice and out of order.
#[derive(Clone, Debug)]
pub struct Outbox {
    store: SqliteStore,
    stream: StreamName,
}

/// The limits of one send: this many events, and about this many bytes.
const BATCH_EVENTS: usize = 500;
const BATCH_BYTES: usize = 1 << 20;

/// The largest event that is accepted. The limit of the other stream is not known here; every backend
/// takes this size by default.
pub(crate) const EVENT_BYTES: usize = 1 << 20;

/// The interval of polling for events of other processes; those of this process wake the relay at once.
const POLL: Duration = Duration::from_millis(100);

/// The state of the outbox in this process: the streams it relays, and whether a transaction added
/// events.
#[derive(Default)]
pub(crate) struct OutboxState {
    filled: AtomicBool,
    signal: Signal,
    relayed: Mutex<BTreeSet<StreamName>>,
}

impl OutboxState {
    /// Notes that an open transaction adds events.
    pub(crate) fn fill(&self) {
        self.filled.store(true, Ordering::Release);
    }

    /// Wakes the relays, after a transaction has ended.
    pub(crate) fn wake(&self) {
        if self.filled.swap(false, Ordering::AcqRel) {
            self.signal.notify(usize::MAX);
        }
    }

    /// Returns whether `stream` was declared to be elsewhere, by [`SqliteStore::outbox`].
    pub(crate) fn relays(&self, stream: &StreamName) -> bool {
        self.streams().contains(stream)
    }

    fn streams(&self) -> MutexGuard<'_, BTreeSet<StreamName>> {
        lock(&self.relayed)
    }
}

impl SqliteStore {
    /// Declares that `stream` is outside this file, and returns its outbox.
    ///
    /// From then on [`publish_in`](Self::publish_in) accepts events for it; [`Outbox::run`] sends them.
    /// A process that only publishes, and leaves the relaying to another, calls this too.
    pub fn outbox(&self, stream: StreamName) -> Outbox {
        self.0.outbox.streams().insert(stream.clone());
        Outbox {
            store: self.clone(),
            stream,
        }
    }

    /// Lists the streams that have events in the outbox.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub async fn outbox_streams(&self) -> Result<Vec<StreamName>> {
        self.read(|connection| {
            connection
                .prepare_cached("SELECT DISTINCT stream FROM aqueduct_outbox ORDER BY stream")
                .and_then(|mut select| {
                    select
                        .query_map([], |row| Ok(StreamName::new(row.get::<_, String>(0)?)))?
                        .collect()
                })
                .sql("list the outbox")
        })
        .await
    }
}

impl Outbox {
    /// Returns the stream that the events are for.
    pub fn stream(&self) -> &StreamName {
        &self.stream
    }

    /// Returns how many events wait.
    ///
    /// # Errors
    /// As for [`SqliteStore::read`].
    pub async fn len(&self) -> Result<u64> {
        let stream = self.stream.clone();
        self.store
            .read(move |connection| {
                connection
                    .query_row(
                        "SELECT count(*) FROM aqueduct_outbox WHERE stream = ?1",
                        [stream.as_str()],
                        |row| row.get::<_, i64>(0),
                    )
                    .map(|count| count as u64)
                    .sql("count the outbox")
            })
            .await
    }

    /// Relays the events that wait, and those that follow, to `producer` until the future is dropped.
    ///
    /// `producer` should order and retry, as the client's does. Failures are logged and retried with
    /// back-off, for ever: an event of a committed transaction must not be given up. An event that the
    /// producer rejects for good (`TooLarge` or `Invalid`) blocks those behind it:
    /// `aqueduct_sqlite_outbox_failures_total` rises, and an error in the log names the event, its row
    /// and the remedy.
    pub async fn run(&self, producer: Arc<dyn BatchProducer>, runtime: Runtime) {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let mut failures = 0;
        loop {
            let filled = self.store.0.outbox.signal.listen();
            match self.relay(&*producer).await {
                Ok(0) => {
                    failures = 0;
                    select(filled, runtime.sleep(POLL / 2 + runtime.jitter(POLL))).await;
                }
                Ok(_) => failures = 0,
                Err(error) => {
                    failures += 1;
                    counter!("aqueduct_sqlite_outbox_failures_total").increment(1);
                    if is_hopeless(&error) {
                        tracing::error!(stream = %self.stream, %error, failures, "the outbox is blocked");
                    } else {
                        tracing::warn!(stream = %self.stream, %error, failures, "the outbox waits");
                    }
                    let wait =
                        backoff.ceiling(failures) / 2 + backoff.delay(failures, &runtime) / 2;
                    runtime.sleep(wait).await;
                }
            }
        }
    }

    /// Relays until nothing waits; returns how many events were stored.
    ///
    /// # Errors
    /// The first error of a send. The events stored by then are removed from the outbox.
    pub async fn drain(&self, producer: &dyn BatchProducer) -> Result<u64> {
        let mut stored = 0;
        loop {
            match self.relay(producer).await? {
                0 => return Ok(stored),
                more => stored += more as u64,
            }
        }
    }

    /// Sends one batch; returns how many of its events were stored.
    async fn relay(&self, producer: &dyn BatchProducer) -> Result<usize> {
        let stream = self.stream.clone();
        let waiting = self
            .store
            .read(move |connection| oldest(connection, &stream))
            .await?;
        if waiting.is_empty() {
            return Ok(0);
        }
        let (ids, events): (Vec<i64>, Vec<Event>) = waiting.into_iter().unzip();
        let outcomes = producer.send_batch(&events).await.into_outcomes();
        let mut failed = None;
        let mut stored = Vec::with_capacity(ids.len());
        for ((id, event), outcome) in ids.into_iter().zip(&events).zip(outcomes) {
            match outcome {
                Ok(_) => stored.push(id),
                Err(error) => {
                    failed = failed.or_else(|| Some(self.explain(error, id, event)));
                }
            }
        }
        let count = stored.len();
        if count > 0 {
            self.store
                .0
                .writer
                .run(false, move |tx| remove(tx, &stored))
                .await?;
            counter!("aqueduct_sqlite_outbox_relayed_total").increment(count as u64);
        }
        match failed {
            // The next batch begins with the rest of this one.
            Some(error) if count == 0 => Err(error),
            _ => Ok(count),
        }
    }

    fn explain(&self, error: Error, row: i64, event: &Event) -> Error {
        let (stream, id) = (&self.stream, event.id());
        if is_hopeless(&error) {
            error.context(format!(
                "outbox of {stream}: event {id} can never be sent and blocks those behind it; let \
                 {stream} accept it, or remove it with DELETE FROM aqueduct_outbox WHERE id = {row}"
            ))
        } else {
            error.context(format!("outbox of {stream}: event {id}"))
        }
    }
}

/// Returns whether the event itself is at fault, so that retrying cannot help.
fn is_hopeless(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::TooLarge | ErrorKind::Invalid)
        && error.retry() == Retry::Never
}

pub(crate) fn insert(
    tx: &Transaction<'_>,
    stream: &StreamName,
    event: &Packed,
    now: i64,
) -> rusqlite::Result<()> {
    tx.prepare_cached(
        "INSERT INTO aqueduct_outbox (stream, created, shapes, head, body)
         VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute((
        stream.as_str(),
        now,
        as_text(&event.shapes),
        as_text(&event.heads),
        &event.body,
    ))
    .map(drop)
}

fn oldest(connection: &Connection, stream: &StreamName) -> Result<Vec<(i64, Event)>> {
    let mut select = connection
        .prepare_cached(
            "SELECT id, shapes, head, body FROM aqueduct_outbox WHERE stream = ?1
             ORDER BY id LIMIT ?2",
        )
        .sql("read the outbox")?;
    let mut rows = select
        .query((stream.as_str(), BATCH_EVENTS as i64))
        .sql("read the outbox")?;
    let mut events = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next().sql("read the outbox")? {
        let read = || -> rusqlite::Result<_> {
            let shapes = row.get_ref(1)?.as_bytes()?.to_vec();
            Ok((
                row.get::<_, i64>(0)?,
                shapes,
                row.get_ref(2)?.as_bytes()?,
                row.get(3)?,
            ))
        };
        let (id, shapes, head, body): (i64, Vec<u8>, &[u8], Vec<u8>) =
            read().sql("read the outbox")?;
        bytes += body.len() + head.len();
        events.push((id, unpack_one(&shapes, head, body)?));
        if bytes >= BATCH_BYTES {
            break;
        }
    }
    Ok(events)
}

/// Moves the events that wait for `stream` into its log, in order: they were published before the stream
/// was created in this file, and a later event of their key must not overtake them. Returns whether any
/// waited.
pub(crate) fn adopt(
    tx: &Transaction<'_>,
    stream: &StreamName,
    row: &StreamRow,
    now: i64,
) -> Result<bool> {
    let mut any = false;
    loop {
        let waiting = oldest(tx, stream)?;
        if waiting.is_empty() {
            return Ok(any);
        }
        any = true;
        let (ids, events): (Vec<i64>, Vec<Event>) = waiting.into_iter().unzip();
        append_events(tx, stream, row, &events, now)?;
        remove(tx, &ids)?;
    }
}

fn remove(tx: &Transaction<'_>, ids: &[i64]) -> Result<()> {
    let mut delete = tx
        .prepare_cached("DELETE FROM aqueduct_outbox WHERE id = ?1")
        .sql("empty the outbox")?;
    for id in ids {
        delete.execute([id]).sql("empty the outbox")?;
    }
    Ok(())
}
