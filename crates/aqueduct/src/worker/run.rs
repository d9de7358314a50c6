use std::convert::Infallible;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_core::{
    Abandoned, Backoff, BatchConsumer, Delivery, Error, Instant, Result, Retry, Task,
};
use futures::FutureExt as _;
use futures::channel::mpsc;
use futures::future::{BoxFuture, Either, select};
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::control::{Control, Level};
use super::engine::Engine;
use super::pool::{LaneKey, Pool, Work};
use super::routes::Entry;

/// The wait between failed receives: short, but not a hot loop.
const RECEIVE_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// The time limit for giving up the partitions once the time to drain is over.
const LAST_CLOSE: Duration = Duration::from_secs(5);

/// The time limit for giving up the partitions at an abort.
const ABORT_CLOSE: Duration = Duration::from_secs(1);

/// The wait for cancelled handlers to end: one that blocks its thread cannot be cancelled.
const CANCEL: Duration = Duration::from_millis(500);

/// The action of a worker while it receives nothing.
#[derive(Clone)]
pub(crate) struct Idle {
    pub(crate) every: Duration,
    pub(crate) tick: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// The loop between a consumer and the handlers.
pub(crate) struct Run {
    engine: Arc<Engine>,
    consumer: Arc<dyn BatchConsumer>,
    control: Arc<Control>,
    idle: Option<Idle>,
    pool: Pool,
    running: FuturesUnordered<Running>,
    receiving: Option<BoxFuture<'static, Result<Vec<Delivery>>>>,
    draining: Option<BoxFuture<'static, Result<()>>>,
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
    seen: Level,
    ended: bool,
    failures: u32,
    /// The maximum of one receive: enough for every handler, and for a batch.
    fetch: usize,
    /// The maximum of deliveries in hand.
    limit: usize,
    last_event: Instant,
    drain_ends: Option<Instant>,
    unstarted: Vec<Delivery>,
    alive: Alive,
}

/// Knows whether tasks of handlers are left.
struct Alive {
    /// A clone is in each task.
    task: mpsc::Sender<Infallible>,
    ended: mpsc::Receiver<Infallible>,
}

impl Alive {
    fn new() -> Self {
        let (task, ended) = mpsc::channel(0);
        Self { task, ended }
    }

    /// Waits until no task is left.
    async fn ended(self) {
        let Self { task, mut ended } = self;
        drop(task);
        ended.next().await;
    }
}

/// The number of deliveries of a task, their lanes, and those that it did not begin.
type Ended = (usize, Vec<LaneKey>, Result<Vec<Delivery>>);

type Running = BoxFuture<'static, Ended>;

enum Wake {
    Control,
    Done(Ended),
    Received(Result<Vec<Delivery>>),
    Drained(Result<()>),
    Timer,
}

impl Run {
    pub(crate) fn new(
        engine: Arc<Engine>,
        consumer: Arc<dyn BatchConsumer>,
        control: Arc<Control>,
        idle: Option<Idle>,
    ) -> Self {
        let concurrency = engine.policy.concurrency;
        let batches = engine.routes.entries().map(|entry| match entry {
            Entry::Batch(_, options) => options.max,
            Entry::Single(_) => 0,
        });
        let (largest, total) = batches.fold((0, 0_usize), |(largest, total), max| {
            (largest.max(max), total.saturating_add(max))
        });
        let fetch = concurrency.max(largest);
        Self {
            pool: Pool::new(engine.clone()),
            running: FuturesUnordered::new(),
            receiving: None,
            draining: None,
            timer: None,
            seen: Level::Run,
            ended: false,
            failures: 0,
            fetch,
            limit: fetch.saturating_mul(2).saturating_add(total),
            last_event: engine.runtime.now(),
            drain_ends: None,
            unstarted: Vec::new(),
            alive: Alive::new(),
            engine,
            consumer,
            control,
            idle,
        }
    }

