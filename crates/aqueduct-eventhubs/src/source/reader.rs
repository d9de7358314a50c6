use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Effect, Error, ErrorKind, Event, Instant, OpenPartition, PartitionId, PartitionReader,
    Position, ReadBatch, Record, Result, ResumeToken,
};
use async_trait::async_trait;
use futures::future::{BoxFuture, Either, select};

use super::gap;
use super::place::Place;
use crate::codec::{self, Stamps};
use crate::hub::Hub;
use crate::metrics::Reading;
use crate::transport::{Incoming, PartitionProperties, ReceiverLink};

/// Reads one partition for one group, over a connection of its own: another partition does not notice
/// when it is lost.
pub(super) struct EventHubsReader {
    hub: Arc<Hub>,
    partition: PartitionId,
    opening: Opening,
    place: Place,
    prefetch: Prefetch,
    link: Link,
    received: Received,
    max_wait: Duration,
}

/// How links are opened.
#[derive(Clone)]
struct Opening {
    address: String,
    epoch: Option<i64>,
}

/// The state of the link.
enum Link {
    Closed,
    Opening(BoxFuture<'static, Result<ReceiverLink>>),
    Open(Box<OpenLink>),
    /// It was lost in a way that the caller must know of.
    Lost(Error),
    /// Reading cannot go on: events are lost, or another reader took over.
    Failed(Error),
}

/// An open link.
struct OpenLink {
    link: ReceiverLink,
    opened: Instant,
}

/// The age at which a link that is lost is opened again without a word. One that is lost sooner may be
/// refused in this way, and the next one too: the caller decides.
const PROVEN: Duration = Duration::from_secs(1);

/// The records received and not returned yet.
#[derive(Default)]
struct Received {
    records: VecDeque<Record>,
    /// An event that came earlier than expected, with its sequence number and offset; it is held until
    /// it is known whether those before it are lost.
    early: Option<(i64, Option<String>, Record)>,
}

impl EventHubsReader {
    /// # Errors
    /// `PositionExpired` if the position is no longer kept; `NotFound` for an unknown partition or
    /// consumer group; `Revoked` if a reader of a higher generation reads.
    pub(super) async fn open(hub: Arc<Hub>, request: &OpenPartition) -> Result<Self> {
        let place = Place::new(request.from, request.resume_token.as_ref())?;
        let properties = hub.partition(&request.partition).await?;
        if let Some(gap) = gap::check(&properties, &place, &hub.shown, &request.partition) {
            return Err(gap);
        }
        let group = hub
            .config
            .consumer_group(request.group.as_str(), request.generation);
        let address = format!(
            "{}/ConsumerGroups/{group}/Partitions/{}",
            hub.config.hub, request.partition
        );
        // A reader without a lease has no generation, and displaces nobody.
        let epoch =
            (request.generation > 0).then(|| i64::try_from(request.generation).unwrap_or(i64::MAX));
        let prefetch = Prefetch::new(&hub, request, &properties);
        let mut reader = Self {
            hub,
            partition: request.partition.clone(),
            opening: Opening { address, epoch },
            place,
            prefetch,
            link: Link::Closed,
            received: Received::default(),
            max_wait: request.max_wait,
        };
        // Now rather than with the first read: what is refused is refused here, and a read waits for
        // events alone.
        let link = reader.open_link().await?;
        reader.opened(link);
        reader.refill().await;
        Ok(reader)
    }

    fn opened(&mut self, link: ReceiverLink) {
        let opened = self.hub.runtime().now();
        self.link = Link::Open(Box::new(OpenLink { link, opened }));
    }

    /// Takes what is there, without waiting, until `max_events` are received.
    fn take_ready(&mut self, max_events: usize) {
        while self.received.records.len() < max_events && self.received.early.is_none() {
            let Link::Open(link) = &mut self.link else {
                return;
            };
            match link.link.receive_now() {
                None => return,
                Some(Ok(incoming)) => self.accept(incoming),
                Some(Err(error)) => return self.lost(error),
            }
        }
    }

