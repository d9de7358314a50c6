//! The client: the configuration, and the resources opened by it.

mod builder;
mod check;
mod consumer;
mod dead_letters;
mod group;
mod layers;
mod lazy;
mod merged;
mod pipelines;
mod reader;
mod references;
mod resource;
mod router;
mod routing_failure;
mod schemes;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use aqueduct_core::sync::lock;
use aqueduct_core::{Admin, Error, ErrorKind, Result, Router, Runtime, SmallStr, Start};
use aqueduct_group::{ByteBudget, IsolationGate};
use aqueduct_producer::Producer;

pub use self::builder::ClientBuilder;
pub use self::consumer::Consumer;
use self::layers::Layers;
pub use self::reader::{ReadEvent, Reader};
use self::resource::NamedResource;
pub(crate) use self::router::is_of_the_event;
pub use self::router::{Routed, RoutingProducer};
pub use self::routing_failure::RoutingFailure;
use crate::config::{Config, GroupConfig, PipelineConfig, TargetKind, list};
use crate::worker::Worker;

/// The entry point of an application to its streams, by the names of its configuration.
///
/// Building one reads and checks the configuration and opens nothing; each stream and store is
/// opened once, at its first use, and shared. Clones are the same client.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Start};
///
/// let client = Client::from_toml(r#"
///     [client]
///     source = "/shop"
///
///     [streams.orders]
///     url = "memory:"
/// "#).await?;
/// client.producer("orders").await?.send(Event::new("order.placed")).await?;
///
/// let mut reader = client.reader("orders", Start::Earliest).await?;
/// let read = reader.next().await?.expect("an event");
/// assert_eq!(read.event.source(), "/shop");
/// client.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: Config,
    runtime: Runtime,
    resources: BTreeMap<SmallStr, NamedResource>,
    layers: Layers,
    routers: BTreeMap<SmallStr, Arc<dyn Router>>,
    budget: Option<Arc<ByteBudget>>,
    isolation: Arc<IsolationGate>,
    consumers: Mutex<Vec<Weak<dyn aqueduct_core::BatchConsumer>>>,
}

impl Client {
    /// Creates a client from a configuration file, on the current Tokio runtime. Relative paths
    /// start at its folder.
    ///
    /// # Errors
    /// `NotFound`, or `Config` with the key, the text as written and the valid choices.
    pub async fn from_file(path: impl AsRef<Path>) -> Result<Self> {
        Self::builder().file(path).build().await
    }

    /// Creates a client from a configuration in TOML, on the current Tokio runtime. Relative paths
    /// start at the process's folder.
    ///
    /// # Errors
    /// `Config`, with the key, the text as written and the valid choices.
    pub async fn from_toml(text: &str) -> Result<Self> {
        Self::builder().toml(text).build().await
    }

    /// Returns a builder, to configure the client in code.
    pub fn builder() -> ClientBuilder {
        ClientBuilder::default()
    }

    /// Checks, without connecting, that every group can work: that it can do what it `requires`,
    /// that rejected events have a place to go, and that streams, leases, idempotency records and
    /// dead letters do not conflict.
    ///
    /// Facts known only to a service are verified when the group is opened.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
    /// use aqueduct::Client;
    ///
    /// let client = Client::from_toml(r#"
    ///     [streams.orders]
    ///     url = "memory:"
    ///
    ///     [groups.billing]
    ///     stream = "orders"
    ///     on_reject = "stop"
    ///     requires = ["key_order", "durable"]
    /// "#).await?;
    /// let error = client.check().unwrap_err();
    /// assert!(error.to_string().contains("durable"));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// `Config` or `Unsupported`, naming each group, key and reason.
    pub fn check(&self) -> Result<()> {
        let mut errors = self.check_shared_settings();
        for group in self.0.config.groups.values() {
            errors.extend(self.check_group(group));
        }
        for pipeline in self.0.config.pipelines.values() {
            errors.extend(self.check_pipeline(pipeline));
        }
        check::together(errors)
    }

    /// Returns the producer of a stream.
    ///
    /// # Errors
    /// `Config` for an unknown name; errors of opening it.
    pub async fn producer(&self, stream: &str) -> Result<Producer> {
        self.stream(stream)?.producer(&self.0.runtime).await
    }

    /// Returns a producer that sends each event to the streams that a router names: one of
    /// `[routes.NAME]`, whose streams are opened now, or one given to [`ClientBuilder::router`],
    /// whose streams are opened when they are first named.
    ///
    /// # Errors
    /// `Config` for an unknown name, listing those that exist; errors of opening a stream.
    pub async fn router(&self, name: &str) -> Result<RoutingProducer> {
        let Some((name, router)) = self.0.routers.get_key_value(name) else {
            return Err(Error::config(format!(
                "unknown router `{name}`; declared: {}; add [routes.{name}] or call \
                 `ClientBuilder::router`",
                list(self.0.routers.keys())
            )));
        };
        let producer = RoutingProducer::new(self.clone(), name.clone(), router.clone());
        if let Some(rules) = self.0.config.routes.get(name) {
            producer.open(rules.targets()).await?;
        }
        Ok(producer)
    }

