mod open;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use aqueduct_core::{Error, ErrorKind, Event, Result, Runtime, SmallStr, StreamName};
use rusqlite::{Connection, Transaction};

use crate::append::append_events;
use crate::codec::pack_one;
use crate::config::SqliteOptions;
use crate::error::SqlResultExt as _;
use crate::handle_once::Handled;
use crate::notify::Notifier;
use crate::outbox::{self, OutboxState};
use crate::processes::Process;
use crate::producer::check_size;
use crate::publishing::Publishing;
use crate::readers::Readers;
use crate::streams::{StreamRow, find_stream, nanos};
use crate::writer::Writer;

pub(crate) use self::open::most_bytes;

/// One file, opened once in this process.
///
/// Clones share it. It closes when the last is dropped; the work submitted by then is still written.
#[derive(Clone)]
pub struct SqliteStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) runtime: Runtime,
    // Dropped in this order: the writer's connection should be the last.
    pub(crate) readers: Readers,
    pub(crate) writer: Writer,
    pub(crate) notifier: Arc<Notifier>,
    pub(crate) process: Process,
    pub(crate) outbox: OutboxState,
    pub(crate) handled: Handled,
    pub(crate) publishing: Arc<Publishing>,
    /// The source of events that have none, once a client's configuration is known.
    pub(crate) source: OnceLock<SmallStr>,
}

