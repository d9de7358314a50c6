use std::fmt;
use std::sync::Arc;

use event_listener::{Event as Signal, EventListener};

use crate::{Error, ErrorKind};

/// The reason why a delivery may no longer be settled, or a partition is gone.
///
/// ```
/// use aqueduct_core::{ErrorKind, Revocation};
///
/// assert_eq!(Revocation::HandedOff.as_str(), "handed_off");
/// assert_eq!(Revocation::Lost.to_error().kind(), ErrorKind::Revoked);
/// assert_eq!(Revocation::Superseded.to_error().kind(), ErrorKind::Superseded);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Revocation {
    /// An earlier event of the run was nacked or abandoned: it comes again behind that one.
    Superseded,
    /// The lease is lost: another member may be reading already.
    Lost,
    /// Another member asked for the partition and has it now.
    HandedOff,
    /// The partition is read to its end.
    Ended,
    /// The time to settle has passed.
    Expired,
    /// The consumer was closed.
    Shutdown,
}

impl Revocation {
    /// Returns the error of later settlements.
    pub fn to_error(self) -> Error {
        match self {
            Self::Superseded => Error::new(
                ErrorKind::Superseded,
                "superseded: an earlier event of its run was nacked; this one comes again behind it",
            ),
            Self::Lost => Error::new(
                ErrorKind::Revoked,
                "revoked: the lease of its partition is lost",
            ),
            Self::HandedOff => {
                Error::new(ErrorKind::Revoked, "revoked: its partition was handed off")
            }
            Self::Ended => Error::new(ErrorKind::Revoked, "revoked: its partition has ended"),
            Self::Expired => Error::new(
                ErrorKind::Revoked,
                "revoked: the time to settle it has passed",
            ),
            Self::Shutdown => Error::new(ErrorKind::Closed, "revoked: its consumer was closed"),
        }
    }

    /// Returns the reason in lower case, as metrics carry it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => "superseded",
            Self::Lost => "lost",
            Self::HandedOff => "handed_off",
            Self::Ended => "ended",
            Self::Expired => "expired",
            Self::Shutdown => "shutdown",
        }
    }
}

impl fmt::Display for Revocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Wakes those who wait for a revocation; one for each assignment.
#[derive(Clone, Default)]
pub struct Revocations(Arc<Signal>);

impl Revocations {
    /// Creates a source without waiters.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes every waiter, to look again.
    pub fn notify(&self) {
        self.0.notify(usize::MAX);
    }

    pub(crate) fn listen(&self) -> EventListener {
        self.0.listen()
    }
}

impl fmt::Debug for Revocations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revocations")
    }
}
