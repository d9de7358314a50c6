mod idle;
mod intake;
mod stopping;
mod tasks;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_core::{BatchConsumer, Delivery, Error, Instant, Result};
use futures::FutureExt as _;
use futures::future::{BoxFuture, Either, select};

pub(crate) use self::idle::Idle;
use self::idle::IdleTimer;
use self::intake::Intake;
use self::stopping::Stopping;
use self::tasks::{Ended, Tasks};
use super::control::{Control, Level};
use super::engine::Engine;
use super::pool::{Pool, Work};
use super::routes::Entry;

/// The time limit for giving up the partitions once the time to drain is over.
const LAST_CLOSE: Duration = Duration::from_secs(5);

/// The time limit for giving up the partitions at an abort.
const ABORT_CLOSE: Duration = Duration::from_secs(1);

/// The wait for cancelled handlers to end: one that blocks its thread cannot be cancelled.
const CANCEL: Duration = Duration::from_millis(500);

/// The loop between a consumer and the handlers.
pub(crate) struct Run {
    engine: Arc<Engine>,
    intake: Intake,
    pool: Pool,
    /// The maximum of deliveries in hand.
    limit: usize,
    tasks: Tasks,
    stopping: Stopping,
    idle: IdleTimer,
    timer: Option<(Instant, BoxFuture<'static, ()>)>,
}

enum Wake {
    Level(Level),
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
        let batches = engine.routes.entries().map(|entry| match entry {
            Entry::Batch(_, options) => options.max,
            Entry::Single(_) => 0,
        });
        let (largest, total) = batches.fold((0, 0_usize), |(largest, total), max| {
            (largest.max(max), total.saturating_add(max))
        });
        // Enough for every handler, and for a batch.
        let fetch = engine.policy.concurrency.max(largest);
        Self {
            intake: Intake::new(consumer, engine.runtime.clone(), fetch),
            pool: Pool::new(engine.clone()),
            limit: fetch.saturating_mul(2).saturating_add(total),
            tasks: Tasks::new(),
            stopping: Stopping::new(control),
            idle: IdleTimer::new(idle, engine.runtime.now()),
            timer: None,
            engine,
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
                Wake::Level(Level::Abort) => return self.finish(Level::Abort).await,
                Wake::Level(_) => self.begin_drain(),
                Wake::Done(ended) => self.done(ended),
                Wake::Received(Ok(deliveries)) => self.received(deliveries),
                Wake::Received(Err(error)) => self.receive_failed(error),
                Wake::Drained(Ok(())) => {}
                Wake::Drained(Err(error)) => {
                    tracing::warn!(group = %self.engine.group, %error, "draining failed");
                }
                Wake::Timer => {
                    let now = self.engine.runtime.now();
                    if self.stopping.ends().is_some_and(|ends| ends <= now) {
                        let left = self.tasks.len();
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
        let stopping = self.stopping.has_begun();
        self.pool.flush(now, self.intake.has_ended() && !stopping);
        while !stopping && self.tasks.len() < self.engine.policy.concurrency {
            let Some(work) = self.pool.next() else {
                break;
            };
            self.start(work);
        }
        if !stopping && !self.pool.has_waiting() && self.pool.in_hand() < self.limit {
            self.intake.begin();
        }
        self.engine.counters.in_hand.set(self.pool.in_hand() as f64);
    }

    fn is_done(&self) -> bool {
        match self.stopping.has_begun() {
            true => self.tasks.is_empty() && !self.stopping.is_draining(),
            false => self.intake.has_ended() && self.tasks.is_empty() && self.pool.in_hand() == 0,
        }
    }

    fn start(&mut self, work: Work) {
        let (engine, control) = (self.engine.clone(), self.stopping.control().clone());
        let Work {
            entry,
            deliveries,
            lanes,
            is_batch,
        } = work;
        let ends = (deliveries.len(), lanes);
        self.tasks.spawn(&self.engine.runtime, ends, async move {
            match is_batch {
                true => engine.handle_batch(entry, deliveries, &control).await,
                false => engine.handle_run(entry, deliveries, &control).await,
            }
        });
    }

    fn received(&mut self, mut deliveries: Vec<Delivery>) {
        self.intake.received(&mut deliveries);
        if !deliveries.is_empty() {
            let now = self.engine.runtime.now();
            self.idle.event(now);
            self.pool.take(deliveries, now);
        }
    }

    fn receive_failed(&mut self, error: Error) {
        let told = error.clone();
        match self.intake.failed(error) {
            Ok(()) => {
                tracing::warn!(group = %self.engine.group, error = %told, "receiving failed and is retried");
            }
            Err(error) => {
                let place = format!("groups.{}", self.engine.group);
                self.stopping.control().fail(error.context(place));
            }
        }
    }

    fn done(&mut self, ended: Ended) {
        match ended.unstarted {
            Ok(unstarted) => self.tasks.keep(unstarted),
            Err(error) => {
                tracing::error!(group = %self.engine.group, %error, "a task of the worker ended");
            }
        }
        let now = self.engine.runtime.now();
        self.idle.event(now);
        self.pool.done(ended.count, ended.lanes, now);
    }

    fn begin_drain(&mut self) {
        self.intake.stop();
        let ends = self.engine.runtime.now() + self.engine.policy.drain;
        self.stopping.begin(self.intake.consumer(), ends);
        tracing::info!(group = %self.engine.group, running = self.tasks.len(), "draining");
    }

    fn tick(&mut self, now: Instant) {
        if self.pool.in_hand() > 0 {
            return;
        }
        if let Some(action) = self.idle.tick(now) {
            let none = (0, Vec::new());
            let action = action.map(|()| Vec::new());
            self.tasks.spawn(&self.engine.runtime, none, action);
        }
    }

    fn poll_wake(&mut self, cx: &mut Context<'_>) -> Poll<Wake> {
        if let Poll::Ready(level) = self.stopping.poll_level(cx) {
            return Poll::Ready(Wake::Level(level));
        }
        if let Poll::Ready(ended) = self.tasks.poll(cx) {
            return Poll::Ready(Wake::Done(ended));
        }
        if let Poll::Ready(received) = self.intake.poll(cx) {
            return Poll::Ready(Wake::Received(received));
        }
        if let Poll::Ready(drained) = self.stopping.poll_drained(cx) {
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
        let next = self.stopping.ends().or_else(|| {
            let idle = self.idle.due().filter(|_| self.pool.in_hand() == 0);
            [self.pool.due(), idle].into_iter().flatten().min()
        });
        if self.timer.as_ref().map(|(at, _)| *at) != next {
            self.timer = next.map(|at| (at, self.engine.runtime.sleep_until(at)));
        }
    }

    /// Cancels what runs, gives back what was not begun, commits and gives up the partitions.
    async fn finish(mut self, level: Level) -> Result<()> {
        self.intake.stop();
        let engine = self.engine;
        let runtime = &engine.runtime;
        let left = self
            .stopping
            .left(level, runtime.now(), engine.policy.drain);
        let (unstarted, ended) = self.tasks.cancel();
        let unstarted: Vec<_> = unstarted.into_iter().chain(self.pool.drain()).collect();
        let (consumer, control) = (self.intake.consumer(), self.stopping.control());
        let close = async {
            // Cancelled deliveries are given back before the partitions are: otherwise the next
            // owner takes them for events that this process died of (rule 5).
            let cancelled = runtime.timeout(CANCEL, "cancelling handlers", ended);
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