    /// Adds a message to what was received, unless it was delivered before.
    fn accept(&mut self, incoming: Incoming) {
        let next = self.place.next();
        let expected = next.unwrap_or(self.prefetch.first_kept);
        let hub = self.hub.clone();
        let at = |sequence| codec::Place {
            hub: &hub.shown,
            partition: &self.partition,
            sequence,
        };
        let (sequence, stamps, event) = match incoming {
            Incoming::Message(mut message) => {
                let stamps = Stamps::take(&mut message);
                // The service always sends one.
                let sequence = stamps.sequence.unwrap_or(expected);
                let encoding = hub.config.encoding;
                let event = codec::decode(*message, &stamps, encoding, at(sequence));
                (sequence, stamps, event)
            }
            Incoming::Undecodable(why) => {
                let event = codec::damaged(&why, at(expected));
                (expected, Stamps::default(), event)
            }
        };
        self.prefetch.received(event.approximate_size());
        if next.is_some_and(|next| sequence < next) {
            return;
        }
        let record = record(event, sequence, &stamps);
        if next.is_some_and(|next| sequence > next) {
            self.received.early = Some((sequence, stamps.offset, record));
        } else {
            self.push(sequence, stamps.offset.as_deref(), record);
        }
    }

    fn push(&mut self, sequence: i64, offset: Option<&str>, record: Record) {
        self.place.passed(sequence, offset);
        self.received.records.push_back(record);
    }

    /// Decides about an event that came earlier than expected: those before it were removed by
    /// retention, or by compaction, which leaves holes that are not a loss.
    async fn check_early(&mut self) -> Result<()> {
        if self.received.early.is_none() {
            return Ok(());
        }
        let properties = self.hub.partition(&self.partition).await?;
        let gap = gap::check(&properties, &self.place, &self.hub.shown, &self.partition);
        match (gap, self.received.early.take()) {
            (Some(gap), _) => self.link = Link::Failed(gap),
            (None, Some((sequence, offset, record))) => {
                self.push(sequence, offset.as_deref(), record);
            }
            (None, None) => {}
        }
        Ok(())
    }

    /// Drops a link that failed. The next one goes on after the last event received.
    fn lost(&mut self, error: Error) {
        self.received.early = None;
        self.prefetch.credit = 0;
        let now = self.hub.runtime().now();
        let is_proven = match &self.link {
            Link::Open(open) => self.prefetch.has_received || now.since(open.opened) >= PROVEN,
            _ => false,
        };
        self.link = if error.is(ErrorKind::Revoked) {
            // Opening again would take the link back from the reader that has it now.
            Link::Failed(error)
        } else if error.is_retryable() && is_proven {
            tracing::info!(partition = %self.partition, %error, "the link was lost, and is opened again");
            Link::Closed
        } else {
            Link::Lost(error)
        };
        self.prefetch.metrics.reconnects.increment(1);
        self.prefetch.has_received = false;
    }

    /// Waits until there is something to return, until `deadline` at most.
    async fn wait(&mut self, deadline: Instant) -> Result<bool> {
        let sleep = self.hub.runtime().sleep_until(deadline);
        match &mut self.link {
            Link::Failed(error) => return Err(error.clone()),
            Link::Lost(error) => {
                let error = error.clone();
                self.link = Link::Closed;
                return Err(error);
            }
            Link::Closed => self.link = Link::Opening(self.open_link()),
            Link::Opening(opening) => match select(opening, sleep).await {
                Either::Left((Ok(link), _)) => self.opened(link),
                Either::Left((Err(error), _)) => {
                    self.link = match error.is(ErrorKind::Revoked) {
                        true => Link::Failed(error.clone()),
                        false => Link::Closed,
                    };
                    return Err(error);
                }
                Either::Right(_) => return Ok(false),
            },
            Link::Open(open) => {
                let receive = Box::pin(open.link.receive());
                let outcome = match select(receive, sleep).await {
                    Either::Left((outcome, _)) => outcome,
                    Either::Right(_) => return Ok(false),
                };
                match outcome {
                    Ok(incoming) => self.accept(incoming),
                    Err(error) => self.lost(error),
                }
            }
        }
        Ok(true)
    }

