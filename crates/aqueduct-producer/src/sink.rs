use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use aqueduct_core::{Error, Event, Result};
use futures::{FutureExt as _, Sink, Stream, StreamExt as _, TryStreamExt as _, future::BoxFuture};

use crate::Producer;
use crate::driver::Reserving;

impl Producer {
    /// Sends everything that `events` yields, and waits for the outcomes in order; as many events
    /// may be under way as one request takes. Answers how many were stored.
    ///
    /// # Errors
    /// The first failure; events accepted before it may still be stored, later ones are not taken
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

    /// A sink of events: it takes them while there is room in the buffer, `flush` waits for their
    /// outcomes and answers the first failure.
    pub fn sink(&self) -> EventSink {
        EventSink {
            dispatch: self.clone(),
            room: Room::None,
            flushing: None,
        }
    }
}

/// Takes events as a [`Sink`].
///
/// Failures come with the next `flush` of this sink, or of any handle of its dispatch. Closing it
/// flushes; the dispatch stays open.
pub struct EventSink {
    dispatch: Producer,
    room: Room,
    flushing: Option<BoxFuture<'static, Result<()>>>,
}

enum Room {
    None,
    Asked(Reserving),
    Taken,
}

impl Sink<Event> for EventSink {
    type Error = Error;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if matches!(self.room, Room::None) {
            let shared = &self.dispatch.shared;
            // The size is not known yet: the buffer may be over its bytes by this one event.
            let waiter = shared.with(|engine| engine.reserve(1, 0))?;
            self.room = Room::Asked(Reserving::new(&self.dispatch.shared, waiter));
        }
        if let Room::Asked(asked) = &mut self.room {
            match std::task::ready!(asked.poll_unpin(cx)) {
                Ok(()) => self.room = Room::Taken,
                Err(error) => {
                    self.room = Room::None;
                    return Poll::Ready(Err(error));
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn start_send(mut self: Pin<&mut Self>, event: Event) -> Result<()> {
        if !matches!(self.room, Room::Taken) {
            return Err(Error::new(
                aqueduct_core::ErrorKind::Invalid,
                "an event was given to a sink that was not ready",
            ));
        }
        self.room = Room::None;
        let shared = Arc::clone(&self.dispatch.shared);
        let call = self.dispatch.accept_sized_late(event);
        shared.with(|engine| engine.abandon(call));
        shared.start_due();
        shared.set_clock();
        Ok(())
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let dispatch = self.dispatch.clone();
        let flushing = self
            .flushing
            .get_or_insert_with(|| async move { dispatch.flush().await }.boxed());
        let done = std::task::ready!(flushing.poll_unpin(cx));
        self.flushing = None;
        Poll::Ready(done)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        self.poll_flush(cx)
    }
}

impl Drop for EventSink {
    fn drop(&mut self) {
        if matches!(self.room, Room::Taken) {
            self.dispatch.shared.with(|engine| engine.unreserve(1, 0));
        }
    }
}

impl std::fmt::Debug for EventSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EventSink")
    }
}
