//! Handlers by event type, and the loop between them and a group.

mod batch;
mod control;
mod direct;
mod engine;
mod extract;
mod handle;
mod handler;
mod metrics;
mod outcome;
mod pool;
mod routes;
mod run;
mod settle;
mod signals;
mod surround;
mod unhandled;

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Error, Event, RebalanceListener, Result};
use futures::FutureExt as _;
use futures::future::{Either, select};

pub use self::batch::{Batch, BatchHandler, BatchOptions, IntoOutcomes};
use self::control::{Control, Level};
use self::engine::{Engine, Policy};
pub(crate) use self::extract::Claimant;
pub use self::extract::{
    Completion, Context, Extract, ExtractShared, Json, Key, Meta, Setup, State,
};
pub use self::handle::{Problem, WorkerHandle, WorkerHealth};
pub use self::handler::{Handler, TimedHandler, within};
use self::metrics::Counters;
pub use self::outcome::{HandlerError, IntoOutcome, Outcome, Permanent};
use self::routes::{Entry, Routes};
use self::run::{Idle, Run};
pub(crate) use self::surround::Surround;
use crate::client::Client;
use crate::config::{GroupConfig, IdempotencyPlace};

/// The default time-out of a handler: longer than any normal call, short enough that a hang is noticed.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Handles the events of one group.
///
/// Handlers are async functions, found by event type; the longest match wins. Events of one key are
/// handled one behind the other, different keys side by side, up to the group's `concurrency`. A
/// handler returns an [`Outcome`]; a panic or a time-out is a failed attempt; data that does not
/// decode is a rejection.
///
/// An event of a type that no handler takes is acknowledged and counted; a record that is not a
/// CloudEvent ([`Event::FOREIGN`](crate::Event)) and that no handler takes is rejected, warned of
/// and reported as a [`Problem`]. The group's option `unhandled` says `ack` or `reject` for both. A
/// damaged record, or an invalid CloudEvent ([`Event::DAMAGED`](crate::Event)), is rejected unless
/// a handler names that type.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Json, State};
///
/// let client = Client::from_toml(r#"
///     [streams.orders]
///     url = "memory:"
///
///     [groups.billing]
///     stream = "orders"
///     on_reject = "stop"
/// "#).await?;
/// let worker = client
///     .worker("billing")
///     .await?
///     .state("EUR")
///     .on("order.placed", |Json(total): Json<u32>, State(currency): State<&'static str>| async move {
///         println!("charge {total} {currency}");
///     });
/// let outcomes = worker.handle(vec![Event::json("order.placed", &5)?]).await?;
/// assert!(outcomes[0].is_ack());
/// # Ok(()) }
/// ```
#[must_use = "a worker handles nothing until it is run"]
pub struct Worker {
    client: Client,
    group: GroupConfig,
    routes: Arc<Routes>,
    setup: Setup,
    idle: Option<Idle>,
    rebalance_listener: Option<Arc<dyn RebalanceListener>>,
    control: Arc<Control>,
    refused: Option<Error>,
}

impl Worker {
    pub(crate) fn new(client: Client, group: GroupConfig) -> Self {
        let mut setup = Setup::default();
        setup.deduplicates = group.idempotency != IdempotencyPlace::Off;
        Self {
            client,
            group,
            routes: Arc::default(),
            setup,
            idle: None,
            rebalance_listener: None,
            control: Arc::default(),
            refused: None,
        }
    }

    /// Handles events of that type: `order.placed`, a prefix such as `order.*`, or `*` for all that
    /// nothing else takes. Two handlers of one pattern are refused when the worker starts.
    pub fn on<H, Args>(self, pattern: &str, handler: H) -> Self
    where
        H: Handler<Args>,
        Args: 'static,
    {
        let handler = handler::Erased::<H, Args>(handler, PhantomData);
        self.add(pattern, Entry::Single(Arc::new(handler)))
    }

    /// Handles events of that type several at a time; see [`on`](Self::on) for the pattern.
    pub fn on_batch<H, Args>(self, pattern: &str, options: BatchOptions, handler: H) -> Self
    where
        H: BatchHandler<Args>,
        Args: 'static,
    {
        let handler = batch::ErasedBatch::<H, Args>(handler, PhantomData);
        let this = match options.validate(pattern) {
            Ok(()) => self,
            Err(error) => self.refuse(error),
        };
        this.add(pattern, Entry::Batch(Arc::new(handler), options))
    }

    /// Calls `tick` each time nothing was received or handled for `every`, which must be greater
    /// than zero.
    pub fn on_idle<F, Fut>(mut self, every: Duration, tick: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        if every.is_zero() {
            return self.refuse(Error::config(
                "`on_idle` interval must be greater than zero",
            ));
        }
        self.idle = Some(Idle {
            every,
            tick: Arc::new(move || tick().boxed()),
        });
        self
    }

