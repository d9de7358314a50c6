use std::future::{Future as _, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Capabilities, Effect, Error, ErrorKind, Event, Instant, Lane, Layer, Receipt, Result, Runtime,
    SmallStr, panic_message,
};
use event_listener::{Event as Signal, Listener as _};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};

use crate::engine::{Engine, Request, WaiterId};
use crate::metrics::Meter;
use crate::options::ProducerOptions;

/// The number of requests that one task makes before it spawns another: a backend that completes
/// at once must not keep its caller from its own outcome.
const ROUNDS: usize = 16;

/// The state that the handles of one producer share.
pub(crate) struct Shared {
    pub(crate) producer: Arc<dyn aqueduct_core::BatchProducer>,
    pub(crate) runtime: Runtime,
    pub(crate) capabilities: Capabilities,
    pub(crate) source: Option<SmallStr>,
    /// Stamp each event when it is accepted, the outermost first.
    pub(crate) layers: Arc<[Arc<dyn Layer>]>,
    pub(crate) batch_events: usize,
    pub(crate) drain: std::time::Duration,
    request_timeout: std::time::Duration,
    engine: Mutex<Engine>,
    clock: Mutex<Clock>,
    earlier: Signal,
    meter: Meter,
}

/// The task that sleeps until the engine's next wake, if there is one.
#[derive(Default)]
struct Clock {
    set_for: Option<Instant>,
}

impl Shared {
    pub(crate) fn new(
        producer: Arc<dyn aqueduct_core::BatchProducer>,
        layers: Arc<[Arc<dyn Layer>]>,
        options: ProducerOptions,
        runtime: &Runtime,
    ) -> Arc<Self> {
        let mut options = options.workable();
        let window = producer.deduplicates();
        options.resend_unknown |= window.is_some_and(|window| window >= options.deadline);
        let capabilities = producer.capabilities();
        let engine = Engine::new(&options, capabilities.limits, runtime.random());
        Arc::new(Self {
            producer,
            runtime: runtime.clone(),
            capabilities,
            source: options.source,
            layers,
            batch_events: engine.batch_events().min(options.max_buffered_events),
            drain: options.drain,
            request_timeout: options.request_timeout,
            engine: Mutex::new(engine),
            clock: Mutex::default(),
            earlier: Signal::new(),
            meter: Meter::new(&options.name),
        })
    }

