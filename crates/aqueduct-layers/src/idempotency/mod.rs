//! Idempotency: an event that arrives twice is handled once.

mod claims;
mod completer;
mod interceptor;
mod options;

use std::fmt;
use std::sync::Arc;

use aqueduct_core::{
    Assignment, EventClaim, IdempotencyScope, IdempotencyStore, Interceptor, Layer, Parts, Result,
    Runtime, Stage,
};

use self::interceptor::Once;
pub use self::options::IdempotencyOptions;

/// Layer that handles an event once although it arrives twice. Place it outside of the dead
/// letters.
///
/// - Before a handler sees an event it is claimed. One that was completed is acknowledged unseen
///   and counted; one that another member holds is deferred until it is completed, or until its
///   heartbeat has stood still for a life: by a quarter to half a heartbeat each time. One that is
///   being handled behind this very layer is deferred by 50 to 100 ms at first, later by a quarter
///   to half of how long that has taken so far.
/// - An `ack` completes the claim, then goes on to the inner layers. Concurrent completions share a
///   call of the store. Any other settlement gives the claim up; so does the ack of a superseded
///   delivery, which must come again after the event that failed before it. An ack that is too late
///   for another reason is still recorded: the effect has happened.
///
/// A crash between the effect of a handler and the completion runs the effect again, unless both
/// are in one transaction: complete [`claim_for`](Self::claim_for) in it; the layer finds the event
/// completed.
#[derive(Clone)]
pub struct Idempotency {
    once: Arc<Once>,
}

impl Idempotency {
    /// Creates a layer over `store`, with a random nonce.
    ///
    /// # Errors
    /// `Config`, as for [`IdempotencyOptions::validate`].
    pub fn new(
        store: Arc<dyn IdempotencyStore>,
        options: IdempotencyOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        options.validate(store.retention())?;
        Ok(Self {
            once: Arc::new(Once::new(store, options, runtime)),
        })
    }

    /// Returns the claim that this layer makes for a delivery, to complete it in a transaction.
    pub fn claim_for(
        &self,
        assignment: &Assignment,
        parts: &Parts,
    ) -> (IdempotencyScope, EventClaim) {
        self.once.claim_for(assignment, parts)
    }
}

impl Layer for Idempotency {
    fn name(&self) -> &'static str {
        "idempotency"
    }

    fn stage(&self) -> Stage {
        Stage::Idempotency
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        Some(self.once.clone())
    }
}

impl fmt::Debug for Idempotency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Idempotency")
            .field("options", &self.once.options)
            .finish_non_exhaustive()
    }
}