    /// Returns a member of a group that the caller pulls from.
    ///
    /// # Errors
    /// `Config` for an unknown name; errors of opening it.
    pub async fn consumer(&self, group: &str) -> Result<Consumer> {
        let group = self.group(group)?;
        check::together(self.check_group(group))?;
        let opened = self.open_group(group, None).await?;
        Ok(Consumer::new(opened.consumer))
    }

    /// Follows a stream without a group: every partition from `start` on, nothing settled.
    ///
    /// # Errors
    /// `Config` for an unknown name, `Unsupported` for a queue; errors of opening it.
    pub async fn reader(&self, stream: &str, start: Start) -> Result<Reader> {
        let log = self.stream(stream)?.log(&self.0.runtime).await?;
        Reader::open(log, start, &self.0.runtime).await
    }

    /// Returns a worker for a group, to which handlers are added. Opens nothing until it runs.
    ///
    /// # Errors
    /// `Config` for an unknown name; the errors of [`check`](Self::check) for the group.
    pub async fn worker(&self, group: &str) -> Result<Worker> {
        let group = self.group(group)?;
        check::together(self.check_group(group))?;
        Ok(Worker::new(self.clone(), group.clone()))
    }

    /// Returns the administration of a stream, which need not exist.
    ///
    /// # Errors
    /// `Config` for an unknown name, `Unsupported` if the backend has none.
    pub async fn admin(&self, stream: &str) -> Result<Arc<dyn Admin>> {
        self.stream(stream)?.admin(&self.0.runtime).await
    }

    /// Returns the names of the streams, in alphabetical order.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        let targets = self.0.config.targets.values();
        targets
            .filter(|target| target.kind == TargetKind::Stream)
            .map(|target| target.name.as_str())
    }

    /// Returns the names of the groups, in alphabetical order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.0.config.groups.keys().map(SmallStr::as_str)
    }

    /// Returns the names of the pipelines, in alphabetical order.
    pub fn pipelines(&self) -> impl Iterator<Item = &str> {
        self.0.config.pipelines.keys().map(SmallStr::as_str)
    }

    /// Returns the runtime: time, tasks and randomness.
    pub fn runtime(&self) -> &Runtime {
        &self.0.runtime
    }

    /// Closes everything it opened: members of groups commit and leave, producers send the accepted
    /// events. Closing again has no effect.
    ///
    /// # Errors
    /// The first error; everything else is closed nevertheless.
    pub async fn close(&self) -> Result<()> {
        let consumers = std::mem::take(&mut *self.consumers());
        let mut closed = Ok(());
        for consumer in consumers.iter().filter_map(Weak::upgrade) {
            closed = closed.and(consumer.close().await);
        }
        // Concurrently, so that resources which share a file are closed by one write.
        let resources = self.0.resources.values().map(|resource| resource.close());
        for outcome in futures::future::join_all(resources).await {
            closed = closed.and(outcome);
        }
        closed
    }

    /// Returns the streams of a group.
    pub(crate) fn streams_of(&self, group: &str) -> Result<&[SmallStr]> {
        Ok(&self.group(group)?.streams)
    }

    fn stream(&self, name: &str) -> Result<&NamedResource> {
        let resource = self.0.resources.get(name);
        resource
            .filter(|resource| resource.kind() == TargetKind::Stream)
            .ok_or_else(|| {
                let names: Vec<_> = self.streams().map(SmallStr::from).collect();
                Error::config(format!(
                    "unknown stream `{name}`; declared: {}",
                    list(&names)
                ))
            })
    }

    pub(crate) fn pipeline_config(&self, name: &str) -> Result<&PipelineConfig> {
        let pipelines = &self.0.config.pipelines;
        pipelines.get(name).ok_or_else(|| {
            Error::config(format!(
                "unknown pipeline `{name}`; declared: {}",
                list(pipelines.keys())
            ))
        })
    }

    fn group(&self, name: &str) -> Result<&GroupConfig> {
        let groups = &self.0.config.groups;
        groups.get(name).ok_or_else(|| {
            Error::config(format!(
                "unknown group `{name}`; declared: {}",
                list(groups.keys())
            ))
        })
    }

    fn resource(&self, target: &str) -> Result<&NamedResource> {
        self.0.resources.get(target).ok_or_else(|| {
            Error::new(
                ErrorKind::Internal,
                format!("{target} was read and not kept"),
            )
        })
    }

    fn consumers(&self) -> std::sync::MutexGuard<'_, Vec<Weak<dyn aqueduct_core::BatchConsumer>>> {
        lock(&self.0.consumers)
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("streams", &self.streams().collect::<Vec<_>>())
            .field("groups", &self.groups().collect::<Vec<_>>())
            .finish()
    }
}
