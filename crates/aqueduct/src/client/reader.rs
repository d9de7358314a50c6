use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_core::{
    Backoff, Checkpoint, Error, Event, GroupName, OpenPartition, Partition, PartitionId,
    PartitionReader, PartitionState, PartitionedLog, Position, ReadBatch, ReadFrom, Record, Result,
    Retry, Runtime, SmallStr, Start, Timestamp,
};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, Stream, StreamExt as _};

/// The most records of one read.
const READ_EVENTS: usize = 1_000;

/// The wait between failed reads.
const READ_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// The interval at which new partitions without a parent are looked for: some services add them.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Follows a stream without a group: every partition, children after their parents.
///
/// Events come in order within a partition, so in order per key. It is a futures
/// [`Stream`] too. It ends only when every partition is closed and read to its end.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Start};
///
/// let client = Client::from_toml("[client]\nsource = \"/s\"\n[streams.a]\nurl = \"memory:\"").await?;
/// client.producer("a").await?.send(Event::new("x").with_key("k")).await?;
///
/// let mut reader = client.reader("a", Start::Earliest).await?;
/// if let Some(read) = reader.next().await? {
///     println!("{} at {} of {}", read.event.kind(), read.position, read.partition);
/// }
/// # Ok(()) }
/// ```
pub struct Reader {
    log: Arc<dyn PartitionedLog>,
    runtime: Runtime,
    group: GroupName,
    work: FuturesUnordered<BoxFuture<'static, Step>>,
    ready: VecDeque<(PartitionId, VecDeque<Record>, Option<Next>)>,
    known: BTreeMap<PartitionId, Place>,
    failed: VecDeque<Error>,
    /// Partitions that are neither read to their end nor given up.
    alive: usize,
}

/// An event with its partition and position.
///
/// ```
/// use aqueduct::{Reader, Result};
///
/// async fn follow(mut reader: Reader) -> Result<()> {
///     while let Some(read) = reader.next().await? {
///         println!("{} {}: {}", read.partition, read.position, read.event.kind());
///     }
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ReadEvent {
    /// The event.
    pub event: Event,
    /// The partition.
    pub partition: PartitionId,
    /// Its place in the partition.
    pub position: Position,
    /// When the backend stored it; `None` if the backend does not report that.
    pub stored_at: Option<Timestamp>,
}

#[derive(Debug)]
struct Place {
    parents: Vec<PartitionId>,
    from: ReadFrom,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Its parents are not read to their end yet.
    Waiting,
    Reading,
    Ended,
}

type OpenReader = Box<dyn PartitionReader>;

/// The next step of a partition whose records are all handed out.
enum Next {
    Read(OpenReader),
    End(Vec<PartitionId>),
}

enum Step {
    Opened(PartitionId, Result<OpenReader>, u32),
    Read(PartitionId, OpenReader, Result<ReadBatch>, u32),
    Listed(Result<Vec<Partition>>),
    /// A partition was read to its end, and has children that were not known.
    Ended(PartitionId, Vec<PartitionId>, Result<Vec<Partition>>, u32),
}

impl Reader {
    pub(super) async fn open(
        log: Arc<dyn PartitionedLog>,
        start: Start,
        runtime: &Runtime,
    ) -> Result<Self> {
        let listed = log.partitions().await?;
        let resolved = log.resolve(&start).await?;
        let places: BTreeMap<_, _> = resolved.partitions.into_iter().collect();
        let name = format!("aqueduct-reader-{:016x}", runtime.random());
        let mut reader = Self {
            log,
            runtime: runtime.clone(),
            group: GroupName::new(SmallStr::from(name)),
            work: FuturesUnordered::new(),
            ready: VecDeque::new(),
            known: BTreeMap::new(),
            failed: VecDeque::new(),
            alive: 0,
        };
        for partition in listed {
            let place = places.get(&partition.id).copied();
            let closed = partition.state == PartitionState::Closed;
            // "Latest" means the partitions open then; the closed ones have no new events.
            let place = place.unwrap_or(match start {
                Start::Latest if closed => Checkpoint::End,
                _ => Checkpoint::Start(ReadFrom::Earliest),
            });
            reader.learn(partition.id, partition.parents, place.read_from());
        }
        reader.open_ready();
        reader.look_again();
        Ok(reader)
    }