    /// Runs until the consumer ends or the control stops it.
    pub(crate) async fn run(mut self) -> Result<()> {
        loop {
            self.advance();
            if self.is_done() {
                return self.finish(Level::Drain).await;
            }
            match poll_fn(|cx| self.poll_wake(cx)).await {
                Wake::Control => {
                    self.seen = self.control.level();
                    if self.seen == Level::Abort {
                        return self.finish(Level::Abort).await;
                    }
                    self.begin_drain();
                }
                Wake::Done(ended) => self.done(ended),
                Wake::Received(Ok(deliveries)) => self.received(deliveries),
                Wake::Received(Err(error)) => self.receive_failed(error),
                Wake::Drained(Ok(())) => {}
                Wake::Drained(Err(error)) => {
                    tracing::warn!(group = %self.engine.group, %error, "draining failed");
                }
                Wake::Timer => {
                    let now = self.engine.runtime.now();
                    if self.drain_ends.is_some_and(|ends| ends <= now) {
                        let left = self.running.len();
                        tracing::warn!(group = %self.engine.group, left, "handlers are cancelled: `drain` is over; their events come again without a failed attempt");
                        return self.finish(Level::Abort).await;
                    }
                    self.tick(now);
                }
            }
        }
    }

    /// Starts what can be started, and receives if there is capacity.
    fn advance(&mut self) {
        let now = self.engine.runtime.now();
        let draining = self.seen != Level::Run;
        self.pool.flush(now, self.ended && !draining);
        while !draining && self.running.len() < self.engine.policy.concurrency {
            let Some(work) = self.pool.next() else {
                break;
            };
            self.start(work);
        }
        let has_capacity = !self.pool.has_waiting() && self.pool.in_hand() < self.limit;
        if !draining && !self.ended && self.receiving.is_none() && has_capacity {
            self.receiving = Some(self.receive(Duration::ZERO));
        }
        self.engine.counters.in_hand.set(self.pool.in_hand() as f64);
    }

    fn is_done(&self) -> bool {
        match self.seen {
            Level::Run => self.ended && self.running.is_empty() && self.pool.in_hand() == 0,
            _ => self.running.is_empty() && self.draining.is_none(),
        }
    }

    fn start(&mut self, work: Work) {
        let (engine, control) = (self.engine.clone(), self.control.clone());
        let Work {
            entry,
            deliveries,
            lanes,
            is_batch,
        } = work;
        let count = deliveries.len();
        let alive = self.alive.task.clone();
        let task: Task<Vec<Delivery>> = self.engine.runtime.spawn(async move {
            let _alive = alive;
            match is_batch {
                true => engine.handle_batch(entry, deliveries, &control).await,
                false => engine.handle_run(entry, deliveries, &control).await,
            }
        });
        let running = task.map(move |unstarted| (count, lanes, unstarted));
        self.running.push(running.boxed());
    }

    fn receive(&self, delay: Duration) -> BoxFuture<'static, Result<Vec<Delivery>>> {
        let (consumer, runtime, max) = (
            self.consumer.clone(),
            self.engine.runtime.clone(),
            self.fetch,
        );
        async move {
            if !delay.is_zero() {
                runtime.sleep(delay).await;
            }
            consumer.receive_batch(max).await
        }
        .boxed()
    }

    fn received(&mut self, mut deliveries: Vec<Delivery>) {
        self.receiving = None;
        self.failures = 0;
        if deliveries.is_empty() {
            self.ended = true;
            return;
        }
        let now = self.engine.runtime.now();
        self.last_event = now;
        for delivery in &mut deliveries {
            // A handler that the worker cancels has not failed (rule 5).
            delivery.drop_as(Abandoned::Cancelled);
        }
        self.pool.take(deliveries, now);
    }

    fn receive_failed(&mut self, error: Error) {
        self.receiving = None;
        if !error.is_retryable() {
            let place = format!("groups.{}", self.engine.group);
            self.control.fail(error.context(place));
            return;
        }
        self.failures = self.failures.saturating_add(1);
        tracing::warn!(group = %self.engine.group, %error, "receiving failed and is retried");
        let delay = match error.retry() {
            Retry::After(hint) => hint,
            _ => RECEIVE_AGAIN.delay(self.failures, &self.engine.runtime),
        };
        self.receiving = Some(self.receive(delay.max(Duration::from_millis(1))));
    }

    fn done(&mut self, (count, lanes, unstarted): Ended) {
        match unstarted {
            Ok(unstarted) => self.unstarted.extend(unstarted),
            Err(error) => {
                tracing::error!(group = %self.engine.group, %error, "a task of the worker ended");
            }
        }
        self.last_event = self.engine.runtime.now();
        self.pool.done(count, lanes, self.last_event);
    }

