use std::sync::Arc;

use super::message::{Message, Time};

/// A message of one subscription.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) message: Arc<Message>,
    pub(super) state: State,
    /// Nacks and leases that ran out.
    pub(super) failures: u32,
    /// The number of its last delivery, 0 before the first.
    pub(super) delivery: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Waits for a consumer.
    Ready,
    /// Waits for the back-off of the retry policy to pass.
    Delayed(Time),
    Leased {
        consumer: u64,
        until: Time,
    },
    /// Acknowledged while an earlier message of its ordering key is not: it comes again if that one fails.
    Acknowledged,
}

impl Entry {
    pub(super) fn new(message: Arc<Message>) -> Self {
        Self {
            message,
            state: State::Ready,
            failures: 0,
            delivery: 0,
        }
    }
}
