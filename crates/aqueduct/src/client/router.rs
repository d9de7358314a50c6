use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aqueduct_core::{
    Effect, Error, ErrorKind, Event, Load, Receipt, Result, Route, Router, Runtime, SmallStr,
};
use futures::future::join_all;

use super::Client;
use crate::Producer;
use crate::config::list;

/// How long a target that failed is chosen only where all others failed too.
const FAILING: Duration = Duration::from_secs(1);

/// Sends each event to the streams that a router names. Clones share everything.
///
/// The router is one of `[routes.NAME]`, or code given to
/// [`ClientBuilder::router`](crate::ClientBuilder::router). Batches, order and retries are those of
/// each stream's [`Producer`](crate::Producer).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event};
///
/// let client = Client::from_toml(r#"
///     [client]
///     source = "/shop"
///
///     [streams.orders]
///     url = "memory:"
///     [streams.audit]
///     url = "memory:"
///
///     [routes.shop]
///     default = "audit"
///     type = { "order.*" = ["orders", "audit"] }
/// "#).await?;
/// let shop = client.router("shop").await?;
/// let sent = shop.send(Event::json("order.placed", &5)?).await?;
/// assert_eq!(sent.iter().map(|it| it.stream.as_str()).collect::<Vec<_>>(), ["orders", "audit"]);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RoutingProducer {
    client: Client,
    name: SmallStr,
    router: Arc<dyn Router>,
    targets: Arc<RwLock<BTreeMap<SmallStr, Target>>>,
}

/// The stream and place in which an event was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Routed {
    /// The stream's name in the configuration.
    pub stream: SmallStr,
    /// The place in the stream.
    pub receipt: Receipt,
}

#[derive(Clone)]
struct Target {
    producer: Producer,
    state: Arc<TargetState>,
}

/// What decides how a target is chosen among others.
#[derive(Default)]
struct TargetState {
    in_flight: AtomicUsize,
    /// In milliseconds since the origin of the clock.
    failing_until: AtomicU64,
}

impl TargetState {
    fn load(&self, runtime: &Runtime) -> Load {
        Load {
            in_flight: self.in_flight.load(Ordering::Relaxed),
            failing: millis(runtime) < self.failing_until.load(Ordering::Relaxed),
        }
    }

    /// An event that the stream refused for its own sake says nothing about the stream.
    fn sent(&self, sent: &Result<Receipt>, runtime: &Runtime) {
        let until = match sent {
            Ok(_) => 0,
            Err(error) if is_of_the_event(error) => return,
            Err(_) => millis(runtime) + FAILING.as_millis() as u64,
        };
        self.failing_until.store(until, Ordering::Relaxed);
    }
}

/// Whether a stream refused the event for its own sake: another attempt cannot help, and other events
/// may pass.
pub(crate) fn is_of_the_event(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::TooLarge)
}

fn millis(runtime: &Runtime) -> u64 {
    runtime.now().elapsed_since_origin().as_millis() as u64
}

impl RoutingProducer {
    pub(crate) fn new(client: Client, name: SmallStr, router: Arc<dyn Router>) -> Self {
        Self {
            client,
            name,
            router,
            targets: Arc::default(),
        }
    }

