use std::pin::Pin;
use std::task::{Context, Poll};

use aqueduct_core::{Error, ErrorKind, Event, Result};
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, Sink, Stream, StreamExt as _, TryStreamExt as _, future::BoxFuture};

use crate::driver::Reserving;
use crate::engine::Answer;
use crate::pending::Waiting;
use crate::producer::Producer;

impl Producer {
    /// Sends everything that `events` yields and waits for the outcomes in order. At most as many
    /// events as fit one request are in flight. Returns how many were stored.
    ///
    /// # Errors
    /// The first failure. Events accepted before it may still be stored; later ones are not taken
    /// from the stream.
    pub async fn send_stream(&self, events: impl Stream<Item = Event> + Send) -> Result<u64> {
        let ahead = self.shared.batch_events.max(2);
        events
            .then(|event| self.enqueue(event))
            .map(|accepted| async { accepted?.await })
            .buffered(ahead)
            .try_fold(0, |stored, _| async move { Ok(stored + 1) })
            .await
    }

    /// Returns a sink of events: it accepts them while the buffer has room, and `flush` waits for
    /// their outcomes.
    pub fn sink(&self) -> EventSink {
        EventSink {
            producer: self.clone(),
            permit: Permit::None,
            pending: FuturesUnordered::new(),
            accepted: 0,
            failures: Vec::new(),
            flushing: None,
        }
    }
}

/// Takes events as a [`Sink`].
///
/// A failure is returned by the next call that polls the sink: the error of the first event that
/// failed, with the number of failures. [`take_failures`](Self::take_failures) returns each failed
/// event with its error. Until then later events of its key fail as `Blocked`, so that the order per
/// key is kept: after an error, send again from the first failed event on.
///
/// Closing the sink flushes it; the producer stays open. Dropping it without a flush does not recall
/// what it accepted.
///
/// ```
/// use aqueduct_core::Event;
/// use aqueduct_producer::Producer;
/// use futures::SinkExt as _;
///
/// async fn copy(producer: &Producer, events: Vec<Event>) -> Vec<Event> {
///     let mut sink = producer.sink();
///     for event in events {
///         if sink.feed(event).await.is_err() {
///             break;
///         }
///     }
///     let _ = sink.flush().await;
///     let failures = sink.take_failures();
///     failures.into_iter().map(|(event, _)| event).collect()
/// }
/// ```
pub struct EventSink {
    producer: Producer,
    permit: Permit,
    /// The accepted events whose outcomes were not seen yet.
    pending: FuturesUnordered<Numbered>,
    accepted: u64,
    failures: Vec<(u64, Event, Error)>,
    flushing: Option<BoxFuture<'static, ()>>,
}

/// A pending outcome with the number of its event.
struct Numbered {
    number: u64,
    waiting: Waiting,
}

impl Future for Numbered {
    type Output = (u64, Answer);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let number = self.number;
        Pin::new(&mut self.waiting)
            .poll(cx)
            .map(|answer| (number, answer))
    }
}

enum Permit {
    None,
    Asked(Reserving),
    Taken,
}

impl EventSink {
    /// Returns the events that failed since the last call, each with its error, in the order in
    /// which they were accepted.
    pub fn take_failures(&mut self) -> Vec<(Event, Error)> {
        let mut failures = std::mem::take(&mut self.failures);
        failures.sort_unstable_by_key(|(number, _, _)| *number);
        let events = failures.into_iter();
        events.map(|(_, event, error)| (event, error)).collect()
    }

    /// Takes the outcomes that are there. Returns an error if any of them is a failure.
    fn reap(&mut self, cx: &mut Context<'_>) -> Result<()> {
        let before = self.failures.len();
        while let Poll::Ready(Some((number, answer))) = self.pending.poll_next_unpin(cx) {
            let mut outcomes = answer.outcomes;
            for (at, event) in answer.failed {
                if let Err(error) = std::mem::replace(&mut outcomes[at], Ok(Default::default())) {
                    self.failures.push((number, event, error));
                }
            }
        }
        let failed = self.failures.len() - before;
        match self.failures.get(before) {
            None => Ok(()),
            Some((_, _, error)) if failed == 1 => Err(error.clone()),
            Some((_, _, error)) => Err(error
                .clone()
                .context(format_args!("{failed} events failed, the first"))),
        }
    }
}

impl Sink<Event> for EventSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.reap(cx)?;
        if matches!(self.permit, Permit::None) {
            let shared = &self.producer.shared;
            // The size is not known yet: the buffer may be over its bytes by this one event.
            let waiter = shared.with(|engine| engine.reserve(1, 0))?;
            self.permit = Permit::Asked(Reserving::new(&self.producer.shared, waiter));
        }
        if let Permit::Asked(asked) = &mut self.permit {
            match std::task::ready!(asked.poll_unpin(cx)) {
                Ok(()) => self.permit = Permit::Taken,
                Err(error) => {
                    self.permit = Permit::None;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<()> {
        if !matches!(self.permit, Permit::Taken) {
            return Err(Error::new(
                ErrorKind::Invalid,
                "the sink was not ready: poll_ready must succeed before start_send",
            ));
        }
        self.permit = Permit::None;
        let call = self.producer.accept_sized_late(event);
        let shared = &self.producer.shared;
        shared.start_due();
        shared.set_clock();
        let waiting = Waiting::new(shared, call);
        let number = self.accepted;
        self.accepted += 1;
        self.pending.push(Numbered { number, waiting });
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if !self.pending.is_empty() {
            // Events go out without lingering while a flush waits for them.
            let producer = self.producer.clone();
            let flushing = self
                .flushing
                .get_or_insert_with(|| async move { producer.flushed().await }.boxed());
            if flushing.poll_unpin(cx).is_ready() {
                self.flushing = None;
            }
        }
        self.reap(cx)?;
        match self.pending.is_empty() {
            true => {
                self.flushing = None;
                Poll::Ready(Ok(()))
            }
            false => Poll::Pending,
        }
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        if matches!(self.permit, Permit::Taken) {
            self.producer.shared.with(|engine| engine.unreserve(1, 0));
        }
    }
}

impl std::fmt::Debug for EventSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventSink").finish_non_exhaustive()
    }
}
