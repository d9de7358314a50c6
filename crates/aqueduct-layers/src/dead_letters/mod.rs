//! Turns events that cannot be handled into dead letters, with every failure that is known.

mod held;
mod interceptor;
mod options;
mod producer_dead_letters;
mod records;
mod reject_policy;
mod write;

use std::fmt;
use std::sync::{Arc, Mutex};

use aqueduct_core::{
    DeadLetterQueue, DeadLetterReason, DeadLetterStore, Interceptor, Layer, Result, Runtime, Stage,
};

use self::held::HeldKeys;
use self::interceptor::DeadLetterInterceptor;
pub use self::options::{DeadLetterOptions, OnExhausted};
pub use self::producer_dead_letters::ProducerDeadLetters;
use self::records::Records;
pub use self::reject_policy::{OnReject, RejectPolicy};

/// Layer that turns events that are given up into dead letters. Place it outside of the group and
/// inside of idempotency.
///
/// - The error of each nack is kept. After the last attempt the event becomes a dead letter with its
///   failures and is settled, or its key is diverted or blocked: see [`OnExhausted`].
/// - A rejected event becomes a dead letter at once: as `Undecodable` if the reason begins with
///   [`DeadLetters::UNDECODABLE`], else as `Rejected`.
/// - An event that arrives with more attempts than are allowed is not handled again: it killed the
///   process, or its receivers dropped it.
/// - A failed write to the dead letter queue is retried after a back-off. Meanwhile the event stays
///   unsettled, and its handler does not run again.
///
/// The failures of an event are kept in memory: failures in an earlier process count in `attempts` but
/// are not listed. The dead letters of a key keep their order as far as the queue keeps the order of
/// one `put`.
#[derive(Clone)]
pub struct DeadLetters {
    interceptor: Arc<DeadLetterInterceptor>,
}

impl DeadLetters {
    /// The prefix of the reason of a rejection if the data of the event does not decode.
    pub const UNDECODABLE: &str = "undecodable";

    /// Creates a layer that writes to `queue`.
    ///
    /// A queue cannot list the keys that [`OnExhausted::DivertKey`] diverts, so this layer keeps them
    /// in memory: after a restart, or when another member takes the partition over, later events of
    /// such a key are handled although an earlier one is a dead letter, and a key cannot be released
    /// before. The layer logs this once, at `warn`. Use [`with_store`](Self::with_store) to avoid it.
    ///
    /// # Errors
    /// `Config`, as for [`DeadLetterOptions::validate`].
    pub fn new(
        queue: Arc<dyn DeadLetterQueue>,
        options: DeadLetterOptions,
        runtime: &Runtime,
    ) -> Result<Self> {
        let layer = Self::build(queue, None, options, runtime)?;
        if layer.interceptor.options.on_exhausted == OnExhausted::DivertKey {
            tracing::warn!(
                "on_exhausted is divert_key, but this dead letter queue cannot list the diverted keys: \
                 they are kept in memory only. After a restart or a hand-off, later events of such a \
                 key are handled although an earlier one is a dead letter, and nothing else releases \
                 a key. Use a dead letter store (memory, sqlite) to keep the keys"
            );
        }
        Ok(layer)
    }

    /// Creates a layer that writes to `dead_letters` and reads the diverted keys from there: they
    /// survive a restart, and a released key is handled again.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_store(
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
            interceptor: Arc::new(DeadLetterInterceptor {
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
        Some(self.interceptor.clone())
    }
}

impl fmt::Debug for DeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("options", &self.interceptor.options)
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
