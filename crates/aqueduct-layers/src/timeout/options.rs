use std::time::Duration;

use aqueduct_core::{Error, Result};

/// The time limits of a [`Timeout`](super::Timeout). Each is off unless it is set, and at least one
/// must be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeoutOptions {
    /// How long one attempt to send a batch may take. Default: off; a stream's own
    /// `request_timeout` applies.
    pub send: Option<Duration>,
    /// How long one settlement may take. Default: off; a settlement waits for its store.
    pub settle: Option<Duration>,
    /// How long one call of a handler may take. Default: off; the group's own `timeout` applies.
    pub handler: Option<Duration>,
}

impl TimeoutOptions {
    /// Checks that at least one limit is set, and that each is greater than zero.
    ///
    /// # Errors
    /// `Config`, naming the option and what is allowed.
    pub fn validate(&self) -> Result<()> {
        let limits = [
            ("send", self.send),
            ("settle", self.settle),
            ("handler", self.handler),
        ];
        if limits.iter().all(|(_, limit)| limit.is_none()) {
            return Err(Error::config(
                "the timeout layer limits nothing: set `send`, `settle` or `handler`",
            ));
        }
        match limits
            .iter()
            .find(|(_, limit)| *limit == Some(Duration::ZERO))
        {
            Some((name, _)) => Err(Error::config(format!(
                "{name} = 0s: it must be greater than zero, or be left out"
            ))),
            None => Ok(()),
        }
    }
}