    /// Adds a state, which handlers take as [`State<T>`].
    pub fn state<T: Clone + Send + Sync + 'static>(mut self, state: T) -> Self {
        match self.setup.insert(state) {
            Ok(()) => self,
            Err(error) => self.refuse(error),
        }
    }

    /// Sets a listener that is told when partitions are assigned and revoked.
    pub fn rebalance_listener(
        mut self,
        rebalance_listener: impl RebalanceListener + 'static,
    ) -> Self {
        self.rebalance_listener = Some(Arc::new(rebalance_listener));
        self
    }

    /// Returns a handle to stop, pause and watch the worker while it runs.
    pub fn control(&self) -> WorkerHandle {
        WorkerHandle::new(self.control.clone(), self.client.runtime().clone())
    }

    /// Runs until SIGTERM or ctrl-c, then drains: stops fetching, finishes running handlers within
    /// the group's `drain`, commits, and gives up its partitions. Handlers that take longer are
    /// cancelled, and their events come again without a failed attempt. A second signal cancels
    /// them at once, and gives up the partitions within a second; nothing is lost.
    ///
    /// # Errors
    /// `Config` if the handlers and the group's table do not fit together; the error of opening the
    /// group; the error that stopped the worker.
    pub async fn run(self) -> Result<()> {
        let mut signals = signals::Signals::new()?;
        let control = self.control.clone();
        let watch = self.client.runtime().spawn(async move {
            signals.next().await;
            control.raise(Level::Drain);
            signals.next().await;
            control.raise(Level::Abort);
        });
        let ended = self.run_to_end().await;
        drop(watch);
        ended
    }

    /// Runs until `stop` completes, then drains as [`run`](Self::run) does.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        let control = self.control.clone();
        let watch = self.client.runtime().spawn(async move {
            stop.await;
            control.raise(Level::Drain);
        });
        let ended = self.run_to_end().await;
        drop(watch);
        ended
    }

    /// Runs until its [`control`](Self::control) stops it, or the consumer ends.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub async fn run_to_end(self) -> Result<()> {
        let control = self.control.clone();
        let ended = self.open_and_run().await;
        control.ended();
        ended
    }

    /// Handles events that were received elsewhere and returns one outcome per event, in order: for
    /// unit tests, functions that a cloud calls, and push endpoints.
    ///
    /// Events of one key are handled in order; after a retry, the later events of its key are not
    /// handled and are retries too. Nothing is connected, deduplicated, redelivered or
    /// dead-lettered: that is left to the caller's own queue.
    ///
    /// # Errors
    /// `Config`, if the handlers and the group's table do not fit together.
    pub async fn handle(&self, events: Vec<Event>) -> Result<Vec<Outcome>> {
        self.check()?;
        let engine = self.engine(self.setup.clone());
        Ok(direct::handle(&engine, events).await)
    }

    async fn open_and_run(self) -> Result<()> {
        self.check()?;
        self.warn_of_cancellation();
        // A service that does not respond must not keep the process from handling its signals.
        let opening = self
            .client
            .open_group(&self.group, self.rebalance_listener.clone());
        futures::pin_mut!(opening);
        let opened = match select(self.control.stopped(), opening).await {
            Either::Left(_) => return Ok(()),
            Either::Right((opened, _)) => opened?,
        };
        let mut setup = self.setup.clone();
        setup.claimants = opened.claimants;
        let engine = Arc::new(self.engine(setup));
        self.control.opened(&opened.consumer);
        Run::new(engine, opened.consumer, self.control, self.idle)
            .run()
            .await
    }

    /// Logs at the start what could surprise at a deployment.
    fn warn_of_cancellation(&self) {
        // The default says nothing of how long the handlers really take.
        let Some(timeout) = self.group.timeout else {
            return;
        };
        let drain = self.group.options.drain;
        if timeout > drain {
            tracing::warn!(
                group = %self.group.name, ?timeout, ?drain,
                "groups.{}.timeout is longer than `drain`: a handler that runs longer than `drain` at a \
                 shutdown is cancelled, and its event is handled again; raise `drain` or lower `timeout`",
                self.group.name,
            );
        }
    }

    fn check(&self) -> Result<()> {
        if let Some(refused) = &self.refused {
            return Err(refused.clone());
        }
        let place = |error: Error| error.context(format_args!("the worker of {}", self.group.name));
        if self.routes.is_empty() {
            return Err(place(Error::config(
                "it has no handlers: add one with `.on(...)`",
            )));
        }
        self.routes.check(&self.setup).map_err(place)
    }

    fn engine(&self, setup: Setup) -> Engine {
        let group = self.group.options.group.clone();
        Engine {
            counters: Counters::new(&group),
            group,
            routes: self.routes.clone(),
            surround: self.client.surround(&self.group),
            setup,
            policy: Policy {
                timeout: self.group.timeout.unwrap_or(TIMEOUT),
                unhandled: self.group.unhandled,
                concurrency: self.group.concurrency,
                drain: self.group.options.drain,
            },
            runtime: self.client.runtime().clone(),
            foreign: self.control.foreign.clone(),
        }
    }

    fn add(mut self, pattern: &str, entry: Entry) -> Self {
        match Arc::make_mut(&mut self.routes).add(pattern, entry) {
            Ok(()) => self,
            Err(error) => self.refuse(error),
        }
    }

    /// Keeps the first error, for when the worker starts: registering stays one chain of calls.
    fn refuse(mut self, error: Error) -> Self {
        self.refused
            .get_or_insert(error.context(format_args!("the worker of {}", self.group.name)));
        self
    }
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("group", &self.group.name)
            .finish_non_exhaustive()
    }
}
