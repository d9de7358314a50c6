use aqueduct_core::{Error, ErrorKind, Event, Result, StreamName};
use futures::channel::oneshot;
use rusqlite::{OptionalExtension as _, Transaction};

use crate::codec::{Packed, Packer};
use crate::error::SqlResultExt as _;
use crate::notify::Notifier;
use crate::streams::{PartitionRow, StreamRow, hash, no_stream, partitions_of};
use crate::writer::Work;

/// The approximate size of a row: large enough that a row costs little per event, small enough that an
/// event kept by a slow handler does not keep much other data in memory.
const SEGMENT_BYTES: usize = 32 << 10;

/// The open partitions of a stream, as last read.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) stream: i64,
    pub(crate) version: i64,
    /// The partitions that accept events, by range.
    pub(crate) open: Vec<PartitionRow>,
}

impl Layout {
    pub(crate) fn read(connection: &rusqlite::Connection, row: &StreamRow) -> Result<Self> {
        let mut open = partitions_of(connection, row.id)?;
        open.retain(|partition| !partition.closed);
        open.sort_by_key(|partition| partition.range.0);
        if open.is_empty() {
            return Err(Error::new(
                ErrorKind::Corrupt,
                "the stream has no open partition",
            ));
        }
        Ok(Self {
            stream: row.id,
            version: row.layout,
            open,
        })
    }

    /// Returns the index of the open partition of `key`.
    pub(crate) fn place(&self, key: &str) -> usize {
        let hash = hash(key);
        self.open
            .partition_point(|partition| partition.range.1 < hash)
            .min(self.open.len() - 1)
    }
}

/// Events to append, packed by partition.
pub(crate) struct Batch {
    stream: i64,
    layout: i64,
    pub(crate) rows: Vec<SegmentRow>,
}

impl Batch {
    /// Returns each row's partition and the position behind it, given the rows' first positions.
    pub(crate) fn ends(&self, firsts: &[i64]) -> impl Iterator<Item = (i64, i64)> {
        let rows = self.rows.iter().zip(firsts);
        rows.map(|(row, first)| (row.partition, first + row.packed.count as i64))
    }
}

/// Consecutive events to append as one row.
pub(crate) struct SegmentRow {
    /// The partition's index in the layout.
    pub(crate) place: usize,
    partition: i64,
    packed: Packed,
}

/// Packs events for a layout, in order.
pub(crate) struct BatchPacker<'a> {
    layout: &'a Layout,
    packers: Vec<Packer>,
    rows: Vec<SegmentRow>,
    /// The index of the partition for events without a key.
    keyless: usize,
}

impl<'a> BatchPacker<'a> {
    pub(crate) fn new(layout: &'a Layout, turn: usize) -> Self {
        Self {
            layout,
            packers: layout.open.iter().map(|_| Packer::default()).collect(),
            rows: Vec::new(),
            keyless: turn % layout.open.len(),
        }
    }

    /// Packs an event; returns the index of its partition in the layout.
    pub(crate) fn push(&mut self, event: &Event) -> usize {
        let place = event
            .key()
            .map_or(self.keyless, |key| self.layout.place(key));
        let packer = &mut self.packers[place];
        packer.push(event);
        if packer.size() >= SEGMENT_BYTES {
            self.end_row(place);
        }
        place
    }

    pub(crate) fn finish(mut self) -> Batch {
        for place in 0..self.packers.len() {
            if !self.packers[place].is_empty() {
                self.end_row(place);
            }
        }
        Batch {
            stream: self.layout.stream,
            layout: self.layout.version,
            rows: self.rows,
        }
    }

    fn end_row(&mut self, place: usize) {
        self.rows.push(SegmentRow {
            place,
            partition: self.layout.open[place].id,
            packed: self.packers[place].finish(),
        });
    }
}

/// The result of appending a batch.
pub(crate) enum Appended {
    /// For each row, the position of its first event.
    At(Vec<i64>),
    /// The stream was resharded meanwhile: the batch must be packed again.
    LayoutMoved,
}

/// A batch as work for the writer.
pub(crate) struct Append {
    batch: Batch,
    stream: StreamName,
    now: i64,
    appended: Option<Appended>,
    reply: oneshot::Sender<Result<Appended>>,
}

