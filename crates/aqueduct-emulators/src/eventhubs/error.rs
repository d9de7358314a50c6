use super::amqp::{Value, codes};

/// An error as AMQP carries it: a condition and a description.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AmqpError {
    pub(super) condition: String,
    pub(super) description: String,
    info: Value,
}

impl AmqpError {
    pub(super) fn new(condition: &str, description: impl Into<String>) -> Self {
        Self {
            condition: condition.to_owned(),
            description: description.into(),
            info: Value::Null,
        }
    }

    pub(super) fn stolen(by: &str) -> Self {
        Self::new("amqp:link:stolen", by)
    }

    /// Sends a link to another container.
    pub(super) fn redirect(host: &str, port: u16, address: &str) -> Self {
        let text = format!("The link is redirected to {host}:{port}.");
        let entry = |key: &str, value| (Value::symbol(key), value);
        let info = vec![
            entry("hostname", Value::string(host)),
            entry("network-host", Value::string(host)),
            entry("port", Value::U16(port)),
            entry("address", Value::string(address)),
        ];
        Self {
            info: Value::Map(info),
            ..Self::new("amqp:link:redirect", text)
        }
    }

    pub(super) fn not_found(address: &str) -> Self {
        let text = format!("The messaging entity '{address}' could not be found.");
        Self::new("amqp:not-found", text)
    }

    pub(super) fn unauthorized() -> Self {
        let text = "Unauthorized access. No valid token covers this address.";
        Self::new("amqp:unauthorized-access", text)
    }

    pub(super) fn busy() -> Self {
        let text = "The server is busy. Please wait 4 seconds and try again.";
        Self::new("com.microsoft:server-busy", text)
    }

    pub(super) fn argument(description: impl Into<String>) -> Self {
        Self::new("com.microsoft:argument-error", description)
    }

    pub(super) fn value(&self) -> Value {
        let fields = vec![
            Value::symbol(&self.condition),
            Value::string(&self.description),
            self.info.clone(),
        ];
        Value::described(codes::ERROR, Value::List(fields))
    }
}
