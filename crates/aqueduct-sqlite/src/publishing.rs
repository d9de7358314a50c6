use std::sync::{Mutex, MutexGuard, PoisonError};

use aqueduct_core::{Event, Result, StreamName};
use rusqlite::{Connection, Transaction};

use crate::append::{BatchPacker, Layout, append_rows};
use crate::streams::StreamRow;

/// The events that handlers publish to streams of the file, until the commit that they share: then
/// those of a partition become one row, however many handlers published them.
#[derive(Default)]
pub(crate) struct Publishing(Mutex<State>);

#[derive(Default)]
struct State {
    /// The address of the connection whose transaction is open.
    connection: Option<usize>,
    streams: Vec<Target>,
    /// In the order of publishing, each with the index of its stream.
    events: Vec<(usize, Event)>,
    /// The time at which the last one was published, in nanoseconds.
    now: i64,
    /// Whether events were written that no [`Grown`] reports.
    touched: bool,
}

/// A stream as it is in the open transaction.
struct Target {
    name: StreamName,
    row: StreamRow,
    layout: Layout,
}

/// How much was published by a moment.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    streams: usize,
    events: usize,
}

/// The ends of partitions after a commit: the id of each, and its next position.
pub(crate) type Grown = Vec<(i64, i64)>;

impl Publishing {
    /// Begins to collect the events of a transaction of `connection`.
    pub(crate) fn begin(&self, connection: &Connection) {
        let mut state = self.lock();
        state.clear();
        state.connection = Some(address(connection));
    }

    /// Ends collecting; returns whether events were written that no [`Grown`] reports. Those that were
    /// not written are dropped: their transaction is undone.
    pub(crate) fn end(&self) -> bool {
        let mut state = self.lock();
        let touched = state.touched;
        state.clear();
        touched
    }

    /// Notes that a transaction writes events by itself.
    pub(crate) fn touch(&self) {
        self.lock().touched = true;
    }

    /// Returns the limit of an event of the stream, if it is known in this transaction.
    pub(crate) fn limit(&self, tx: &Transaction<'_>, stream: &StreamName) -> Option<usize> {
        let state = self.lock();
        if state.connection != Some(address(tx)) {
            return None;
        }
        let known = state.streams.iter().find(|target| target.name == *stream);
        known.map(|target| target.row.max_event_bytes)
    }

    /// Adds `events` to what the commit of `tx` writes; `row` is the stream, unless
    /// [`limit`](Self::limit) knows it. Returns `false` if `tx` is not the writer's.
    pub(crate) fn add(
        &self,
        tx: &Transaction<'_>,
        stream: &StreamName,
        row: Option<StreamRow>,
        events: &[Event],
        now: i64,
    ) -> Result<bool> {
        let mut state = self.lock();
        if state.connection != Some(address(tx)) {
            return Ok(false);
        }
        let known = state
            .streams
            .iter()
            .position(|target| target.name == *stream);
        let at = match (known, row) {
            (Some(at), _) => at,
            (None, Some(row)) => {
                let layout = Layout::read(tx, &row)?;
                state.streams.push(Target {
                    name: stream.clone(),
                    row,
                    layout,
                });
                state.streams.len() - 1
            }
            (None, None) => return Ok(false),
        };
        state.now = now;
        state
            .events
            .extend(events.iter().map(|event| (at, event.clone())));
        Ok(true)
    }

    pub(crate) fn mark(&self) -> Mark {
        let state = self.lock();
        Mark {
            streams: state.streams.len(),
            events: state.events.len(),
        }
    }

    /// Forgets what was published since `mark`: the transaction that published it is undone. A stream
    /// that it used first is read again, since so is what it moved out of the outbox.
    pub(crate) fn undo(&self, mark: Mark) {
        let mut state = self.lock();
        state.events.truncate(mark.events);
        state.streams.truncate(mark.streams);
    }

    /// Writes what was published so far. Streams are read again after it.
    pub(crate) fn write(&self, tx: &Transaction<'_>) -> Result<Grown> {
        let (streams, events, now) = {
            let mut state = self.lock();
            let streams = std::mem::take(&mut state.streams);
            (streams, std::mem::take(&mut state.events), state.now)
        };
        let mut grown = Grown::new();
        for (at, target) in streams.iter().enumerate() {
            let mut packer = BatchPacker::new(&target.layout, 0);
            for (_, event) in events.iter().filter(|(stream, _)| *stream == at) {
                packer.push(event);
            }
            let batch = packer.finish();
            let firsts = append_rows(tx, &batch, now)?;
            grown.extend(batch.ends(&firsts));
        }
        Ok(grown)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn clear(&mut self) {
        *self = Self::default();
    }
}

fn address(connection: &Connection) -> usize {
    std::ptr::from_ref(connection).addr()
}