    fn begin_drain(&mut self) {
        self.receiving = None;
        let consumer = self.consumer.clone();
        self.draining = Some(async move { consumer.drain().await }.boxed());
        self.drain_ends = Some(self.engine.runtime.now() + self.engine.policy.drain);
        tracing::info!(group = %self.engine.group, running = self.running.len(), "draining");
    }

    fn tick(&mut self, now: Instant) {
        let Some(idle) = &self.idle else {
            return;
        };
        if self.pool.in_hand() > 0 || now < self.last_event + idle.every {
            return;
        }
        self.last_event = now;
        let task = self.engine.runtime.spawn((idle.tick)());
        let running = task.map(|ended| (0, Vec::new(), ended.map(|()| Vec::new())));
        self.running.push(running.boxed());
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        self.control.register(cx.waker());
        if self.control.level() > self.seen {
            return Poll::Ready(Wake::Control);
        }
        if let Poll::Ready(Some(ended)) = self.running.poll_next_unpin(cx) {
            return Poll::Ready(Wake::Done(ended));
        }
        if let Some(Poll::Ready(received)) = self.receiving.as_mut().map(|it| it.poll_unpin(cx)) {
            return Poll::Ready(Wake::Received(received));
        }
        if let Some(Poll::Ready(drained)) = self.draining.as_mut().map(|it| it.poll_unpin(cx)) {
            self.draining = None;
            return Poll::Ready(Wake::Drained(drained));
        }
        self.set_timer();
        match self.timer.as_mut().map(|(_, sleep)| sleep.poll_unpin(cx)) {
            Some(Poll::Ready(())) => {
                self.timer = None;
                Poll::Ready(Wake::Timer)
            }
            _ => Poll::Pending,
        }
    }

    fn set_timer(&mut self) {
        let idle = self.idle.as_ref().filter(|_| self.pool.in_hand() == 0);
        let next = match self.drain_ends {
            Some(ends) => Some(ends),
            None => {
                let idle = idle.map(|idle| self.last_event + idle.every);
                [self.pool.due(), idle].into_iter().flatten().min()
            }
        };
        if self.timer.as_ref().map(|(at, _)| *at) != next {
            self.timer = next.map(|at| (at, self.engine.runtime.sleep_until(at)));
        }
    }

    /// Cancels what runs, gives back what was not begun, commits and gives up the partitions.
    async fn finish(mut self, level: Level) -> Result<()> {
        self.receiving = None;
        self.draining = None;
        drop(std::mem::take(&mut self.running));
        let unstarted = std::mem::take(&mut self.unstarted);
        let unstarted: Vec<_> = unstarted.into_iter().chain(self.pool.drain()).collect();
        let (engine, consumer, control) = (self.engine, self.consumer, self.control);
        let runtime = engine.runtime.clone();
        let left = match (level, self.drain_ends) {
            (Level::Drain, Some(ends)) => ends.since(runtime.now()),
            (Level::Drain, None) => engine.policy.drain,
            _ => Duration::ZERO,
        };
        let alive = self.alive;
        let close = async {
            // Cancelled deliveries are given back before the partitions are: otherwise the next
            // owner takes them for events that this process died of (rule 5).
            let cancelled = runtime.timeout(CANCEL, "cancelling handlers", alive.ended());
            if cancelled.await.is_err() {
                tracing::warn!(group = %engine.group, "a cancelled handler does not end: it blocks its thread");
            }
            for delivery in unstarted {
                engine.give_back(delivery).await;
            }
            consumer.close().await
        };
        let close = runtime.timeout(left.max(LAST_CLOSE), "closing the consumer", close);
        futures::pin_mut!(close);
        // An abort shortens the close and does not skip it: a lease that was not given up looks
        // like a crash to its next owner.
        let closed = match select(control.aborted(), close).await {
            Either::Right((closed, _)) => closed.and_then(|closed| closed),
            Either::Left(((), close)) => {
                let closed = runtime.timeout(ABORT_CLOSE, "closing the consumer", close);
                if let Err(error) = closed.await.and_then(|it| it).and_then(|it| it) {
                    tracing::warn!(group = %engine.group, %error, "the partitions are not given up");
                }
                Ok(())
            }
        };
        engine.counters.in_hand.set(0.0);
        match control.take_failure() {
            Some(error) => Err(error),
            None => closed,
        }
    }
}
