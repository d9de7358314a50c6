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

/// An argument of a handler, made of a delivery.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a handler",
    label = "not made of a delivery",
    note = "arguments are `Json<T>` (`T: DeserializeOwned`), `Event`, `Key`, `Option<Key>`, `Meta`, `State<T>` and `Completion`",
    note = "or a type of your own that implements `aqueduct::Extract`"
)]
pub trait Extract: Sized + Send + 'static {
    /// Makes the argument; where that fails, the outcome of the delivery.
    fn extract(context: &Context<'_>) -> Result<Self, Outcome>;

    /// Checks, before the worker starts, that what it needs is there.
    fn check(setup: &Setup) -> Result<()> {
        let _ = setup;
        Ok(())
    }
}

/// An argument of a batch handler beside its events: the same for every event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a batch handler",
    label = "the same for every event of the batch",
    note = "the first argument is `Batch<T>`, the others are `State<T>`"
)]
pub trait ExtractShared: Sized + Send + 'static {
    /// Makes the argument.
    fn extract_shared(setup: &Setup) -> Result<Self, Outcome>;

    /// Checks, before the worker starts, that what it needs is there.
    fn check_shared(setup: &Setup) -> Result<()>;
}

/// What arguments are made of: one delivery, and what the worker was given.
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

    /// The event.
    pub fn event(&self) -> &'a Event {
        &self.parts.event
    }

    /// What the delivery is.
    pub fn parts(&self) -> &'a Parts {
        self.parts
    }

    /// Where the delivery comes from.
    pub fn assignment(&self) -> &'a Assignment {
        self.assignment
    }

    /// What the worker was given.
    pub fn setup(&self) -> &'a Setup {
        self.setup
    }
}

/// Makes the scope and claim of a delivery, as the idempotency layer of its stream does.
pub(crate) type Claimant =
    Arc<dyn Fn(&Assignment, &Parts) -> (IdempotencyScope, EventClaim) + Send + Sync>;

/// What a worker was given beside its handlers: its states.
#[derive(Clone, Default)]
pub struct Setup {
    states: BTreeMap<TypeId, Arc<dyn Any + Send + Sync>>,
    pub(crate) deduplicates: bool,
    pub(crate) claimants: BTreeMap<StreamName, Claimant>,
}

impl Setup {
    /// The state of type `T`, where one was given.
    pub fn state<T: Clone + Send + Sync + 'static>(&self) -> Option<T> {
        let state = self.states.get(&TypeId::of::<T>())?;
        state.downcast_ref::<T>().cloned()
    }

    /// Puts a state in, unless there is one of its type.
    pub(crate) fn insert<T: Clone + Send + Sync + 'static>(&mut self, state: T) -> Result<()> {
        match self.states.insert(TypeId::of::<T>(), Arc::new(state)) {
            None => Ok(()),
            Some(_) => Err(Error::config(format!(
                "a worker was given two states of the type {}: make one of them a type of its own",
                type_name::<T>()
            ))),
        }
    }
}

/// The data of the event, decoded from JSON. An event whose data does not decode is rejected.
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub SmallStr);

impl Extract for Key {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        let key = context.event().key_text().cloned();
        key.map(Self)
            .ok_or_else(|| Outcome::reject("the event has no key, and its handler needs one"))
    }
}

impl Extract for Option<Key> {
    fn extract(context: &Context<'_>) -> Result<Self, Outcome> {
        Ok(context.event().key_text().cloned().map(Key))
    }
}

/// What is known of the delivery beside its event.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The stream that it was read from.
    pub stream: StreamName,
    /// The group that it was read for.
    pub group: GroupName,
    /// The partition, where the backend has any.
    pub partition: Option<PartitionId>,
    /// Its place in the partition, where the backend has places.
    pub position: Option<Position>,
    /// 1 at the first time.
    pub attempt: u32,
    /// Rises with each owner of the partition: a fencing number for the handler's own writes.
    pub generation: u64,
    /// Rises with each reset of the group.
    pub replay: u64,
    /// When the backend stored it, where it says so.
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
                "no state of the type {} was given",
                type_name::<T>()
            ))
        })
    }

    fn check_shared(setup: &Setup) -> Result<()> {
        match setup.state::<T>() {
            Some(_) => Ok(()),
            None => Err(Error::config(format!(
                "a handler takes State<{0}>, but no state of the type {0} was given: call `.state(...)`",
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

/// The claim under which the handler runs: what `complete_in` of a store takes to record the event
/// as handled in the same transaction as the handler's own writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Within what the event counts once.
    pub scope: IdempotencyScope,
    /// The event and who handles it.
    pub claim: EventClaim,
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
