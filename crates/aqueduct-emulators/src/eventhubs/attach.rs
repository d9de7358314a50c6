//! Attaching links.

use std::collections::VecDeque;
use std::sync::Arc;

use super::amqp::{Performative, Value, codes};
use super::context::Context;
use super::error::AmqpError;
use super::fault::{EventHubsFault, Moment};
use super::inbound::{Inbound, SettleMode};
use super::node::Node;
use super::outbound::{Feed, Outbound};
use super::receivers::Receiver;
use super::selector::Selector;

/// A link that was accepted.
#[derive(Debug)]
pub(super) enum Attached {
    Inbound(Inbound),
    Outbound(Outbound),
}

const EPOCH: &str = "com.microsoft:epoch";
const METRICS: &str = "com.microsoft:enable-receiver-runtime-metric";

/// Returns true for nodes that need no token.
pub(super) fn is_open_to_all(node: &Node) -> bool {
    matches!(node, Node::Cbs | Node::Management)
}

/// Accepts or refuses a link.
pub(super) fn attach(
    channel: u16,
    handle: u32,
    frame: &Performative,
    context: &mut Context,
) -> Result<Attached, AmqpError> {
    let receives = frame.field(2).as_bool().unwrap_or(false);
    let terminus = frame.field(if receives { 5 } else { 6 });
    let address = terminus.field(0).as_str().unwrap_or_default();
    let node = Node::parse(address).ok_or_else(|| AmqpError::not_found(address))?;
    match context.shared.fault(&node, Moment::Attach) {
        Some(EventHubsFault::RefuseAttach(condition, text)) => {
            return Err(AmqpError::new(&condition, text));
        }
        Some(EventHubsFault::Redirect(host, port)) => {
            return Err(AmqpError::redirect(&host, port, address));
        }
        _ => {}
    }
    if !is_open_to_all(&node) {
        let security = &context.shared.security;
        context.authorization.check(security, &node.to_string())?;
    }
    let mode = SettleMode::of(frame.field(3));
    if receives {
        let feed = feed(&node, frame, context)?;
        let settled = mode == SettleMode::Settled;
        let link = Outbound::new(channel, handle, node, feed, settled);
        return Ok(Attached::Outbound(link));
    }
    match &node {
        Node::Cbs | Node::Management => {}
        Node::Hub { hub } => {
            context.shared.hubs().get(hub)?;
        }
        Node::Partition { hub, partition } => {
            let mut hubs = context.shared.hubs();
            let found = hubs.get(hub)?.partition(partition);
            found.ok_or_else(|| no_partition(partition, hub))?;
        }
        Node::Receiver { .. } => {
            let text = format!("A sender cannot attach to '{node}'.");
            return Err(AmqpError::new("amqp:not-allowed", text));
        }
    }
    let count = frame.field(9).as_u32().unwrap_or(0);
    let credit = context.shared.limits.link_credit;
    let link = Inbound::new(channel, node, mode, count, credit);
    Ok(Attached::Inbound(link))
}

fn no_partition(partition: &str, hub: &str) -> AmqpError {
    AmqpError::argument(format!(
        "The specified partition '{partition}' is invalid for an EventHub sender or receiver of '{hub}'."
    ))
}

fn feed(node: &Node, frame: &Performative, context: &Context) -> Result<Feed, AmqpError> {
    let (hub, group, partition) = match node {
        Node::Cbs | Node::Management => {
            let to = frame.field(6).field(0).as_str().map(str::to_owned);
            let queue = VecDeque::new();
            return Ok(Feed::Replies { to, queue });
        }
        Node::Receiver {
            hub,
            group,
            partition,
        } => (hub, group, partition),
        other => {
            let text = format!("A receiver cannot attach to '{other}'.");
            return Err(AmqpError::new("amqp:not-allowed", text));
        }
    };
    // address, durable, expiry-policy, timeout, dynamic, dynamic-node-properties,
    // distribution-mode, filter
    let selector = Selector::of(frame.field(5).field(7)).map_err(AmqpError::argument)?;
    let epoch = frame.field(13).get(EPOCH).map(|epoch| {
        let text = || AmqpError::argument(format!("{EPOCH} must be an integer."));
        epoch.as_i64().ok_or_else(text)
    });
    let epoch = epoch.transpose()?;
    let metrics = frame.field(12).symbols().contains(&METRICS);
    let mut hubs = context.shared.hubs();
    let found = hubs.get(hub)?;
    if !found.has_group(group) {
        return Err(AmqpError::not_found(&format!(
            "{hub}:consumergroup:{group}"
        )));
    }
    let log = found.partition(partition);
    let log = log.ok_or_else(|| no_partition(partition, hub))?;
    let next = log.find(&selector).map_err(AmqpError::argument)?;
    let receiver = Receiver {
        group: group.clone(),
        partition: partition.clone(),
        epoch,
        name: frame.field(0).as_str().unwrap_or_default().to_owned(),
        connection: Arc::downgrade(&context.wake),
    };
    let receiver = found.attach(receiver, &context.wake)?;
    Ok(Feed::Events {
        hub: hub.clone(),
        partition: partition.clone(),
        receiver,
        next,
        metrics,
    })
}

/// Sends the attach of the service. One that is refused is accepted first and then closed: clients
/// read the error from the detach.
pub(super) fn respond(
    channel: u16,
    frame: &Performative,
    attached: &Result<Attached, AmqpError>,
    context: &mut Context,
) {
    let receives = frame.field(2).as_bool().unwrap_or(false);
    let count = if receives { Value::U32(0) } else { Value::Null };
    let offered = match attached {
        Ok(Attached::Outbound(_)) if frame.field(12).symbols().contains(&METRICS) => {
            Value::Array(vec![Value::symbol(METRICS)])
        }
        _ => Value::Null,
    };
    let properties = match frame.field(13) {
        Value::Null => Value::Map(Vec::new()),
        properties => properties.clone(),
    };
    let fields = vec![
        frame.field(0).clone(),
        frame.field(1).clone(),
        Value::Bool(!receives),
        SettleMode::of(frame.field(3)).value(),
        Value::U8(0),
        frame.field(5).clone(),
        frame.field(6).clone(),
        Value::Null,
        Value::Bool(false),
        count,
        Value::U64(context.shared.limits.max_message_size),
        offered,
        Value::Null,
        properties,
    ];
    context.send(channel, codes::ATTACH, fields);
}
