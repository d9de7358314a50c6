use std::any::{Any, TypeId, type_name};
use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use aqueduct_core::{
    Assignment, Error, Event, EventClaim, GroupName, IdempotencyScope, PartitionId, Parts,
    Position, Result, SmallStr, StreamName, Timestamp,
};
use serde::de::DeserializeOwned;

use super::outcome::{Outcome, undecodable};

/// An argument of a handler, made from a delivery.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Extract, Outcome};
///
/// /// The tenant that an event belongs to.
/// struct Tenant(String);
///
/// impl Extract for Tenant {
///     fn extract(context: &aqueduct::worker::Context<'_>) -> Result<Self, Outcome> {
///         let subject = context.event().subject();
///         let tenant = subject.ok_or_else(|| Outcome::reject("it names no tenant"))?;
///         Ok(Self(tenant.to_owned()))
///     }
/// }
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on("order.placed", |Tenant(tenant): Tenant| async move { assert_eq!(tenant, "acme") });
/// let event = Event::new("order.placed").with_source("/shop").with_subject("acme");
/// assert!(worker.handle(vec![event]).await?[0].is_ack());
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "cannot be made from a delivery",
    note = "arguments are `Json<T>` (`T: DeserializeOwned`), `Event`, `Key`, `Option<Key>`, `Meta`, `State<T>` and `Completion`",
    note = "or a type of your own that implements `aqueduct::Extract`"
)]
pub trait Extract: Sized + Send + 'static {
    /// Makes the argument, or returns the outcome of a delivery for which that is impossible.
    fn extract(context: &Context<'_>) -> Result<Self, Outcome>;

    /// Checks, before the worker starts, that the setup has what the argument needs.
    fn check(setup: &Setup) -> Result<()> {
        let _ = setup;
        Ok(())
    }
}

/// An argument of a batch handler other than its events: the same for every event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a batch handler",
    label = "the same for every event of the batch",
    note = "the first argument is `Batch<T>`, the others are `State<T>`"
)]
pub trait ExtractShared: Sized + Send + 'static {
    /// Makes the argument.
    fn extract_shared(setup: &Setup) -> Result<Self, Outcome>;

    /// Checks, before the worker starts, that the setup has what the argument needs.
    fn check_shared(setup: &Setup) -> Result<()>;
}

/// The source of arguments: one delivery, and the worker's setup.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    parts: &'a Parts,
    assignment: &'a Assignment,
    setup: &'a Setup,
}

impl<'a> Context<'a> {
    pub(crate) fn new(parts: &'a Parts, assignment: &'a Assignment, setup: &'a Setup) -> Self {
        Self {
            parts,
            assignment,
            setup,
        }
    }

    /// Returns the event.
    pub fn event(&self) -> &'a Event {
        &self.parts.event
    }

    /// Returns the fields of the delivery.
    pub fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// Returns the assignment that the delivery belongs to.
    pub fn assignment(&self) -> &'a Assignment {
        self.assignment
    }

    /// Returns the worker's setup.
    pub fn setup(&self) -> &'a Setup {
        self.setup
    }
}

/// Makes the scope and claim of a delivery, as the idempotency layer of its stream does.
pub(crate) type Claimant =
    Arc<dyn Fn(&Assignment, &Parts) -> (IdempotencyScope, EventClaim) + Send + Sync>;

/// The states of a worker, by type.
#[derive(Clone, Default)]
pub struct Setup {
    states: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) deduplicates: bool,
    pub(crate) claimants: BTreeMap<StreamName, Claimant>,
}

impl Setup {
    /// Returns the state of type `T`, if the worker has one.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let state = self.states.get(&TypeId::of::<T>())?;
        state.downcast_ref::<T>().cloned()
    }

    /// Adds a state, unless there is one of its type.
    pub(crate) fn insert<T: Clone + Send + Sync + 'static>(&mut self, state: T) -> Result<()> {
        match self.states.insert(TypeId::of::<T>(), Arc::new(state)) {
            None => Ok(()),
            Some(_) => Err(Error::config(format!(
                "the worker has two states of the type {} (expected at most one of each type): wrap one of \
                 them in a type of its own",
                type_name::<T>()
            ))),
        }
    }
}

/// The data of the event, decoded from JSON. An event whose data does not decode is rejected.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Json};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on("order.placed", |Json(total): Json<u32>| async move { assert_eq!(total, 5) });
/// let outcomes = worker.handle(vec![Event::json("order.placed", &5)?]).await?;
/// assert!(outcomes[0].is_ack());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned + Send + 'static> Extract for Json<T> {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        match context.event().decode_json() {
            Ok(data) => Ok(Self(data)),
            Err(error) => Err(undecodable(&error)),
        }
    }
}

impl<T> Deref for Json<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl Extract for Event {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        Ok(context.event().clone())
    }
}

/// The key of the event. An event without one is rejected; `Option<Key>` takes it.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Key};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on("order.placed", |Key(customer): Key| async move { println!("of {customer}") });
/// let outcomes = worker.handle(vec![Event::new("order.placed").with_source("/shop")]).await?;
/// assert_eq!(outcomes[0].as_str(), "reject"); // it has no key
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub SmallStr);