    /// Changes the engine, then wakes the tasks concerned.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Engine) -> T) -> T {
        let (answer, wakes) = {
            let mut engine = self.engine();
            let answer = change(&mut engine);
            (answer, engine.take_wakes())
        };
        wakes.into_iter().for_each(std::task::Waker::wake);
        answer
    }

    /// Changes the engine and makes the requests that have become due: the first one in this task as
    /// far as it gets without waiting. A request that has to wait continues in a task of its own,
    /// so that nothing depends on the caller being polled again.
    pub(crate) async fn drive<T>(self: &Arc<Self>, change: impl FnOnce(&mut Engine) -> T) -> T {
        let now = self.runtime.now();
        let lane_of = |event: &Event| self.lane(event);
        let (answer, next) = self.with(|engine| {
            let answer = change(engine);
            (answer, engine.next_request(now, &lane_of))
        });
        match next {
            None => self.set_clock(),
            Some(next) => {
                let mut run_all = self.run_all(next);
                let waits = poll_fn(|cx| Poll::Ready(run_all.as_mut().poll(cx).is_pending())).await;
                if waits {
                    self.runtime.spawn(run_all).detach();
                    self.start_due();
                    self.set_clock();
                }
            }
        }
        answer
    }

    /// Starts every request that is due, each in a task of its own.
    pub(crate) fn start_due(self: &Arc<Self>) {
        let now = self.runtime.now();
        let lane_of = |event: &Event| self.lane(event);
        while let Some(next) = self.with(|engine| engine.next_request(now, &lane_of)) {
            self.runtime.spawn(self.run_all(next)).detach();
        }
    }

    /// Boxed, since it is recursive.
    fn run_all(self: &Arc<Self>, next: Request) -> BoxFuture<'static, ()> {
        self.clone().run(next).boxed()
    }

    /// Makes a request, and those that become due when it ends.
    async fn run(self: Arc<Self>, first: Request) {
        let mut next = Some(first);
        let mut rounds = 0;
        while let Some(request) = next.take() {
            rounds += 1;
            if rounds > ROUNDS {
                self.runtime.spawn(self.run_all(request)).detach();
                break;
            }
            let mut guard = OutcomeGuard {
                shared: &self,
                id: request.id,
                count: request.events.len(),
                completed: false,
            };
            let started = self.runtime.now();
            let outcomes = self.attempt(&request.events).await;
            self.meter
                .request(request.events.len(), self.runtime.now().since(started));
            drop(request);
            next = guard.complete(outcomes);
            if next.is_some() {
                self.start_due();
            }
        }
        self.set_clock();
    }

    /// Makes one attempt, which always ends with outcomes.
    async fn attempt(&self, events: &[Event]) -> Vec<Result<Receipt>> {
        let request = AssertUnwindSafe(self.producer.send_batch(events)).catch_unwind();
        futures::pin_mut!(request);
        // No timer is set for a request that completes at once.
        let early = poll_fn(|cx: &mut Context<'_>| match request.as_mut().poll(cx) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => Poll::Ready(None),
        });
        let answer = match early.await {
            Some(answer) => answer,
            None => {
                let requests = self.producer.consecutive_requests(events).max(1);
                let limit = self.request_timeout * requests;
                match select(request, self.runtime.sleep(limit)).await {
                    Either::Left((answer, _)) => answer,
                    Either::Right(_) => {
                        let late = Error::new(
                            ErrorKind::TimedOut,
                            format!("no response within {limit:?}"),
                        );
                        return failed(events.len(), &late.with_effect(Effect::Unknown));
                    }
                }
            }
        };
        match answer {
            Ok(report) => report.into_outcomes(),
            Err(panic) => {
                let said = panic_message(&*panic);
                tracing::error!(panic = said, "a producer panicked while it sent");
                let error = Error::new(
                    ErrorKind::Internal,
                    format!("the producer panicked while it sent: {said}"),
                );
                failed(events.len(), &error.with_effect(Effect::Unknown))
            }
        }
    }

    /// Ensures that a task sleeps until the engine's next wake.
    pub(crate) fn set_clock(self: &Arc<Self>) {
        let wake = {
            let mut engine = self.engine();
            self.meter.read(&mut engine);
            engine.next_wake()
        };
        let Some(wake) = wake else { return };
        let mut clock = lock(&self.clock);
        match clock.set_for {
            Some(earlier) if earlier <= wake => {}
            Some(_) => {
                clock.set_for = Some(wake);
                self.earlier.notify(usize::MAX);
            }
            None => {
                clock.set_for = Some(wake);
                drop(clock);
                self.runtime.spawn(self.clone().keep_time()).detach();
            }
        }
    }

    async fn keep_time(self: Arc<Self>) {
        loop {
            let earlier = self.earlier.listen();
            let Some(wake) = lock(&self.clock).set_for else {
                return;
            };
            if wake > self.runtime.now() {
                select(self.runtime.sleep_until(wake), earlier).await;
                if wake > self.runtime.now() {
                    continue;
                }
            } else {
                earlier.discard();
            }
            self.start_due();
            let mut engine = self.engine();
            self.meter.read(&mut engine);
            let next = engine.next_wake();
            // Under the engine's lock, so that this task is never taken to be awake when it is not.
            lock(&self.clock).set_for = next;
            if next.is_none() {
                return;
            }
        }
    }

    /// Returns the lane of `event`. A backend that panics has one lane.
    fn lane(&self, event: &Event) -> Lane {
        std::panic::catch_unwind(AssertUnwindSafe(|| self.producer.lane(event))).unwrap_or_default()
    }

    fn engine(&self) -> MutexGuard<'_, Engine> {
        lock(&self.engine)
    }
}

/// Ensures that a request ends with outcomes, even if its task is dropped.
struct OutcomeGuard<'a> {
    shared: &'a Arc<Shared>,
    id: u64,
    count: usize,
    completed: bool,
}

impl OutcomeGuard<'_> {
    fn complete(&mut self, outcomes: Vec<Result<Receipt>>) -> Option<Request> {
        self.completed = true;
        let shared = self.shared;
        let now = shared.runtime.now();
        let lane_of = |event: &Event| shared.lane(event);
        shared.with(|engine| {
            engine.finished(now, self.id, outcomes, &lane_of);
            engine.next_request(now, &lane_of)
        })
    }
}

impl Drop for OutcomeGuard<'_> {
    fn drop(&mut self) {
        if !self.completed {
            let error = Error::new(
                ErrorKind::Closed,
                "the runtime ended while the event was sent",
            );
            let outcomes = failed(self.count, &error.with_effect(Effect::Unknown));
            let now = self.shared.runtime.now();
            let lane_of = |event: &Event| self.shared.lane(event);
            self.shared
                .with(|engine| engine.finished(now, self.id, outcomes, &lane_of));
        }
    }
}

/// Waits for a permit of the buffer, and gives up its place when dropped.
pub(crate) struct Reserving {
    shared: Arc<Shared>,
    waiter: Option<WaiterId>,
}

impl Reserving {
    pub(crate) fn new(shared: &Arc<Shared>, waiter: Option<WaiterId>) -> Self {
        Self {
            shared: shared.clone(),
            waiter,
        }
    }
}

impl Future for Reserving {
    type Output = Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(id) = self.waiter else {
            return Poll::Ready(Ok(()));
        };
        let answer = self
            .shared
            .with(|engine| engine.poll_reserve(id, cx.waker()));
        match answer {
            Ok(false) => Poll::Pending,
            Ok(true) => {
                self.waiter = None;
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                self.waiter = None;
                Poll::Ready(Err(error))
            }
        }
    }
}

impl Drop for Reserving {
    fn drop(&mut self) {
        if let Some(id) = self.waiter {
            self.shared.with(|engine| engine.cancel_reserve(id));
        }
    }
}

fn failed(count: usize, error: &Error) -> Vec<Result<Receipt>> {
    (0..count).map(|_| Err(error.clone())).collect()
}
