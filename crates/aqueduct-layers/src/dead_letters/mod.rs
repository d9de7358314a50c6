//! What cannot be handled becomes a dead letter, with everything that is known of why.

mod burial;
mod held;
mod interceptor;
mod options;
mod producer_dead_letters;
mod records;
mod reject_policy;

use std::fmt;
use std::sync::{Arc, Mutex};

use aqueduct_core::{
    DeadLetterQueue, DeadLetterReason, DeadLetterStore, Interceptor, Layer, Result, Runtime, Stage,
};

use self::held::HeldKeys;
use self::interceptor::Burials;
pub use self::options::{DeadLetterOptions, OnExhausted};
pub use self::producer_dead_letters::ProducerDeadLetters;
use self::records::Records;
pub use self::reject_policy::{OnReject, RejectPolicy};

/// The layer that turns what is given up into dead letters. It belongs outside of the group and inside
/// of idempotency.
///
/// - A nack is kept with its error. After the last attempt the event is buried, with the failures,
///   and settled; or its key is held, or blocked: see [`OnExhausted`].
/// - A rejected event is buried at once: as `Undecodable` where the reason begins with
///   [`DeadLetters::UNDECODABLE`], else as `Rejected`.
/// - An event that comes with more attempts than are allowed is not handled again: it killed the
///   process, or was abandoned.
/// - A burial that fails is tried again after a back-off; the event stays unsettled meanwhile and
///   its handler does not see it again.
/// - A redriven dead letter that names another group is settled unseen.
///
/// The failures of one event are kept in memory: those of an earlier process are counted in
/// `attempts`, and missing from the list. The dead letters of a key keep their order as far as the queue
/// keeps that of one `put`.
#[derive(Clone)]
pub struct DeadLetters {
    burials: Arc<Burials>,
}

impl DeadLetters {
    /// How the reason of a rejection begins where the data of the event does not decode.
    pub const UNDECODABLE: &str = "undecodable";

    /// A layer that buries in `queue`.
    ///
    /// Such a queue cannot be asked which keys [`OnExhausted::DivertKey`] holds. They are remembered
    /// in the memory of this layer alone: after a restart, or with another member that takes the
    /// partition over, the later events of the key are handled although an earlier one is a dead letter;
    /// and until then no release reaches the layer. That is said once in the log, at `warn`, when
    /// the layer is made. Where it must not be, use [`with_letters`](Self::with_letters).
    ///
    /// # Errors
    /// `Config`, as [`DeadLetterOptions::validate`] says.
    pub fn new(
        queue: Arc<dyn DeadLetterQueue>,
        options: DeadLetterOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        let layer = Self::build(queue, None, options, runtime)?;
        if layer.burials.options.on_exhausted == OnExhausted::DivertKey {
            tracing::warn!(
                "on_exhausted is divert_key, but these dead letters cannot list the keys that are \
                 held: they are kept in memory alone. After a restart or a hand-off the later \
                 events of a key are handled although an earlier one is a dead letter, and a key is \
                 released by nothing else. Dead letters in a store that lists them (memory, \
                 sqlite) keep the keys"
            );
        }
        Ok(layer)
    }

    /// A layer that buries in `dead_letters`, and reads from there which keys are held: after a restart
    /// they still are, and a released one is handled again.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_letters(
        dead_letters: Arc<dyn DeadLetterStore>,
        options: DeadLetterOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        Self::build(dead_letters.clone(), Some(dead_letters), options, runtime)
    }

    fn build(
        queue: Arc<dyn DeadLetterQueue>,
        dead_letters: Option<Arc<dyn DeadLetterStore>>,
        options: DeadLetterOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            burials: Arc::new(Burials {
                queue,
                dead_letters,
                records: Mutex::new(Records::new(options.max_records, options.max_failures)),
                held: Mutex::new(HeldKeys::default()),
                runtime: runtime.clone(),
                options,
            }),
        })
    }
}

impl Layer for DeadLetters {
    fn name(&self) -> &'static str {
        "dead_letters"
    }

    fn stage(&self) -> Stage {
        Stage::DeadLetters
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        Some(self.burials.clone())
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("options", &self.burials.options)
            .finish_non_exhaustive()
    }
}

fn reason_of(rejection: &str) -> DeadLetterReason {
    if rejection.starts_with(DeadLetters::UNDECODABLE) {
        DeadLetterReason::Undecodable
    } else {
        DeadLetterReason::Rejected
    }
}