    /// Opens the streams that the rules name, so that one that is missing is found here.
    pub(crate) async fn open<'a>(&self, streams: impl Iterator<Item = &'a SmallStr>) -> Result<()> {
        for stream in streams {
            self.target(stream).await?;
        }
        Ok(())
    }

    /// Sends one event to the streams that its route names and waits until each has stored it.
    ///
    /// An event that the router drops on purpose goes nowhere: the list is empty.
    ///
    /// # Errors
    /// `Invalid` if the router names no stream for the event or cannot tell; `Config` if it names one
    /// that is not declared: in these cases nothing is sent. Otherwise the first stream's error. If other
    /// streams have stored the event, its effect is `Unknown`: sending the event again stores it
    /// there twice.
    pub async fn send(&self, event: Event) -> Result<Vec<Routed>> {
        let streams = self.choose(&event)?;
        let mut stored = Vec::new();
        let mut failed = None;
        for (stream, sent) in self.send_to(&event, &streams).await? {
            match sent {
                Ok(receipt) => stored.push(Routed { stream, receipt }),
                Err(error) => {
                    failed.get_or_insert((stream, error));
                }
            }
        }
        match failed {
            None => Ok(stored),
            Some((stream, error)) => Err(self.failure(&stream, error, &stored)),
        }
    }

    /// Returns the name of the router.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sends an event to each of `streams` and returns what became of it there.
    ///
    /// # Errors
    /// `Config` if a stream is not declared, errors of opening it: nothing is sent then.
    pub(crate) async fn send_to(
        &self,
        event: &Event,
        streams: &[SmallStr],
    ) -> Result<Vec<(SmallStr, Result<Receipt>)>> {
        let mut targets = Vec::with_capacity(streams.len());
        for stream in streams {
            targets.push((stream.clone(), self.target(stream).await?));
        }
        let sends = targets.into_iter().map(|(stream, target)| {
            let event = event.clone();
            async move {
                let _in_flight = InFlight::new(&target.state.in_flight);
                let sent = target.producer.send(event).await;
                target.state.sent(&sent, &self.client.0.runtime);
                (stream, sent)
            }
        });
        Ok(join_all(sends).await)
    }

    /// Decides which streams get an event, in the route's order. Empty if it is dropped on purpose.
    ///
    /// # Errors
    /// `Invalid` if the router names no stream, or cannot tell.
    pub(crate) fn choose(&self, event: &Event) -> Result<Vec<SmallStr>> {
        let route = self.router.route(event);
        if let Route::Failed(why) = &route {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!("router {}: {why}", self.name),
            ));
        }
        if route == Route::Drop {
            metrics::counter!("aqueduct_routing_dropped_total", "router" => self.name.to_string())
                .increment(1);
            return Ok(Vec::new());
        }
        let names = route.choose(event, &|name| self.load(name));
        if names.is_empty() {
            return Err(Error::new(
                ErrorKind::Invalid,
                format!(
                    "router {}: it names no stream for event {} of type {}; add a rule or a \
                     default for it",
                    self.name,
                    event.id(),
                    event.kind()
                ),
            ));
        }
        Ok(names)
    }

    fn load(&self, name: &SmallStr) -> Load {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        let target = targets.get(name);
        target.map_or_else(Load::default, |target| {
            target.state.load(&self.client.0.runtime)
        })
    }

    async fn target(&self, name: &SmallStr) -> Result<Target> {
        let known = self.known(name);
        if let Some(target) = known {
            return Ok(target);
        }
        if !self.client.streams().any(|stream| stream == name.as_str()) {
            let declared: Vec<_> = self.client.streams().map(SmallStr::from).collect();
            return Err(Error::config(format!(
                "router {}: it names the stream `{name}`, which is not declared; declared: {}; add \
                 [streams.{name}] or correct the router",
                self.name,
                list(&declared)
            )));
        }
        let producer = self.client.producer(name).await?;
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        let target = targets.entry(name.clone()).or_insert_with(|| Target {
            producer,
            state: Arc::default(),
        });
        Ok(target.clone())
    }

    fn known(&self, name: &SmallStr) -> Option<Target> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        targets.get(name).cloned()
    }

    fn failure(&self, stream: &SmallStr, error: Error, stored: &[Routed]) -> Error {
        if stored.is_empty() {
            return error.context(format_args!("router {}: stream {stream}", self.name));
        }
        let names = list(stored.iter().map(|it| &it.stream));
        error.with_effect(Effect::Unknown).context(format_args!(
            "router {}: stored in {names}, but not in {stream}",
            self.name
        ))
    }
}

/// Counts an event while it is being sent, or until its future is dropped.
struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for RoutingProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingProducer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
