use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use aqueduct_core::hash::hash_key;
use aqueduct_core::outcomes::{blocked_error, no_outcome};
use aqueduct_core::{Effect, Error, ErrorKind, Event, Receipt, Result, Route, Router, SmallStr};
use futures::future::join_all;

use super::Client;
use super::routing_failure::RoutingFailure;
use crate::Producer;
use crate::config::list;

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
    in_flight: Arc<AtomicUsize>,
}

impl RoutingProducer {
    pub(super) fn new(client: Client, name: SmallStr, router: Arc<dyn Router>) -> Self {
        Self {
            client,
            name,
            router,
            targets: Arc::default(),
        }
    }

    /// Opens the streams that the rules name, so that one that is missing is found here.
    pub(super) async fn open<'a>(&self, streams: impl Iterator<Item = &'a SmallStr>) -> Result<()> {
        for stream in streams {
            self.target(stream).await?;
        }
        Ok(())
    }

    /// Sends one event to the streams that its route names and waits until each has stored it.
    ///
    /// # Errors
    /// `Invalid` if the router names no stream for the event; `Config` if it names one that is not
    /// declared: in both cases nothing is sent. Otherwise the first stream's error. If other
    /// streams have stored the event, its effect is `Unknown`: sending the event again stores it
    /// there twice.
    pub async fn send(&self, event: Event) -> Result<Vec<Routed>> {
        let targets = self.targets_of(&event).await?;
        let sends = targets.into_iter().map(|(stream, target)| {
            let event = event.clone();
            async move {
                let _in_flight = InFlight::new(target.in_flight);
                let sent = target.producer.send(event).await;
                (stream, sent)
            }
        });
        self.outcome(join_all(sends).await)
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
        let route = self.router.route(event);
        let names: Vec<SmallStr> = match &route {
            Route::Any(names) => match self.choose(event, names) {
                Some(name) => vec![name.clone()],
                None => Vec::new(),
            },
            route => {
                let mut names: Vec<SmallStr> = Vec::new();
                for name in route.names() {
                    if !names.iter().any(|known| known == name) {
                        names.push(name.into());
                    }
                }
                names
            }
        };
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
        let mut targets = Vec::with_capacity(names.len());
        for name in names {
            let target = self.target(&name).await?;
            targets.push((name, target));
        }
        Ok(targets)
    }

    /// Chooses one of several: always the same one for a key, so that it keeps its order.
    fn choose<'a>(&self, event: &Event, names: &'a [SmallStr]) -> Option<&'a SmallStr> {
        if let Some(key) = event.key() {
            // Equal in every process, so that a key has one target everywhere.
            let hash = (hash_key(key) >> 64).checked_rem(names.len() as u128)?;
            return names.get(usize::try_from(hash).ok()?);
        }
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        names.iter().min_by_key(|name| {
            let target = targets.get(*name);
            target.map_or(0, |target| target.in_flight.load(Ordering::Relaxed))
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
            in_flight: Arc::default(),
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
            self.in_flight.push(InFlight::new(target.in_flight));
            let planned = self.streams.entry(stream.clone());
            let (_, indexes) = planned.or_insert((target.producer, Vec::new()));
            indexes.push(at);
            stream
        });
        assigned.collect()
    }
}

/// Counts an event while it is being sent, or until its future is dropped.
struct InFlight(Arc<AtomicUsize>);

impl InFlight {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for InFlight {
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
