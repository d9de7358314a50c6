use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use aqueduct_core::{
    Capabilities, Effect, Error, ErrorKind, Event, Lane, Producer, Receipt, Result, Retry,
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
    turn: AtomicUsize,
    closed: AtomicBool,
}

/// How often a batch is packed anew since the stream was resharded under it. More often than
/// anybody reshards in a row.
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
            turn: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    async fn layout(&self, anew: bool) -> Result<Arc<Layout>> {
        let known = self
            .layout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let (Some(layout), false) = (known, anew) {
            return Ok(layout);
        }
        let stream = self.stream.clone();
        let layout = self
            .store
            .read(move |connection| Layout::read(connection, &need_stream(connection, &stream)?))
            .await?;
        let layout = Arc::new(layout);
        *self.layout.lock().unwrap_or_else(PoisonError::into_inner) = Some(layout.clone());
        Ok(layout)
    }

    /// Stores some of a batch in one transaction: all of them, or none.
    async fn store(&self, events: &[&Event]) -> Result<Vec<Receipt>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut anew = false;
        for _ in 0..LAYOUTS {
            let layout = self.layout(anew).await?;
            let mut packer = BatchPacker::new(&layout, turn);
            let places: Vec<usize> = events.iter().map(|event| packer.push(event)).collect();
            let batch = packer.finish();
            let rows: Vec<usize> = batch.rows.iter().map(|row| row.place).collect();
            let now = nanos(self.store.0.runtime.wall());
            let (work, answer) = Append::new(batch, self.stream.clone(), now);
            self.store.0.writer.submit(Box::new(work));
            match answer
                .await
                .unwrap_or_else(|_| Err(crate::writer::lost()))?
            {
                Appended::At(firsts) => return Ok(receipts(&layout, &places, &rows, &firsts)),
                Appended::LayoutMoved => anew = true,
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("stream {}: it is resharded all the time", self.stream),
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
impl Producer for SqliteProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        if self.closed.load(Ordering::Acquire) {
            let error = Error::new(
                ErrorKind::Closed,
                format!("stream {}: the producer was closed", self.stream),
            );
            return SendReport::failed(events.len(), &error);
        }
        let mut outcomes: Vec<Option<Result<Receipt>>> = vec![None; events.len()];
        let mut blocked = HashSet::new();
        let mut chunk = Chunk::default();
        for (at, event) in events.iter().enumerate() {
            let size = event.approximate_size();
            if event.key().is_some_and(|key| blocked.contains(key)) {
                outcomes[at] = Some(Err(behind(&self.stream)));
                continue;
            }
            if size > self.limit {
                outcomes[at] = Some(Err(too_large(&self.stream, event, self.limit)));
                blocked.extend(event.key());
                continue;
            }
            chunk.push(at, event, size);
            if chunk.bytes >= most_bytes(self.store.options())
                && let Err(error) = self.flush(&mut chunk, &mut outcomes).await
            {
                // Nothing later was tried: so no key has a gap.
                let untried = error.with_effect(Effect::None);
                for outcome in outcomes.iter_mut().filter(|outcome| outcome.is_none()) {
                    *outcome = Some(Err(untried.clone()));
                }
                break;
            }
        }
        // A failure stands in the outcomes already.
        let _ = self.flush(&mut chunk, &mut outcomes).await;
        let outcomes = outcomes.into_iter();
        SendReport::new(
            outcomes
                .map(|outcome| outcome.unwrap_or_else(|| Err(crate::writer::lost())))
                .collect(),
        )
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
    async fn flush(
        &self,
        chunk: &mut Chunk<'_>,
        outcomes: &mut [Option<Result<Receipt>>],
    ) -> Result<()> {
        let Chunk { places, events, .. } = std::mem::take(chunk);
        if events.is_empty() {
            return Ok(());
        }
        match self.store(&events).await {
            Ok(receipts) => {
                for (at, receipt) in places.into_iter().zip(receipts) {
                    outcomes[at] = Some(Ok(receipt));
                }
                Ok(())
            }
            Err(error) => {
                for at in places {
                    outcomes[at] = Some(Err(error.clone()));
                }
                Err(error)
            }
        }
    }
}

/// Events that one transaction stores, and where in the call they stand.
#[derive(Default)]
struct Chunk<'a> {
    places: Vec<usize>,
    events: Vec<&'a Event>,
    bytes: usize,
}

impl<'a> Chunk<'a> {
    fn push(&mut self, at: usize, event: &'a Event, size: usize) {
        self.places.push(at);
        self.events.push(event);
        self.bytes += size;
    }
}

fn behind(stream: &StreamName) -> Error {
    Error::new(
        ErrorKind::Blocked,
        format!("stream {stream}: an earlier event of the same key is not stored"),
    )
    .with_retry(Retry::Never)
}

pub(crate) fn too_large(stream: &StreamName, event: &Event, limit: usize) -> Error {
    Error::new(
        ErrorKind::TooLarge,
        format!(
            "stream {stream}: event {} has {} bytes, the limit (max_event_bytes) is {limit}",
            event.id(),
            event.approximate_size()
        ),
    )
}
