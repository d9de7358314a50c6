//! Pipelines: events of a group, filtered, mapped and sent on.

mod forward;
mod partial;

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use aqueduct_core::{Event, Result, Router, SmallStr};
use aqueduct_routing::{Condition, Targets};

use self::forward::Forward;
use crate::client::{Client, RoutingProducer};
use crate::config::{PipelineConfig, PipelineTargets};
use crate::worker::{Outcome, Worker, WorkerHandle};

/// Changes an event on its way.
pub(crate) type Map = Arc<dyn Fn(Event) -> Result<Event> + Send + Sync>;

/// Sends the events of a group on to other streams.
///
/// An event is acknowledged once **all** of its targets have it. If some do not, it comes again after
/// the group's back-off and is sent to those alone, unchanged and with its id, so that a target can
/// tell a copy; a process that died in between sends it to all again. Events of a key stay in order,
/// as far as the route sends them to one stream. An event that is refused for its own sake, by the
/// route or by a target, is rejected: the group's `dead_letters` or `on_reject` decides.
///
/// It is one of `[pipelines.NAME]`, or made in code:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::router::{Condition, Route};
/// use aqueduct::{Client, Event, Start};
///
/// let client = Client::from_toml(r#"
///     [client]
///     source = "/shop"
///
///     [streams.orders]
///     url = "memory:"
///     [streams.paid]
///     url = "memory:"
///
///     [groups.copier]
///     stream = "orders"
///     on_reject = "stop"
/// "#).await?;
/// client.producer("orders").await?.send(Event::new("order.paid").with_key("alice")).await?;
///
/// let pipeline = client
///     .pipeline_of("copier", |_: &Event| Route::one("paid"))
///     .await?
///     .filter(Condition::kind("order.paid"))
///     .map(|event| Ok(event.with_subject("copied")));
/// let control = pipeline.control();
/// let running = tokio::spawn(pipeline.run_to_end());
///
/// let mut paid = client.reader("paid", Start::Earliest).await?;
/// let event = paid.next().await?.map(|read| read.event).expect("the stream goes on");
/// assert_eq!((event.key(), event.subject()), (Some("alice"), Some("copied")));
/// control.stop();
/// running.await.expect("it does not panic")?;
/// # Ok(()) }
/// ```
#[must_use = "a pipeline moves nothing until it is run"]
pub struct Pipeline {
    worker: Worker,
    forward: Forward,
}

impl Pipeline {
    /// Takes only the events for which the condition holds; the others are acknowledged. An event for
    /// which it cannot be told is rejected.
    pub fn filter(mut self, condition: Condition) -> Self {
        self.forward.filters.push(condition);
        self
    }

    /// Changes each event before it is routed. It should keep id and source, by which a target tells a
    /// copy. An event for which `map` fails is rejected with the error.
    pub fn map(mut self, map: impl Fn(Event) -> Result<Event> + Send + Sync + 'static) -> Self {
        self.forward.maps.push(Arc::new(map));
        self
    }

    /// Returns a handle to stop, pause and watch it while it runs.
    pub fn control(&self) -> WorkerHandle {
        self.worker.control()
    }

    /// Runs until SIGTERM or ctrl-c, then drains; see [`Worker::run`].
    ///
    /// # Errors
    /// As for [`Worker::run`].
    pub async fn run(self) -> Result<()> {
        self.into_worker().run().await
    }

    /// Runs until `stop` completes, then drains.
    ///
    /// # Errors
    /// As for [`Worker::run`].
    pub async fn run_until(self, stop: impl Future<Output = ()> + Send + 'static) -> Result<()> {
        self.into_worker().run_until(stop).await
    }

    /// Runs until its [`control`](Self::control) stops it, or the source ends.
    ///
    /// # Errors
    /// As for [`Worker::run`].
    pub async fn run_to_end(self) -> Result<()> {
        self.into_worker().run_to_end().await
    }

    fn into_worker(self) -> Worker {
        let forward = Arc::new(self.forward);
        self.worker.on("*", move |event: Event| {
            let forward = forward.clone();
            async move { forward.handle(event).await }
        })
    }
}

impl Client {
    /// Returns one of `[pipelines.NAME]`. Its targets are opened now, its source when it runs.
    ///
    /// # Errors
    /// `Config` for an unknown name; the errors of [`check`](Self::check) for the group; errors of
    /// opening a target.
    pub async fn pipeline(&self, name: &str) -> Result<Pipeline> {
        let config = self.pipeline_config(name)?.clone();
        self.check_one_pipeline(&config)?;
        let producer = self.pipeline_producer(&config).await?;
        let worker = self.worker(&config.group).await?;
        let mut pipeline = Pipeline {
            worker,
            forward: Forward::new(config.name.clone(), producer),
        };
        pipeline.forward.filters.extend(config.filter.clone());
        match config.sets_something() {
            true => Ok(pipeline.map(move |event| config.apply(event))),
            false => Ok(pipeline),
        }
    }

    /// Returns a pipeline from `group` to the streams that `router` names. They are opened when they
    /// are first named.
    ///
    /// # Errors
    /// `Config` for an unknown group; the errors of [`check`](Self::check) for it.
    pub async fn pipeline_of(
        &self,
        group: &str,
        router: impl Router + 'static,
    ) -> Result<Pipeline> {
        let worker = self.worker(group).await?;
        let name = SmallStr::from(group);
        let producer = RoutingProducer::new(self.clone(), name.clone(), Arc::new(router));
        Ok(Pipeline {
            worker,
            forward: Forward::new(name, producer),
        })
    }

    async fn pipeline_producer(&self, config: &PipelineConfig) -> Result<RoutingProducer> {
        match &config.to {
            PipelineTargets::Route(route) => self.router(route).await,
            PipelineTargets::To(targets) => {
                let router = ToAll(targets.clone());
                let name = config.name.clone();
                let producer = RoutingProducer::new(self.clone(), name, Arc::new(router));
                producer.open(targets.names().iter()).await?;
                Ok(producer)
            }
        }
    }
}

/// Routes every event to the same targets.
struct ToAll(Targets);

impl Router for ToAll {
    fn route<'a>(&'a self, _: &Event) -> aqueduct_core::Route<'a> {
        aqueduct_core::Route::all(self.0.names())
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline")
            .field("name", &self.forward.name)
            .finish_non_exhaustive()
    }
}

/// Decides what becomes of an event that was not sent for its own sake.
fn reject(reason: impl fmt::Display) -> Outcome {
    Outcome::reject(reason.to_string())
}
