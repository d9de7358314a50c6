use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use aqueduct_core::outcomes::{blocked_error, no_outcome};
use aqueduct_core::{
    Effect, Error, ErrorKind, Event, Load, Receipt, Result, Route, Router, Runtime, SmallStr,
};
use futures::future::join_all;

use super::Client;
use super::routing_failure::RoutingFailure;
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
///
/// ```
/// use aqueduct::{Event, Result, RoutingProducer};
///
/// async fn place(shop: &RoutingProducer, event: Event) -> Result<()> {
///     for routed in shop.send(event).await? {
///         println!("{}: {:?}", routed.stream, routed.receipt.position);
///     }
///     Ok(())
/// }
/// ```
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

/// The state by which a target is chosen among others.
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
        self.outcome(self.send_to(&event, &streams).await?)
    }

    /// Sends events to the streams that their routes name and waits until all have an outcome.
    ///
    /// Every stream receives its events in one call, in this order, so that each keeps the order of
    /// every key. Routes are decided before anything is sent; behind an event without a route, the
    /// later ones of its key fail as `Blocked`.
    ///
    /// # Errors
    /// [`RoutingFailure`]: every outcome by index, each an error of [`send`](Self::send) or
    /// `Blocked`, and the failed events.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
    /// use aqueduct::{Client, Event};
    ///
    /// let client = Client::from_toml(r#"
    ///     [streams.orders]
    ///     url = "memory:"
    ///     [routes.strict]
    ///     default = "refuse"
    ///     type = { "order.*" = "orders" }
    /// "#).await?;
    /// let strict = client.router("strict").await?;
    /// let events = ["order.placed", "cart.emptied"].map(|kind| Event::new(kind).with_source("/shop"));
    /// let failure = strict.send_all(events.to_vec()).await.unwrap_err();
    /// assert!(failure.outcomes[0].is_ok());
    /// let (index, event) = &failure.events[0];
    /// assert_eq!((*index, event.kind()), (1, "cart.emptied"));
    /// # Ok(()) }
    /// ```
    pub async fn send_all(&self, events: Vec<Event>) -> Result<Vec<Vec<Routed>>, RoutingFailure> {
        let plan = self.plan(&events).await;
        let sends = plan.streams.iter().map(|(stream, (producer, indexes))| {
            let batch = indexes.iter().map(|&at| events[at].clone()).collect();
            async move {
                let outcomes = match producer.send_all(batch).await {
                    Ok(receipts) => receipts.into_iter().map(Ok).collect(),
                    Err(failure) => failure.outcomes,
                };
                (stream, indexes, outcomes)
            }
        });
        let mut sent: Vec<BTreeMap<&SmallStr, Result<Receipt>>> = Vec::new();
        sent.resize_with(events.len(), BTreeMap::new);
        for (stream, indexes, outcomes) in join_all(sends).await {
            for (&at, outcome) in indexes.iter().zip(outcomes) {
                sent[at].insert(stream, outcome);
            }
        }
        let outcomes = plan.routes.into_iter().zip(sent).map(|(route, mut sent)| {
            let missing = || Err(no_outcome());
            let sent = route?.into_iter().map(|stream| {
                let outcome = sent.remove(&stream).unwrap_or_else(missing);
                (stream, outcome)
            });
            self.outcome(sent.collect())
        });
        RoutingFailure::or_all(outcomes.collect(), events)
    }

    /// Decides the streams of every event.
    async fn plan(&self, events: &[Event]) -> Plan {
        let mut plan = Plan {
            routes: Vec::with_capacity(events.len()),
            streams: BTreeMap::new(),
            in_flight: Vec::new(),
        };
        let mut blocked = BTreeSet::new();
        for (at, event) in events.iter().enumerate() {
            if event.key().is_some_and(|key| blocked.contains(key)) {
                plan.routes.push(Err(blocked_error()));
                continue;
            }
            let route = match self.targets_of(event).await {
                Ok(targets) => Ok(plan.assign(at, targets)),
                Err(error) => {
                    blocked.extend(event.key());
                    Err(error)
                }
            };
            plan.routes.push(route);
        }
        plan
    }

    /// Returns the places in which an event was stored, or the first stream's error.
    fn outcome(&self, sent: Vec<(SmallStr, Result<Receipt>)>) -> Result<Vec<Routed>> {
        let mut stored = Vec::new();
        let mut failed = None;
        for (stream, sent) in sent {
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

    /// Returns the open streams for an event, in the route's order.
    async fn targets_of(&self, event: &Event) -> Result<Vec<(SmallStr, Target)>> {
        self.targets(&self.choose(event)?).await
    }

    async fn targets(&self, streams: &[SmallStr]) -> Result<Vec<(SmallStr, Target)>> {
        let mut targets = Vec::with_capacity(streams.len());
        for stream in streams {
            targets.push((stream.clone(), self.target(stream).await?));
        }
        Ok(targets)
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
        let targets = self.targets(streams).await?;
        let sends = targets.into_iter().map(|(stream, target)| {
            let event = event.clone();
            async move {
                let _in_flight = InFlight::new(target.state.clone());
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

/// The streams of several events.
struct Plan {
    /// The streams of each event, or why it has none.
    routes: Vec<Result<Vec<SmallStr>>>,
    /// The indexes of the events of each stream.
    streams: BTreeMap<SmallStr, (Producer, Vec<usize>)>,
    /// Counted from here on, so that events without a key are spread within a call.
    in_flight: Vec<InFlight>,
}

impl Plan {
    fn assign(&mut self, at: usize, targets: Vec<(SmallStr, Target)>) -> Vec<SmallStr> {
        let assigned = targets.into_iter().map(|(stream, target)| {
            self.in_flight.push(InFlight::new(target.state));
            let planned = self.streams.entry(stream.clone());
            let (_, indexes) = planned.or_insert((target.producer, Vec::new()));
            indexes.push(at);
            stream
        });
        assigned.collect()
    }
}

/// Counts an event while it is being sent, or until its future is dropped.
struct InFlight(Arc<TargetState>);

impl InFlight {
    fn new(target: Arc<TargetState>) -> Self {
        target.in_flight.fetch_add(1, Ordering::Relaxed);
        Self(target)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for RoutingProducer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutingProducer")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
