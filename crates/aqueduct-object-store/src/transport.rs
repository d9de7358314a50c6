//! Refusals of a server that say whether to try again.

use std::time::Duration;

/// The response of a server that is overloaded or failing, kept as an error so that its status and
/// its `Retry-After` reach the caller.
#[derive(Debug)]
pub(crate) struct Overloaded {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<Duration>,
    /// The service's error code or the beginning of the body.
    pub(crate) said: String,
}

impl std::fmt::Display for Overloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "status {}", self.status)?;
        if !self.said.is_empty() {
            write!(f, ": {}", self.said)?;
        }
        Ok(())
    }
}

impl std::error::Error for Overloaded {}
