use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aqueduct_core::{
    Capabilities, Destination, Error, Event, Lane, Layer, Receipt, Result, Runtime, SendReport,
    layered_producer,
};
use async_trait::async_trait;

use crate::driver::{Reserving, Shared};
use crate::engine::{self, CallId};
use crate::options::ProducerOptions;
use crate::partial_failure::{self, PartialFailure};
use crate::pending::{Pending, Waiting, only};

/// Sends events to one stream. Clones share everything.
///
/// - **Order.** Events of one key are stored in the order in which they were accepted. One batch of a
///   key is in flight; while it is retried the rest of the key waits behind it. When an event ends
///   with a failure, those of its key accepted behind it fail as `Blocked`, and so do new ones until
///   that failure was seen by its caller. Events without a key have no order.
/// - **Batches.** An event is sent at once while nothing is in flight; meanwhile the next ones
///   gather. Several requests are in flight, with disjoint keys.
/// - **Bounds.** The buffer is limited in events and bytes; callers wait for a place, first come,
///   first served. Dropping the future of a send does not recall an event that was accepted.
/// - **Retries.** Only what failed is sent again: with full jitter, after the server's hint, within
///   attempts, a deadline and a [budget](crate::RetryBudget). A throttled lane is paused and narrowed, the
///   others flow. An event that was given up on fails with `Retry::Exhausted`. An unknown outcome is
///   retried only with [`resend_unknown`](ProducerOptions::resend_unknown).
///
/// ```
/// use aqueduct_core::{Event, Result};
/// use aqueduct_producer::Producer;
///
/// async fn place(orders: &Producer) -> Result<()> {
///     let placed = Event::new("order.placed").with_source("/shop").with_key("VINET");
///     let receipt = orders.send(placed.clone()).await?; // stored
///     println!("{:?}", receipt.position);
///     let counted = Event::new("order.counted").caused_by(&placed, 0);
///     let pending = orders.enqueue(counted).await?; // accepted
///     pending.await?; // stored
///     orders.flush().await
/// }
/// ```
#[derive(Clone)]
pub struct Producer {
    pub(crate) shared: Arc<Shared>,
}

impl Producer {
    /// Creates a producer on a backend's one. Zeros in `options` that cannot work count as one; see
    /// [`ProducerOptions::validate`].
    pub fn new(
        producer: Arc<dyn aqueduct_core::BatchProducer>,
        options: ProducerOptions,
        runtime: &Runtime,
    ) -> Self {
        Self {
            shared: Shared::new(producer, [].into(), options, runtime),
        }
    }

    /// Creates a producer behind `layers`, the first one outermost. Each stamps an event when
    /// it is accepted and sees every attempt to send it.
    ///
    /// # Errors
    /// `Config`, as [`check_layers`](aqueduct_core::check_layers) says.
    pub fn layered(
        producer: Arc<dyn aqueduct_core::BatchProducer>,
        layers: &[Arc<dyn Layer>],
        destination: &Destination,
        options: ProducerOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        let producer = layered_producer(producer, layers, destination)?;
        Ok(Self {
            shared: Shared::new(producer, layers.into(), options, runtime),
        })
    }

    /// Sends one event and waits until it is stored.
    ///
    /// # Errors
    /// `Invalid` or `TooLarge` before anything was sent; `Blocked` behind a failure of the same key;
    /// `Closed`; otherwise the error of the last attempt.
    pub async fn send(&self, event: Event) -> Result<Receipt> {
        let call = self.accept_one(event).await?;
        only(Waiting::new(&self.shared, call).await)
    }

