//! Dead letters: events that could not be handled, with the reason.
//!
//! [`Client::dead_letters`](crate::Client::dead_letters) lists and purges those of a group.

#[doc(inline)]
pub use aqueduct_core::{
    DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterQueue, DeadLetterReason, DeadLetterStore,
    Failure, StoredDeadLetter,
};