impl SqliteStore {
    /// Opens the file at `path`; creates it and its folder if `options` allow it.
    ///
    /// A process should open each file once and clone the handle: two handles of one file work, but do
    /// not share their commits. [`SqliteBackend`](crate::SqliteBackend) takes care of it.
    ///
    /// # Errors
    /// `NotFound` for a missing file that must not be created; `Denied` for a file or folder that is
    /// not writable; `Corrupt` for a file that is not a database; `Unsupported` for the schema of a
    /// newer release; `Config` for the file of another application, a network file system, or options
    /// that do not fit together; `Full` if the disk is full.
    pub async fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        open::open(path.as_ref().to_owned(), options, runtime.clone()).await
    }

    /// Runs `work` in a transaction of the file's one writer, and returns once it is durable.
    ///
    /// The transaction is shared with other writes, with a savepoint around `work`: an error or panic
    /// (`Handler`) undoes the writes of `work` and nothing else. It runs on the writer's thread, and
    /// other writes wait for it, so it should be short and must not wait for this store. It may read
    /// and write the application's own tables in the same file.
    ///
    /// # Errors
    /// The error of `work`; `Full`, `Unavailable` or `Conflict` (the file was replaced) if the commit
    /// fails. With `Effect::Unknown` the work may be stored all the same.
    pub async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = self.0.writer.run(true, work).await;
        self.0.outbox.wake();
        answer
    }

    /// Runs `read` on one of the read connections, which cannot write. A transaction that it leaves open
    /// is ended.
    ///
    /// # Errors
    /// The error of `read`; `Conflict` if the file was replaced.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.readers.run(read).await
    }

    /// Publishes `events` to `stream` within `tx`: with everything else in it, or not at all.
    ///
    /// A stream of this file has them once `tx` is committed. A stream elsewhere, declared by
    /// [`outbox`](Self::outbox), gets them from its relay. Events without a source get the one of the
    /// client's configuration (`[client] source`).
    ///
    /// # Errors
    /// `NotFound` for a stream that is neither in this file nor declared: open it first
    /// (`client.producer`), or call [`outbox`](Self::outbox). `Invalid` for an event without id, type or
    /// source. `TooLarge` for an event above the `max_event_bytes` of a stream in this file, or above
    /// 1 MiB for a stream elsewhere. In each case none of `events` is written.
    pub fn publish_in(
        &self,
        tx: &Transaction<'_>,
        stream: &StreamName,
        events: &[Event],
    ) -> Result<()> {
        let events = self.checked(events)?;
        let now = nanos(self.0.runtime.wall());
        match self.find(tx, stream, &events)? {
            Some(row) => {
                self.0.publishing.touch();
                outbox::adopt(tx, stream, &row, now)?;
                append_events(tx, stream, &row, &events, now)
            }
            None => self.fill_outbox(tx, stream, &events),
        }
    }

    /// Publishes `events` as [`publish_in`](Self::publish_in) does, at the end of `work`'s commit: one row
    /// for each partition holds those of all work that shares it. `tx` must not be rolled back in part
    /// after this, unless `work` as a whole is.
    pub(crate) fn publish_with_commit(
        &self,
        tx: &Transaction<'_>,
        stream: &StreamName,
        events: &[Event],
    ) -> Result<()> {
        let events = self.checked(events)?;
        let publishing = &self.0.publishing;
        let now = nanos(self.0.runtime.wall());
        let row = match publishing.limit(tx, stream) {
            Some(limit) => {
                check_sizes(stream, &events, limit)?;
                None
            }
            None => match self.find(tx, stream, &events)? {
                Some(row) => {
                    if outbox::adopt(tx, stream, &row, now)? {
                        publishing.touch();
                    }
                    Some(row)
                }
                None => return self.fill_outbox(tx, stream, &events),
            },
        };
        match publishing.add(tx, stream, row, &events, now)? {
            true => Ok(()),
            false => self.publish_in(tx, stream, &events),
        }
    }

    /// Gives events without a source the client's, and checks that each is valid.
    fn checked<'a>(&self, events: &'a [Event]) -> Result<Cow<'a, [Event]>> {
        let events = match self.0.source.get() {
            Some(source) if events.iter().any(|event| event.source().is_empty()) => {
                let mut owned = events.to_vec();
                owned
                    .iter_mut()
                    .for_each(|event| event.stamp_source(source));
                Cow::Owned(owned)
            }
            _ => Cow::Borrowed(events),
        };
        for event in &*events {
            event.validate()?;
        }
        Ok(events)
    }

    /// Returns the stream if it is in this file, `None` if an outbox was declared for it, once the
    /// events fit into it.
    fn find(
        &self,
        tx: &Transaction<'_>,
        stream: &StreamName,
        events: &[Event],
    ) -> Result<Option<StreamRow>> {
        let found = find_stream(tx, stream.as_str())?;
        let limit = match &found {
            Some(row) => row.max_event_bytes,
            None if self.0.outbox.relays(stream) => outbox::EVENT_BYTES,
            None => return Err(self.unknown_stream(stream)),
        };
        check_sizes(stream, events, limit)?;
        Ok(found)
    }

    fn fill_outbox(
        &self,
        tx: &Transaction<'_>,
        stream: &StreamName,
        events: &[Event],
    ) -> Result<()> {
        let now = self.0.runtime.wall().as_millis();
        self.0.outbox.fill();
        for event in events {
            outbox::insert(tx, stream, &pack_one(event), now).sql("add to the outbox")?;
        }
        Ok(())
    }

    fn unknown_stream(&self, stream: &StreamName) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "{}: the file has no stream `{stream}`, and no outbox was declared for it. Open the \
                 stream before publishing to it (client.producer), or, if it is elsewhere, call \
                 store.outbox and run its relay",
                self.0.path.display()
            ),
        )
    }

    /// Copies the write-ahead log into the file, so that a copy of that one file is the data.
    ///
    /// A store does so by itself when its last handle is dropped; a program that ends before, or copies
    /// the file while it runs, calls this and waits for it.
    ///
    /// # Errors
    /// `Unavailable` if another process keeps the write lock, or another program a read transaction;
    /// `Full` if the disk is full; `Conflict` if the file was replaced.
    pub async fn checkpoint(&self) -> Result<()> {
        self.0.writer.checkpoint().await
    }

    /// Returns the path of the file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Returns the options that the file is open with.
    pub fn options(&self) -> &SqliteOptions {
        &self.0.options
    }
}

fn check_sizes(stream: &StreamName, events: &[Event], limit: usize) -> Result<()> {
    events
        .iter()
        .try_for_each(|event| check_size(stream, event, limit))
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.0.path)
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.notifier.close();
    }
}