    /// Lets the service send more before what it sent is used up.
    async fn refill(&mut self) {
        if let (Link::Open(open), Some(credit)) = (&mut self.link, self.prefetch.due()) {
            match open.link.grant(credit).await {
                Ok(()) => self.prefetch.credit = credit,
                // The next receive says why.
                Err(error) => tracing::debug!(%error, "no credit was granted"),
            }
        }
    }

    fn open_link(&self) -> BoxFuture<'static, Result<ReceiverLink>> {
        let (hub, opening) = (self.hub.clone(), self.opening.clone());
        let from = self.place.link_from();
        Box::pin(async move {
            let connection = hub.connector.connect().await?;
            let limit = hub.connector.timing().request;
            let Opening { address, epoch } = &opening;
            let link = ReceiverLink::open(&hub.connector, connection, address, &from, *epoch);
            let link = hub.runtime().timeout(limit, address, link).await;
            link.and_then(|link| link)
                .map_err(|error| error.with_effect(Effect::None))
        })
    }
}

#[async_trait]
impl PartitionReader for EventHubsReader {
    async fn read(&mut self, max_events: usize) -> Result<ReadBatch> {
        let max_events = max_events.max(1);
        let deadline = self.hub.runtime().now() + self.max_wait;
        loop {
            // What is taken stays in `self` until it is returned, so that a cancelled read loses none.
            self.check_early().await?;
            self.take_ready(max_events);
            // After taking: a link that the service has closed is noticed, and gets no credit.
            self.refill().await;
            let received = &mut self.received.records;
            if !received.is_empty() {
                let count = received.len().min(max_events);
                let mut batch = ReadBatch::default();
                batch.records = received.drain(..count).collect();
                self.prefetch.metrics.events.increment(count as u64);
                return Ok(batch);
            }
            if self.received.early.is_none() && !self.wait(deadline).await? {
                return Ok(ReadBatch::default());
            }
        }
    }
}

fn record(event: Event, sequence: i64, stamps: &Stamps) -> Record {
    let position = Position::new(u64::try_from(sequence).unwrap_or_default());
    let record = Record::new(event, position, stamps.stored_at);
    match &stamps.offset {
        Some(offset) => record.with_resume_token(ResumeToken::new(offset.as_str())),
        None => record,
    }
}

/// How many events the service may send ahead, so that their bytes stay within bounds.
struct Prefetch {
    most: u32,
    max_bytes: usize,
    /// The size of an event, averaged over the last ones; zero until one is known.
    average: usize,
    /// The events that the service may still send.
    credit: u32,
    window: u32,
    /// Whether anything came over the link that is open.
    has_received: bool,
    /// The oldest sequence number when reading began.
    first_kept: i64,
    metrics: Reading,
}

/// The window before the size of an event is known.
const FIRST: u32 = 64;

/// The least window: large events still come without a round trip for each.
const LEAST: u32 = 4;

impl Prefetch {
    fn new(hub: &Hub, request: &OpenPartition, properties: &PartitionProperties) -> Self {
        let most = hub.config.prefetch;
        Self {
            most,
            max_bytes: request.max_bytes,
            average: 0,
            credit: 0,
            window: FIRST.min(most),
            has_received: false,
            first_kept: properties.first,
            metrics: Reading::new(hub, &request.partition),
        }
    }

    /// Counts an event of that size.
    fn received(&mut self, size: usize) {
        self.credit = self.credit.saturating_sub(1);
        self.has_received = true;
        self.average = match self.average {
            0 => size.max(1),
            average => (average * 15 + size).div_ceil(16),
        };
        // What one fetch may return, twice: one for the caller, one on its way.
        let fits = u32::try_from(self.max_bytes * 2 / self.average).unwrap_or(u32::MAX);
        self.window = fits.clamp(LEAST.min(self.most), self.most);
    }

    /// Returns the credit to grant now: when half of it is used.
    fn due(&self) -> Option<u32> {
        (self.credit <= self.window / 2).then_some(self.window)
    }
}
