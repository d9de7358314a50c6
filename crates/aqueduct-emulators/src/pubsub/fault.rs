use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tonic::{Code, Status};

/// A failure of the next call of a method.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PubSubFault {
    /// Fails with `UNAVAILABLE` and does nothing.
    Unavailable,
    /// Fails with `PERMISSION_DENIED` and does nothing.
    PermissionDenied,
    /// Fails with a code of gRPC and a message, and does nothing.
    Status(i32, String),
    /// Resets the connection of the call (TCP RST); nothing is done.
    Reset,
    /// Never responds; nothing is done.
    Silence,
    /// Does what was asked for, then fails with `UNAVAILABLE`.
    LoseResponse,
    /// Reports success and does nothing: a lost acknowledgement.
    LoseRequest,
    /// Waits before doing what was asked for.
    Slow(Duration),
}

impl PubSubFault {
    /// Returns the status that a call ends with, `None` if it does not fail by one.
    pub(super) fn status(&self) -> Option<Status> {
        match self {
            Self::Unavailable | Self::LoseResponse => Some(Status::unavailable(
                "The service is unavailable: an injected fault.",
            )),
            Self::PermissionDenied => Some(Status::permission_denied(
                "User not authorized to perform this action: an injected fault.",
            )),
            Self::Status(code, text) => Some(Status::new(Code::from_i32(*code), text.clone())),
            Self::Reset | Self::Silence | Self::LoseRequest | Self::Slow(_) => None,
        }
    }
}

/// Faults of calls to come, each used once, in order.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: Mutex<Vec<(String, PubSubFault)>>,
}

impl Faults {
    pub(super) fn add(&self, method: &str, fault: PubSubFault) {
        self.lock().push((method.to_owned(), fault));
    }

    pub(super) fn take(&self, method: &str) -> Option<PubSubFault> {
        let mut pending = self.lock();
        let at = pending.iter().position(|(name, _)| name == method)?;
        Some(pending.remove(at).1)
    }

    pub(super) fn pending(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, PubSubFault)>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