impl Extract for Key {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        let key = context.event().key_text().cloned();
        key.map(Self)
            .ok_or_else(|| Outcome::reject("the event has no key, but its handler requires one"))
    }
}

impl Extract for Option<Key> {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        Ok(context.event().key_text().cloned().map(Key))
    }
}

/// The fields of the delivery other than its event.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, Meta, Outcome};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on("order.placed", |meta: Meta| async move {
///         match meta.attempt {
///             1..=4 => Outcome::retry(),
///             _ => Outcome::reject("four attempts are enough"),
///         }
///     });
/// let outcomes = worker.handle(vec![Event::new("order.placed").with_source("/shop")]).await?;
/// assert_eq!(outcomes[0].as_str(), "retry");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The stream that it was read from.
    pub stream: StreamName,
    /// The group that it was read for.
    pub group: GroupName,
    /// The partition; `None` on a queue.
    pub partition: Option<PartitionId>,
    /// Its position in the partition; `None` on a queue.
    pub position: Option<Position>,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// Rises with each owner of the partition: a fencing number for the handler's own writes.
    pub generation: u64,
    /// Rises with each reset of the group.
    pub replay: u64,
    /// When the backend stored it; `None` if the backend does not report that.
    pub stored_at: Option<Timestamp>,
}

impl Extract for Meta {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        let (parts, assignment) = (context.parts, context.assignment);
        Ok(Self {
            stream: assignment.stream.clone(),
            group: assignment.group.clone(),
            partition: assignment.partition.clone(),
            position: parts.position,
            attempt: parts.attempt,
            generation: assignment.generation,
            replay: assignment.replay,
            stored_at: parts.stored_at,
        })
    }
}

/// A state given to the worker by [`Worker::state`](crate::Worker::state), cloned.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event, State};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .state("EUR")
///     .on("*", |State(currency): State<&'static str>| async move { assert_eq!(currency, "EUR") });
/// let outcomes = worker.handle(vec![Event::new("order.placed").with_source("/shop")]).await?;
/// assert!(outcomes[0].is_ack());
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State<T>(pub T);

impl<T: Clone + Send + Sync + 'static> Extract for State<T> {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        Self::extract_shared(context.setup)
    }

    fn check(setup: &Setup) -> Result<()> {
        Self::check_shared(setup)
    }
}

impl<T: Clone + Send + Sync + 'static> ExtractShared for State<T> {
    fn extract_shared(setup: &Setup) -> Result<Self, Outcome> {
        setup.state().map(Self).ok_or_else(|| {
            Outcome::failed(format!(
                "the worker has no state of the type {}: add it with `.state(...)`",
                type_name::<T>()
            ))
        })
    }

    fn check_shared(setup: &Setup) -> Result<()> {
        match setup.state::<T>() {
            Some(_) => Ok(()),
            None => Err(Error::config(format!(
                "a handler takes State<{0}>, but the worker has no state of the type {0}: add it with \
                 `.state(...)`",
                type_name::<T>()
            ))),
        }
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The claim under which the handler runs, for a store that records the event as handled in the
/// transaction of the handler's own writes: `SqliteStore::handle_once` takes it, and so does any store
/// that takes its two parts.
///
/// ```
/// use aqueduct::sqlite::{SqlResultExt, SqliteStore};
/// use aqueduct::{Completion, Json, Result, State};
///
/// /// Charges an order once: the charge and the record of the event are one transaction.
/// async fn charge(Json(total): Json<u32>, done: Completion, State(books): State<SqliteStore>) -> Result<()> {
///     let charge = move |tx: &aqueduct::sqlite::rusqlite::Transaction<'_>| {
///         tx.execute("INSERT INTO charges (total) VALUES (?1)", [total]).sql("charge an order")?;
///         Ok(Vec::new()) // no events to publish with it
///     };
///     books.handle_once(done, charge).await?;
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The group, handlers and replay within which the event counts once.
    pub scope: IdempotencyScope,
    /// The event and its handling process.
    pub claim: EventClaim,
}

impl From<Completion> for (IdempotencyScope, EventClaim) {
    fn from(completion: Completion) -> Self {
        (completion.scope, completion.claim)
    }
}

impl Extract for Completion {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        let claimants = &context.setup.claimants;
        let Some(claimant) = claimants.get(&context.assignment.stream) else {
            return Err(Outcome::failed(format!(
                "stream {} has no idempotency store to complete in",
                context.assignment.stream
            )));
        };
        let (scope, claim) = claimant(context.assignment, context.parts);
        Ok(Self { scope, claim })
    }

    fn check(setup: &Setup) -> Result<()> {
        if setup.deduplicates {
            return Ok(());
        }
        Err(Error::config(
            "a handler takes Completion, but its group deduplicates nowhere: set `idempotency` to \
             true, to a store's name or to a URL",
        ))
    }
}