impl Append {
    pub(crate) fn new(
        batch: Batch,
        stream: StreamName,
        now: i64,
    ) -> (Self, oneshot::Receiver<Result<Appended>>) {
        let (reply, answer) = oneshot::channel();
        let work = Self {
            batch,
            stream,
            now,
            appended: None,
            reply,
        };
        (work, answer)
    }
}

impl Work for Append {
    fn bytes(&self) -> usize {
        let rows = self.batch.rows.iter();
        // Besides its own bytes, a row takes part of a page and touches the indexes' pages.
        rows.map(|row| row.packed.size() + 8192).sum()
    }

    fn run(&mut self, tx: &Transaction<'_>) -> Result<()> {
        if !is_current(tx, &self.batch, &self.stream)? {
            self.appended = Some(Appended::LayoutMoved);
            return Ok(());
        }
        match append_rows(tx, &self.batch, self.now) {
            Ok(firsts) => self.appended = Some(Appended::At(firsts)),
            Err(error) => {
                // Rows before the one that failed must not stay. Instead of a savepoint around every
                // batch, the rare failure rolls the shared transaction back.
                if !tx.is_autocommit() {
                    let _ = tx.execute_batch("ROLLBACK");
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn announce(&self, notifier: &Notifier) {
        if let Some(Appended::At(firsts)) = &self.appended {
            for (partition, next) in self.batch.ends(firsts) {
                notifier.grown(partition, next);
            }
        }
    }

    fn finish(self: Box<Self>, committed: Result<()>) {
        let answer = match (committed, self.appended) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(appended)) => Ok(appended),
            (Ok(()), None) => Err(crate::writer::lost()),
        };
        // The caller may have been cancelled; the events are stored all the same.
        let _ = self.reply.send(answer);
    }
}

/// Appends `events` in `tx`, in order. After an error some of them may be written.
pub(crate) fn append_events(
    tx: &Transaction<'_>,
    stream: &StreamName,
    row: &StreamRow,
    events: &[Event],
    now: i64,
) -> Result<()> {
    let layout = Layout::read(tx, row)?;
    let mut packer = BatchPacker::new(&layout, 0);
    for event in events {
        packer.push(event);
    }
    let batch = packer.finish();
    if !is_current(tx, &batch, stream)? {
        // Cannot happen: the layout was read in this transaction.
        return Err(crate::writer::lost());
    }
    append_rows(tx, &batch, now).map(drop)
}

/// Returns whether the stream still has the layout that the batch was packed for.
fn is_current(tx: &Transaction<'_>, batch: &Batch, stream: &StreamName) -> Result<bool> {
    let layout: Option<i64> = tx
        .prepare_cached("SELECT layout FROM aqueduct_stream WHERE id = ?1")
        .and_then(|mut select| {
            select
                .query_row([batch.stream], |row| row.get(0))
                .optional()
        })
        .sql("read the stream's layout")?;
    match layout {
        None => Err(no_stream(stream)),
        Some(version) => Ok(version == batch.layout),
    }
}

pub(crate) fn append_rows(tx: &Transaction<'_>, batch: &Batch, now: i64) -> Result<Vec<i64>> {
    let rows = batch.rows.iter();
    rows.map(|row| append_row(tx, row, now).sql("append events"))
        .collect()
}

fn append_row(tx: &Transaction<'_>, row: &SegmentRow, now: i64) -> rusqlite::Result<i64> {
    let packed = &row.packed;
    let count = packed.count as i64;
    // The time never decreases within a partition, even if the clock does: starting at a time
    // relies on it.
    let (next, stored_at): (i64, i64) = tx
        .prepare_cached(concat!(
            "UPDATE aqueduct_partition SET next = next + ?2, bytes = bytes + ?3, ",
            "written = max(written, ?4) WHERE id = ?1 RETURNING next, written"
        ))?
        .query_row((row.partition, count, packed.size() as i64, now), |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    let first = next - count;
    tx.prepare_cached(concat!(
        "INSERT INTO aqueduct_segment (partition, first, last, stored_at, shapes, heads, body) ",
        "VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)"
    ))?
    .execute((
        row.partition,
        first,
        next - 1,
        stored_at,
        as_text(&packed.shapes),
        as_text(&packed.heads),
        &packed.body,
    ))?;
    Ok(first)
}

/// Binds packed JSON as text; it is always UTF-8.
pub(crate) fn as_text(json: &[u8]) -> rusqlite::types::ToSqlOutput<'_> {
    rusqlite::types::ToSqlOutput::Borrowed(rusqlite::types::ValueRef::Text(json))
}
