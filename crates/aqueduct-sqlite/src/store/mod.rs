mod open;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aqueduct_core::{Event, Result, Runtime, StreamName};
use rusqlite::{Connection, Transaction};

use crate::append::{Appended, BatchPacker, Layout, append};
use crate::codec::pack_one;
use crate::config::SqliteOptions;
use crate::error::SqlResultExt as _;
use crate::outbox::{self, OutboxSignal};
use crate::processes::Process;
use crate::producer::too_large;
use crate::readers::Readers;
use crate::streams::{find_stream, nanos};
use crate::tails::Tails;
use crate::writer::Writer;

pub(crate) use self::open::most_bytes;

/// One file, opened once in this process: its writer, its readers and its watcher.
///
/// Clones share it; it closes when the last is dropped. What was asked for by then is still
/// written.
#[derive(Clone)]
pub struct SqliteStore(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) path: PathBuf,
    pub(crate) options: SqliteOptions,
    pub(crate) runtime: Runtime,
    pub(crate) writer: Writer,
    pub(crate) readers: Readers,
    pub(crate) tails: Arc<Tails>,
    pub(crate) process: Process,
    pub(crate) outbox: OutboxSignal,
}

impl SqliteStore {
    /// Opens the file at `path`, creating it and its folder where `options` say so.
    ///
    /// A process should open each file once and clone the handle: two handles of one file work,
    /// but do not share their commits. [`SqliteBackend`](crate::SqliteBackend) sees to it.
    ///
    /// # Errors
    /// `NotFound` where it is missing and not to be created; `Denied` for a file or folder that
    /// may not be written; `Corrupt` for a file that is no database; `Unsupported` for a schema
    /// of a newer release; `Config` for another application's file, a network file system or
    /// options that do not fit together.
    pub async fn open(
        path: impl AsRef<Path>,
        options: SqliteOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        open::open(path.as_ref().to_owned(), options, runtime.clone()).await
    }

    /// Runs `work` in a transaction of the file's one writer, and answers once it is durable.
    ///
    /// The transaction is shared with others' writes, with a savepoint around `work`: its error
    /// or panic (`Handler`) undoes what it wrote and nothing else. It runs on the writer's thread,
    /// where everybody waits for it, so it should be short and must not wait for this store. It
    /// may read and write the application's own tables in the same file.
    ///
    /// # Errors
    /// What `work` answers; `Full`, `Unavailable` and the like where the commit fails. With
    /// `Effect::Unknown` it may be stored all the same.
    pub async fn transaction<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let answer = self.0.writer.run(true, work).await;
        self.0.outbox.wake();
        answer
    }

    /// Runs `read` on one of the read connections, which cannot write. A transaction that it
    /// leaves open is ended.
    ///
    /// # Errors
    /// What `read` answers.
    pub async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.0.readers.run(read).await
    }

    /// Publishes `events` to `stream` within `tx`: with everything else in it, or not at all.
    ///
    /// A stream that this file holds has them once `tx` is committed. Any other is served from the
    /// outbox, which [`outbox`](Self::outbox) relays.
    ///
    /// # Errors
    /// `Invalid` where an event lacks id, source or type: nobody stamps a source after this.
    /// `TooLarge` where an event is larger than the `max_event_bytes` of a stream in this file, or
    /// than 1 MiB where the stream is elsewhere: what fits there fits every backend, and what no
    /// stream takes would block the outbox. Either way none of `events` is written.
    pub fn publish_in(
        &self,
        tx: &Transaction<'_>,
        stream: &StreamName,
        events: &[Event],
    ) -> Result<()> {
        for event in events {
            event.validate()?;
        }
        let now = self.0.runtime.wall();
        let found = find_stream(tx, stream.as_str())?;
        let limit = match &found {
            Some(row) => row.max_event_bytes,
            None => outbox::EVENT_BYTES,
        };
        let fits = |event: &&Event| event.approximate_size() <= limit;
        if let Some(event) = events.iter().find(|event| !fits(event)) {
            return Err(too_large(stream, event, limit));
        }
        match found {
            Some(row) => {
                let layout = Layout::read(tx, &row)?;
                let mut packer = BatchPacker::new(&layout, 0);
                for event in events {
                    packer.push(event);
                }
                match append(tx, &packer.finish(), stream, nanos(now))? {
                    Appended::At(_) => Ok(()),
                    // It was read in this very transaction.
                    Appended::LayoutMoved => Err(crate::writer::lost()),
                }
            }
            None => {
                self.0.outbox.fill();
                for event in events {
                    outbox::insert(tx, stream, &pack_one(event), now.as_millis())
                        .sql("fill the outbox")?;
                }
                Ok(())
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// How it is kept.
    pub fn options(&self) -> &SqliteOptions {
        &self.0.options
    }
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
        self.tails.close();
    }
}
