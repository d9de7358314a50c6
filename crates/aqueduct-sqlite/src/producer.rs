use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aqueduct_core::outcomes::SendOutcomes;
use aqueduct_core::sync::lock;
use aqueduct_core::{
    BatchProducer, Capabilities, Error, ErrorKind, Event, Lane, Limits, Receipt, Result,
    SendReport, StreamName,
};
use async_trait::async_trait;

use crate::append::{Append, Appended, BatchPacker, Layout};
use crate::store::{SqliteStore, most_bytes};
use crate::streams::{nanos, need_stream, position};

/// Sends to one stream of the file.
pub(crate) struct SqliteProducer {
    store: SqliteStore,
    stream: StreamName,
    limit: usize,
    capabilities: Capabilities,
    layout: Mutex<Option<Arc<Layout>>>,
    /// The partition at which the next batch without keys begins.
    next_partition: AtomicUsize,
    closed: AtomicBool,
}

/// How often a batch is packed again because the stream was resharded meanwhile. More often than a
/// stream is resharded in a row.
const LAYOUTS: usize = 8;

impl SqliteProducer {
    pub(crate) fn new(
        store: SqliteStore,
        stream: StreamName,
        limit: usize,
        capabilities: Capabilities,
    ) -> Self {
        Self {
            store,
            stream,
            limit,
            capabilities,
            layout: Mutex::default(),
            next_partition: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    async fn layout(&self, anew: bool) -> Result<Arc<Layout>> {
        let known = lock(&self.layout).clone();
        if let (Some(layout), false) = (known, anew) {
            return Ok(layout);
        }
        let stream = self.stream.clone();
        let layout = self
            .store
            .read(move |connection| Layout::read(connection, &need_stream(connection, &stream)?))
            .await?;
        let layout = Arc::new(layout);
        *lock(&self.layout) = Some(layout.clone());
        Ok(layout)
    }

    /// Stores some of a batch in one transaction: all of them, or none.
    async fn store(&self, events: &[&Event]) -> Result<Vec<Receipt>> {
        let first_partition = self.next_partition.fetch_add(1, Ordering::Relaxed);
        let mut anew = false;
        for _ in 0..LAYOUTS {
            let layout = self.layout(anew).await?;
            let mut packer = BatchPacker::new(&layout, first_partition);
            let places: Vec<usize> = events.iter().map(|event| packer.push(event)).collect();
            let batch = packer.finish();
            let rows: Vec<usize> = batch.rows.iter().map(|row| row.place).collect();
            let now = nanos(self.store.0.runtime.wall());
            let (work, response) = Append::new(batch, self.stream.clone(), now);
            self.store.0.writer.submit(Box::new(work));
            match response
                .await
                .unwrap_or_else(|_| Err(crate::writer::lost()))?
            {
                Appended::At(firsts) => return Ok(receipts(&layout, &places, &rows, &firsts)),
                Appended::LayoutMoved => anew = true,
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!(
                "stream {}: it was resharded {LAYOUTS} times while one batch was sent",
                self.stream
            ),
        ))
    }
}

/// Rows of one partition that one transaction stored follow each other without a gap.
fn receipts(layout: &Layout, places: &[usize], rows: &[usize], firsts: &[i64]) -> Vec<Receipt> {
    let mut next = vec![None; layout.open.len()];
    for (place, first) in rows.iter().zip(firsts) {
        next[*place].get_or_insert(*first);
    }
    let names: Vec<_> = layout
        .open
        .iter()
        .map(|partition| partition.name())
        .collect();
    places
        .iter()
        .map(|place| {
            let at = next[*place].unwrap_or_default();
            next[*place] = Some(at + 1);
            Receipt::at(names[*place].clone(), position(at))
        })
        .collect()
}

#[async_trait]
impl BatchProducer for SqliteProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        if self.closed.load(Ordering::Acquire) {
            let error = Error::new(
                ErrorKind::Closed,
                format!("stream {}: the producer was closed", self.stream),
            );
            return SendReport::failed(events.len(), &error);
        }
        let mut outcomes = SendOutcomes::new(events.len());
        let mut chunk = Chunk::default();
        for (index, event) in events.iter().enumerate() {
            if !outcomes.admit(index, event.key()) {
                continue;
            }
            let size = event.approximate_size();
            if let Err(error) = check_size(&self.stream, event, self.limit) {
                outcomes.failed(index, event.key(), error);
                continue;
            }
            chunk.push(index, event, size);
            if chunk.bytes >= most_bytes(self.store.options())
                && let Err(error) = self.flush(&mut chunk, &mut outcomes).await
            {
                // Trying the rest could store an event behind a gap of its key.
                outcomes.skip_rest(&error);
                break;
            }
        }
        // A failure is in the outcomes already.
        let _ = self.flush(&mut chunk, &mut outcomes).await;
        outcomes.into_report()
    }

    /// One file has one writer, so everything shares one lane.
    fn lane(&self, _: &Event) -> Lane {
        Lane(0)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        Ok(())
    }
}

impl SqliteProducer {
    /// Stores the chunk and records the outcomes of its events.
    async fn flush<'a>(
        &self,
        chunk: &mut Chunk<'a>,
        outcomes: &mut SendOutcomes<&'a str>,
    ) -> Result<()> {
        let Chunk {
            indexes, events, ..
        } = std::mem::take(chunk);
        if events.is_empty() {
            return Ok(());
        }
        match self.store(&events).await {
            Ok(receipts) => {
                for (index, receipt) in indexes.into_iter().zip(receipts) {
                    outcomes.stored(index, receipt);
                }
                Ok(())
            }
            Err(error) => {
                for (index, event) in indexes.into_iter().zip(events) {
                    outcomes.failed(index, event.key(), error.clone());
                }
                Err(error)
            }
        }
    }
}

/// The events of one transaction, with their indexes in the call.
#[derive(Default)]
struct Chunk<'a> {
    indexes: Vec<usize>,
    events: Vec<&'a Event>,
    bytes: usize,
}

impl<'a> Chunk<'a> {
    fn push(&mut self, index: usize, event: &'a Event, size: usize) {
        self.indexes.push(index);
        self.events.push(event);
        self.bytes += size;
    }
}

/// Refuses an event over the stream's limit.
pub(crate) fn check_size(stream: &StreamName, event: &Event, limit: usize) -> Result<()> {
    let limits = Limits {
        event_bytes: Some(limit),
        ..Limits::default()
    };
    limits
        .check_event(event, event.approximate_size())
        .map_err(|error| error.context(format_args!("stream {stream}, max_event_bytes")))
}
