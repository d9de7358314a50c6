//! Requests on `$cbs` and `$management`.

use std::time::SystemTime;

use super::amqp::{Message, Value};
use super::context::{Context, Reply};
use super::error::AmqpError;
use super::fault::EventHubsFault;
use super::fault::Moment;
use super::node::Node;
use super::partition::millis;
use super::shared::Fate;

/// Serves a request; the reply waits in the context.
pub(super) fn serve(node: &Node, message: &Message, context: &mut Context) {
    match context.shared.fault(node, Moment::Delivery) {
        Some(EventHubsFault::Cut) => return context.fate = Some(Fate::Cut),
        Some(EventHubsFault::Silence) => return context.fate = Some(Fate::Silence),
        Some(EventHubsFault::LoseSettlement) => return,
        Some(EventHubsFault::Unauthorized) => {
            let denied =
                Outcome::failed(401, "amqp:unauthorized-access", "Unauthorized on demand.");
            return reply(node, message, denied, context);
        }
        Some(EventHubsFault::Busy) => {
            let busy = AmqpError::busy();
            let busy = Outcome::failed(503, &busy.condition, &busy.description);
            return reply(node, message, busy, context);
        }
        _ => {}
    }
    let outcome = match node {
        Node::Cbs => put_token(message, context),
        _ => read(message, context),
    };
    reply(node, message, outcome, context);
}

struct Outcome {
    status: i32,
    description: String,
    condition: Option<String>,
    body: Value,
}

impl Outcome {
    fn ok(status: i32, description: &str, body: Value) -> Self {
        Self {
            status,
            description: description.to_owned(),
            condition: None,
            body,
        }
    }

    fn failed(status: i32, condition: &str, description: &str) -> Self {
        Self {
            status,
            description: description.to_owned(),
            condition: Some(condition.to_owned()),
            body: Value::Map(Vec::new()),
        }
    }
}

fn reply(node: &Node, request: &Message, outcome: Outcome, context: &mut Context) {
    let mut application = vec![
        (Value::string("status-code"), Value::I32(outcome.status)),
        (
            Value::string("status-description"),
            Value::string(outcome.description),
        ),
    ];
    if let Some(condition) = outcome.condition {
        application.push((Value::string("error-condition"), Value::symbol(condition)));
    }
    // message-id, user-id, to, subject, reply-to
    let to = request.properties.field(4).as_str().map(str::to_owned);
    context.replies.push(Reply {
        node: node.clone(),
        to,
        message: Message::reply(request, application, outcome.body),
    });
}

fn put_token(message: &Message, context: &mut Context) -> Outcome {
    let text = |key: &str| message.application.get(key).and_then(Value::as_str);
    if text("operation") != Some("put-token") {
        return Outcome::failed(
            400,
            "amqp:not-allowed",
            "The operation must be 'put-token'.",
        );
    }
    let Some(audience) = text("name") else {
        return Outcome::failed(400, "amqp:invalid-field", "The property 'name' is missing.");
    };
    let Some(token) = message.value.as_str() else {
        return Outcome::failed(400, "amqp:invalid-field", "The body must be a string.");
    };
    match context.shared.security.check(token, audience) {
        Ok(expiry) => {
            context.authorization.grant(audience, expiry);
            Outcome::ok(202, "Accepted", Value::Null)
        }
        Err(reason) => Outcome::failed(401, "amqp:unauthorized-access", &reason),
    }
}

fn read(message: &Message, context: &Context) -> Outcome {
    let text = |key: &str| message.application.get(key).and_then(Value::as_str);
    if text("operation") != Some("READ") {
        return Outcome::failed(501, "amqp:not-implemented", "The operation must be 'READ'.");
    }
    let Some(name) = text("name") else {
        return Outcome::failed(400, "amqp:invalid-field", "The property 'name' is missing.");
    };
    if !context.shared.security.is_open() {
        let token = text("security_token").unwrap_or_default();
        if let Err(reason) = context.shared.security.check(token, name)
            && context
                .authorization
                .check(&context.shared.security, name)
                .is_err()
        {
            return Outcome::failed(401, "amqp:unauthorized-access", &reason);
        }
    }
    let found = match text("type") {
        Some("com.microsoft:eventhub") => hub(name, context),
        Some("com.microsoft:partition") => {
            // Some clients send the number of the partition.
            let id = message.application.get("partition").unwrap_or(&Value::Null);
            let number = id.as_i64().map(|id| id.to_string());
            let id = id.as_str().map(str::to_owned).or(number);
            partition(name, &id.unwrap_or_default(), context)
        }
        _ => {
            let text = "The type must be 'com.microsoft:eventhub' or 'com.microsoft:partition'.";
            return Outcome::failed(501, "amqp:not-implemented", text);
        }
    };
    match found {
        Ok(body) => Outcome::ok(200, "OK", body),
        Err(error) => Outcome::failed(404, &error.condition, &error.description),
    }
}

fn hub(name: &str, context: &Context) -> Result<Value, AmqpError> {
    let mut hubs = context.shared.hubs();
    let hub = hubs.get(name)?;
    let ids = (0..hub.partitions()).map(|id| Value::string(id.to_string()));
    Ok(map(vec![
        ("name", Value::string(name)),
        ("type", Value::string("com.microsoft:eventhub")),
        ("created_at", timestamp(hub.created)),
        ("partition_count", Value::I32(hub.partitions() as i32)),
        ("partition_ids", Value::Array(ids.collect())),
        ("georeplication_factor", Value::I32(1)),
    ]))
}

fn partition(name: &str, id: &str, context: &Context) -> Result<Value, AmqpError> {
    let mut hubs = context.shared.hubs();
    let partition = hubs.get(name)?.partition(id);
    let partition =
        partition.ok_or_else(|| AmqpError::not_found(&format!("{name}/Partitions/{id}")))?;
    let (offset, time) = partition.last();
    let last = partition.last_sequence_number();
    Ok(map(vec![
        ("name", Value::string(name)),
        ("type", Value::string("com.microsoft:partition")),
        ("partition", Value::string(id)),
        ("begin_sequence_number", Value::I64(partition.begin())),
        ("last_enqueued_sequence_number", Value::I64(last)),
        ("last_enqueued_offset", Value::string(offset)),
        ("last_enqueued_time_utc", timestamp(time)),
        ("is_partition_empty", Value::Bool(partition.is_empty())),
        (
            "runtime_info_retrieval_time_utc",
            timestamp(SystemTime::now()),
        ),
    ]))
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    let entries = entries.into_iter();
    Value::Map(
        entries
            .map(|(key, value)| (Value::string(key), value))
            .collect(),
    )
}

pub(super) fn timestamp(time: SystemTime) -> Value {
    Value::Timestamp(millis(time) as i64)
}
