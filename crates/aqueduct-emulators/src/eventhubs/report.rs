use std::fmt;

/// Something a client did that AMQP or Event Hubs does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The number of the connection, from 1.
    pub connection: u64,
    /// The rule: `delivery-id`, `delivery-tag`, `disposition`, `frame-size`, `handle`, `link-credit`,
    /// `max-message-size`, `message`, `protocol`, `session-window`, `settle-mode` or `transfer-id`.
    pub rule: &'static str,
    /// What was expected and what came.
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connection,
            rule,
            detail,
        } = self;
        write!(f, "connection {connection}: {rule}: {detail}")
    }
}