    /// Sends events, in this order if they share a key, and waits until all have an outcome.
    ///
    /// More events than fit a request are accepted piece by piece: dropping the future early leaves
    /// the rest unsent.
    ///
    /// # Errors
    /// [`PartialFailure`]: every outcome by index, and the failed events.
    pub async fn send_all(&self, events: Vec<Event>) -> Result<Vec<Receipt>, PartialFailure> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        if events.len() <= self.shared.batch_events {
            return partial_failure::sorted(self.send_piece(events).await);
        }
        let mut waiting = Vec::new();
        let mut refused = None;
        let mut events = events.into_iter().peekable();
        let mut rest = Vec::new();
        while events.peek().is_some() {
            let piece: Vec<Event> = events.by_ref().take(self.shared.batch_events).collect();
            match self.accept_piece(piece).await {
                Ok(call) => waiting.push(Waiting::new(&self.shared, call)),
                Err((error, piece)) => {
                    refused = Some(error);
                    rest.extend(piece);
                    rest.extend(events.by_ref());
                }
            }
        }
        let mut outcomes = Vec::new();
        let mut failed = Vec::new();
        for call in waiting {
            let answer = call.await;
            let before = outcomes.len();
            failed.extend(answer.failed.into_iter().map(|(at, it)| (at + before, it)));
            outcomes.extend(answer.outcomes);
        }
        if let Some(error) = refused {
            for event in rest {
                failed.push((outcomes.len(), event));
                outcomes.push(Err(error.clone()));
            }
        }
        partial_failure::sorted(engine::Answer { outcomes, failed })
    }

    /// Accepts one event, waiting for a place in the buffer, and returns without waiting for the
    /// outcome: for many events in flight from one task.
    ///
    /// # Errors
    /// `Invalid`, `TooLarge` or `Closed`: it was not accepted.
    pub async fn enqueue(&self, event: Event) -> Result<Pending> {
        let call = self.accept_one(event).await?;
        Ok(Pending(Waiting::new(&self.shared, call)))
    }

    /// Sends what was accepted so far without lingering, and waits until all of it has an outcome.
    ///
    /// # Errors
    /// The first failure since the last flush whose caller went away, with the number of such
    /// failures. Other failures are returned to their own callers.
    pub async fn flush(&self) -> Result<()> {
        self.flushed().await;
        self.shared
            .with(engine::Engine::take_lost)
            .map_or(Ok(()), Err)
    }

    /// Accepts nothing more, waits for the outcomes of what was accepted (at most
    /// [`drain`](ProducerOptions::drain)), and closes the producer. Closing twice is closing once.
    ///
    /// # Errors
    /// `TimedOut`, with the number of events without an outcome: their callers see `Closed`.
    /// Otherwise a failure whose caller went away, or the error of closing the backend.
    pub async fn close(&self) -> Result<()> {
        self.shared.with(engine::Engine::close);
        let drained = self
            .shared
            .runtime
            .timeout(self.shared.drain, "closing the producer", self.flush())
            .await;
        let flushed = match drained {
            Ok(flushed) => flushed,
            Err(late) => {
                let left = self.shared.with(engine::Engine::abort);
                Err(late.context(format_args!("{left} events have no outcome")))
            }
        };
        self.shared.producer.close().await.and(flushed)
    }

    /// Returns the capabilities of the backend, as opened.
    pub fn capabilities(&self) -> Capabilities {
        self.shared.capabilities.clone()
    }

    /// Sends what was accepted so far without lingering, and waits until it has outcomes.
    pub(crate) async fn flushed(&self) {
        let epoch = self.shared.drive(engine::Engine::flush).await;
        self.shared.start_due();
        poll_fn(|cx| {
            let done = self
                .shared
                .with(|engine| engine.poll_flush(epoch, cx.waker()));
            if done { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    async fn accept_one(&self, mut event: Event) -> Result<CallId> {
        self.prepare(&mut event)?;
        let bytes = event.approximate_size();
        self.reserve(1, bytes).await?;
        let now = self.shared.runtime.now();
        Ok(self
            .shared
            .drive(|engine| {
                let call = engine.open(now, 1);
                engine.accept(now, call, 0, event, bytes);
                call
            })
            .await)
    }

    /// Accepts an event whose permit was taken before its size was known: the buffer may exceed
    /// its limit of bytes by this event.
    pub(crate) fn accept_sized_late(&self, mut event: Event) -> CallId {
        let prepared = self.prepare(&mut event);
        let bytes = event.approximate_size();
        let now = self.shared.runtime.now();
        self.shared.with(|engine| {
            let call = engine.open(now, 1);
            engine.overdraw(bytes);
            match prepared {
                Ok(()) => engine.accept(now, call, 0, event, bytes),
                Err(error) => engine.refuse(now, call, 0, event, bytes, error),
            }
            call
        })
    }

    async fn send_piece(&self, events: Vec<Event>) -> engine::Answer {
        match self.accept_piece(events).await {
            Ok(call) => Waiting::new(&self.shared, call).await,
            Err((error, events)) => engine::Answer {
                outcomes: events.iter().map(|_| Err(error.clone())).collect(),
                failed: events.into_iter().enumerate().collect(),
            },
        }
    }

    async fn accept_piece(&self, mut events: Vec<Event>) -> Result<CallId, (Error, Vec<Event>)> {
        let mut sizes = Vec::with_capacity(events.len());
        let mut refused = Vec::new();
        for (at, event) in events.iter_mut().enumerate() {
            if let Err(error) = self.prepare(event) {
                refused.push((at, error));
            }
            sizes.push(event.approximate_size());
        }
        if let Err(error) = self.reserve(events.len(), sizes.iter().sum()).await {
            return Err((error, events));
        }
        let now = self.shared.runtime.now();
        Ok(self
            .shared
            .drive(|engine| {
                let call = engine.open(now, events.len());
                let mut events = events;
                if refused.is_empty() {
                    match engine.accept_whole(now, call, events, &sizes) {
                        Ok(()) => return call,
                        Err(back) => events = back,
                    }
                }
                let mut refused = refused.into_iter().peekable();
                for (at, (event, &bytes)) in events.into_iter().zip(&sizes).enumerate() {
                    match refused.next_if(|(refused, _)| *refused == at) {
                        Some((_, error)) => engine.refuse(now, call, at, event, bytes, error),
                        None => engine.accept(now, call, at, event, bytes),
                    }
                }
                call
            })
            .await)
    }

    async fn reserve(&self, events: usize, bytes: usize) -> Result<()> {
        match self.shared.with(|engine| engine.reserve(events, bytes))? {
            None => Ok(()),
            waiter => Reserving::new(&self.shared, waiter).await,
        }
    }

    /// Stamps the source, lets layers stamp, and refuses events that cannot be sent.
    fn prepare(&self, event: &mut Event) -> Result<()> {
        if let Some(source) = &self.shared.source {
            event.stamp_source(source);
        }
        for layer in self.shared.layers.iter() {
            layer.stamp(event);
        }
        event.validate()?;
        // The data alone: the backend knows the encoded size and checks it exactly.
        let bytes = event.data().map_or(0, |data| data.len());
        self.shared.capabilities.limits.check_event(event, bytes)
    }
}

/// Each call is sent like `send_all`, including retries, so that this type can be used wherever
/// the contract's producer is expected.
#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl aqueduct_core::BatchProducer for Producer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        match self.send_all(events.to_vec()).await {
            Ok(receipts) => SendReport::new(receipts.into_iter().map(Ok).collect()),
            Err(failure) => SendReport::new(failure.outcomes),
        }
    }

    fn lane(&self, event: &Event) -> Lane {
        self.shared.producer.lane(event)
    }

    fn capabilities(&self) -> Capabilities {
        self.shared.capabilities.clone()
    }

    fn deduplicates(&self) -> Option<Duration> {
        self.shared.producer.deduplicates()
    }

    fn consecutive_requests(&self, events: &[Event]) -> u32 {
        self.shared.producer.consecutive_requests(events)
    }

    async fn close(&self) -> Result<()> {
        Self::close(self).await
    }
}

impl fmt::Debug for Producer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Producer")
    }
}