    /// Waits for the next event; `None` if every partition is read to its end. Cancel safe.
    ///
    /// # Errors
    /// The error of a partition that a retry does not help, such as `PositionExpired` if retention
    /// removed events before they were read. That partition is given up, the others go on.
    pub async fn next(&mut self) -> Result<Option<ReadEvent>> {
        futures::future::poll_fn(|cx| self.poll_event(cx))
            .await
            .transpose()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ReadEvent>>> {
        loop {
            if let Some(error) = self.failed.pop_front() {
                return Poll::Ready(Some(Err(error)));
            }
            if let Some(event) = self.pop_ready() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.alive == 0 {
                return Poll::Ready(None);
            }
            match self.work.poll_next_unpin(cx) {
                Poll::Ready(Some(step)) => self.step(step),
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Returns the next buffered event; partitions take turns, one event each.
    fn pop_ready(&mut self) -> Option<ReadEvent> {
        while let Some((partition, mut records, next)) = self.ready.pop_front() {
            let record = records.pop_front();
            if records.is_empty() {
                self.proceed(&partition, next);
            } else {
                self.ready.push_back((partition.clone(), records, next));
            }
            if let Some(record) = record {
                return Some(ReadEvent {
                    event: record.event,
                    partition,
                    position: record.position,
                    stored_at: record.stored_at,
                });
            }
        }
        None
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Opened(partition, Ok(reader), _) => {
                self.proceed(&partition, Some(Next::Read(reader)));
            }
            Step::Opened(partition, Err(error), failures) => {
                if error.is_retryable() {
                    let wait = self.wait(failures.saturating_add(1), &error);
                    self.start(partition, failures.saturating_add(1), wait);
                } else {
                    self.give_up(partition, error);
                }
            }
            Step::Read(partition, reader, Ok(batch), _) => {
                let next = match batch.end {
                    Some(end) => Next::End(end.children),
                    None => Next::Read(reader),
                };
                self.ready
                    .push_back((partition, batch.records.into(), Some(next)));
            }
            Step::Read(partition, reader, Err(error), failures) => {
                if error.is_retryable() {
                    let failures = failures.saturating_add(1);
                    let wait = self.wait(failures, &error);
                    self.read(partition, reader, failures, wait);
                } else {
                    self.give_up(partition, error);
                }
            }
            Step::Listed(listed) => {
                self.learn_new(listed.unwrap_or_default());
                self.open_ready();
                self.look_again();
            }
            Step::Ended(partition, children, Ok(listed), _) => {
                self.learn_new(listed);
                self.end_before(&partition, children);
            }
            Step::Ended(partition, children, Err(error), failures) => {
                if error.is_retryable() {
                    let failures = failures.saturating_add(1);
                    let wait = self.wait(failures, &error);
                    self.list_children(partition, children, failures, wait);
                } else {
                    self.failed
                        .push_back(error.context(format_args!("the children of {partition}")));
                    self.end_before(&partition, children);
                }
            }
        }
    }

    /// Adds partitions created after the opening.
    fn learn_new(&mut self, listed: Vec<Partition>) {
        for partition in listed {
            if !self.known.contains_key(&partition.id) {
                let from = Some(ReadFrom::Earliest);
                self.learn(partition.id, partition.parents, from);
            }
        }
    }

    fn learn(&mut self, id: PartitionId, parents: Vec<PartitionId>, from: Option<ReadFrom>) {
        let state = match from {
            Some(_) => State::Waiting,
            None => State::Ended,
        };
        self.alive += usize::from(state == State::Waiting);
        let place = Place {
            parents,
            from: from.unwrap_or(ReadFrom::Earliest),
            state,
        };
        self.known.insert(id, place);
    }

    /// Opens the partitions whose parents are read to their end, or gone.
    fn open_ready(&mut self) {
        let ended: BTreeSet<_> = self
            .known
            .iter()
            .filter(|(_, place)| place.state == State::Ended)
            .map(|(id, _)| id.clone())
            .collect();
        let is_done =
            |parent: &PartitionId| ended.contains(parent) || !self.known.contains_key(parent);
        let ready: Vec<_> = self
            .known
            .iter()
            .filter(|(_, place)| place.state == State::Waiting && place.parents.iter().all(is_done))
            .map(|(id, _)| id.clone())
            .collect();
        for partition in ready {
            self.start(partition, 0, at_once());
        }
    }

    fn start(&mut self, partition: PartitionId, failures: u32, wait: Wait) {
        let Some(place) = self.known.get_mut(&partition) else {
            return;
        };
        place.state = State::Reading;
        let request = OpenPartition::new(self.group.clone(), partition.clone(), place.from);
        let log = self.log.clone();
        let opening = async move {
            wait.await;
            Step::Opened(partition, log.open(&request).await, failures)
        };
        self.work.push(opening.boxed());
    }

    fn proceed(&mut self, partition: &PartitionId, next: Option<Next>) {
        match next {
            Some(Next::Read(reader)) => self.read(partition.clone(), reader, 0, at_once()),
            Some(Next::End(children)) => {
                // A child may have further parents, which only the listing shows.
                match children.iter().all(|child| self.known.contains_key(child)) {
                    true => self.end(partition),
                    false => self.list_children(partition.clone(), children, 0, at_once()),
                }
            }
            None => {}
        }
    }

    fn read(&mut self, partition: PartitionId, mut reader: OpenReader, failures: u32, wait: Wait) {
        let reading = async move {
            wait.await;
            let batch = reader.read(READ_EVENTS).await;
            Step::Read(partition, reader, batch, failures)
        };
        self.work.push(reading.boxed());
    }

    fn list_children(
        &mut self,
        partition: PartitionId,
        children: Vec<PartitionId>,
        failures: u32,
        wait: Wait,
    ) {
        let log = self.log.clone();
        let listing = async move {
            wait.await;
            Step::Ended(partition, children, log.partitions().await, failures)
        };
        self.work.push(listing.boxed());
    }

    /// Ends a partition, and adds children missing from the listing.
    fn end_before(&mut self, partition: &PartitionId, children: Vec<PartitionId>) {
        for child in children {
            if !self.known.contains_key(&child) {
                let parents = vec![partition.clone()];
                self.learn(child, parents, Some(ReadFrom::Earliest));
            }
        }
        self.end(partition);
    }

    fn end(&mut self, partition: &PartitionId) {
        if let Some(place) = self.known.get_mut(partition) {
            place.state = State::Ended;
            self.alive = self.alive.saturating_sub(1);
        }
        self.open_ready();
    }

    fn give_up(&mut self, partition: PartitionId, error: Error) {
        self.failed
            .push_back(error.context(format_args!("partition {partition}")));
        self.end(&partition);
    }

    fn look_again(&mut self) {
        let (log, sleep) = (self.log.clone(), self.runtime.sleep(LOOK_AGAIN));
        let looking = async move {
            sleep.await;
            Step::Listed(log.partitions().await)
        };
        self.work.push(looking.boxed());
    }

    /// Returns the wait after that many failures, the last of which was `error`.
    fn wait(&self, failures: u32, error: &Error) -> Wait {
        self.runtime.sleep(match error.retry() {
            Retry::After(hint) => hint,
            _ => READ_AGAIN.delay(failures, &self.runtime),
        })
    }
}

type Wait = BoxFuture<'static, ()>;

fn at_once() -> Wait {
    futures::future::ready(()).boxed()
}

impl Stream for Reader {
    type Item = Result<ReadEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader")
            .field("stream", self.log.stream())
            .field("partitions", &self.known)
            .finish_non_exhaustive()
    }
}
