//! Dead letters: events that could not be handled, with the reason.
//!
//! [`Client::dead_letters`](crate::Client::dead_letters) lists, shows and purges those of a group, and
//! [`Client::redrive`](crate::Client::redrive) sends their events again.

#[doc(inline)]
pub use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterReason, DeadLetterStore,
    DeadLetterStoreExt, Failure, StoredDeadLetter,
};
