use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::allowance::Allowance;
use super::amqp::{Frame, Message, Performative, Value, codes, read_batch, read_message};
use super::context::Context;
use super::error::AmqpError;
use super::fault::{EventHubsFault, Moment};
use super::node::Node;
use super::partition::PARTITION_KEY;
use super::requests;
use super::shared::Fate;

/// A link on which the client sends.
#[derive(Debug)]
pub(super) struct Inbound {
    channel: u16,
    pub(super) node: Node,
    /// The client settles none, all, or either: `snd-settle-mode`.
    mode: SettleMode,
    credit: Allowance,
    delivery_count: u32,
    partial: Option<Delivery>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SettleMode {
    Unsettled,
    Settled,
    Mixed,
}

impl SettleMode {
    pub(super) fn of(value: &Value) -> Self {
        match value.as_u64() {
            Some(0) => Self::Unsettled,
            Some(1) => Self::Settled,
            _ => Self::Mixed,
        }
    }

    pub(super) fn value(self) -> Value {
        Value::U8(match self {
            Self::Unsettled => 0,
            Self::Settled => 1,
            Self::Mixed => 2,
        })
    }
}

/// A delivery of which frames are still to come.
#[derive(Debug)]
struct Delivery {
    id: u32,
    format: u64,
    settled: bool,
    payload: BytesMut,
    /// The payload of the first frame, while it is the only one.
    single: Bytes,
}

/// The format of a batch.
const BATCH: u64 = 0x8001_3700;

/// What becomes of a link after a transfer.
#[derive(Debug)]
pub(super) enum Next {
    Go,
    Detach(AmqpError),
}

impl Inbound {
    pub(super) fn new(channel: u16, node: Node, mode: SettleMode, count: u32, credit: u32) -> Self {
        Self {
            channel,
            node,
            mode,
            credit: Allowance::new(credit, 0),
            delivery_count: count,
            partial: None,
        }
    }

    /// Returns true if a flow should give more credit.
    pub(super) fn is_low(&self) -> bool {
        self.credit.is_low()
    }

    /// Returns delivery count and credit for a flow that fills the credit up.
    pub(super) fn fill(&self) -> (u32, u32) {
        (self.delivery_count, self.credit.limit())
    }

    /// The flow that filled the credit up ends at `position` of the output.
    pub(super) fn filled(&mut self, position: u64) {
        self.credit.fill(position);
    }

    /// Returns the id of the delivery whose frames are still coming.
    pub(super) fn partial(&self) -> Option<u32> {
        self.partial.as_ref().map(|delivery| delivery.id)
    }

    /// Takes a transfer frame. `id` is the delivery's.
    pub(super) fn transfer(
        &mut self,
        id: u32,
        frame: &Performative,
        context: &mut Context,
    ) -> Next {
        let more = frame.field(5).as_bool().unwrap_or(false);
        let settled = frame.field(4).as_bool().unwrap_or(false);
        if frame.field(9).as_bool().unwrap_or(false) {
            self.partial = None;
            return Next::Go;
        }
        match &mut self.partial {
            Some(delivery) => {
                if delivery.payload.is_empty() {
                    delivery.payload.extend_from_slice(&delivery.single);
                }
                delivery.payload.extend_from_slice(&frame.payload);
                delivery.settled |= settled;
            }
            None => {
                self.check_first(frame, context);
                self.delivery_count = self.delivery_count.wrapping_add(1);
                self.partial = Some(Delivery {
                    id,
                    format: frame.field(3).as_u64().unwrap_or(0),
                    settled,
                    payload: BytesMut::new(),
                    single: frame.payload.clone(),
                });
            }
        }
        let limit = context.shared.limits.max_message_size;
        let size = self.partial.as_ref().map_or(0, Delivery::size);
        if size as u64 > limit {
            self.partial = None;
            let text = format!(
                "The received message (delivery-id:{id}, size:{size} bytes) exceeds the limit ({limit} bytes) currently allowed on the link."
            );
            return Next::Detach(AmqpError::new("amqp:link:message-size-exceeded", text));
        }
        if more {
            if let Some(EventHubsFault::CutMidDelivery) =
                context.shared.fault(&self.node, Moment::Part)
            {
                context.fate = Some(Fate::Cut);
            }
            return Next::Go;
        }
        match self.partial.take() {
            Some(delivery) => self.complete(delivery, context),
            None => Next::Go,
        }
    }

    fn check_first(&mut self, frame: &Performative, context: &Context) {
        if !self.credit.take(context.output.written()) {
            let detail = format!("a delivery on the link to {} without credit", self.node);
            context.violation("link-credit", detail);
        }
        match frame.field(2).as_binary() {
            None => context.violation("delivery-tag", "the first frame of a delivery has no tag"),
            Some(tag) if tag.len() > 32 => {
                let detail = format!(
                    "a delivery tag of {} bytes; at most 32 are allowed",
                    tag.len()
                );
                context.violation("delivery-tag", detail);
            }
            Some(_) => {}
        }
        let settled = frame.field(4).as_bool().unwrap_or(false);
        match (self.mode, settled) {
            (SettleMode::Unsettled, true) => {
                context.violation("settle-mode", "a settled delivery on an unsettled link");
            }
            (SettleMode::Settled, false) => {
                context.violation("settle-mode", "an unsettled delivery on a settled link");
            }
            _ => {}
        }
    }

    fn complete(&self, delivery: Delivery, context: &mut Context) -> Next {
        context.shared.count_delivery();
        if let Node::Cbs | Node::Management = self.node {
            return self.request(&delivery, context);
        }
        let fault = context.shared.fault(&self.node, Moment::Delivery);
        if let Some(error) = fault.as_ref().and_then(EventHubsFault::detach) {
            return Next::Detach(error);
        }
        let outcome = match &fault {
            Some(EventHubsFault::Cut) => {
                context.fate = Some(Fate::Cut);
                return Next::Go;
            }
            Some(EventHubsFault::Silence) => {
                context.fate = Some(Fate::Silence);
                return Next::Go;
            }
            Some(EventHubsFault::Busy) => rejected(&AmqpError::busy()),
            Some(EventHubsFault::Reject(condition, text)) => {
                rejected(&AmqpError::new(condition, text))
            }
            Some(EventHubsFault::Release) => {
                Value::described(codes::RELEASED, Value::List(Vec::new()))
            }
            Some(EventHubsFault::Modify) => {
                Value::described(codes::MODIFIED, Value::List(vec![Value::Bool(true)]))
            }
            _ => match self.store(&delivery, context) {
                Ok(()) => Value::described(codes::ACCEPTED, Value::List(Vec::new())),
                Err(error) => rejected(&error),
            },
        };
        match fault {
            Some(EventHubsFault::CutAfterStore) => context.fate = Some(Fate::Cut),
            Some(EventHubsFault::LoseSettlement) => {}
            Some(EventHubsFault::SlowSettlement(wait)) => {
                self.settle(&delivery, outcome, wait, context);
            }
            _ => self.settle(&delivery, outcome, Duration::ZERO, context),
        }
        Next::Go
    }

    fn store(&self, delivery: &Delivery, context: &Context) -> Result<(), AmqpError> {
        let bytes = delivery.bytes();
        let malformed = |error: super::amqp::ReadError| {
            context.violation("message", format!("on the link to {}: {error}", self.node));
            AmqpError::new("amqp:decode-error", error.to_string())
        };
        let (envelope, events) = if delivery.format == BATCH {
            let (envelope, events) = read_batch(&bytes).map_err(malformed)?;
            (Some(envelope), events)
        } else {
            let message = read_message(&bytes).map_err(malformed)?;
            (None, vec![(bytes, message)])
        };
        let key_of = |message: &Message| {
            let key = message.annotation(PARTITION_KEY).and_then(Value::as_str);
            key.map(str::to_owned)
        };
        let first = events.first().map(|(_, message)| message);
        let key = envelope.as_ref().and_then(key_of);
        let key = key.or_else(|| first.and_then(key_of));
        let mut hubs = context.shared.hubs();
        match &self.node {
            Node::Hub { hub } => {
                let hub = hubs.get(hub)?;
                let index = hub.choose(key.as_deref());
                hub.append(index, events, key.as_deref())
            }
            Node::Partition { hub, partition } => {
                let index = partition.parse();
                let index = index.map_err(|_| AmqpError::not_found(partition))?;
                hubs.get(hub)?.append(index, events, key.as_deref())
            }
            other => Err(AmqpError::not_found(&other.to_string())),
        }
    }

    fn request(&self, delivery: &Delivery, context: &mut Context) -> Next {
        let outcome = match read_message(&delivery.bytes()) {
            Ok(message) => {
                requests::serve(&self.node, &message, context);
                Value::described(codes::ACCEPTED, Value::List(Vec::new()))
            }
            Err(error) => rejected(&AmqpError::new("amqp:decode-error", error.to_string())),
        };
        self.settle(delivery, outcome, Duration::ZERO, context);
        Next::Go
    }

    fn settle(&self, delivery: &Delivery, outcome: Value, wait: Duration, context: &mut Context) {
        if delivery.settled {
            return;
        }
        let id = Value::U32(delivery.id);
        let fields = vec![
            Value::Bool(true),
            id.clone(),
            id,
            Value::Bool(true),
            outcome,
        ];
        let frame = Frame::new(self.channel, codes::DISPOSITION, fields);
        if wait.is_zero() {
            context.output.frame(&frame);
        } else {
            context.output.frame_after(wait, frame);
        }
    }
}

impl Delivery {
    fn size(&self) -> usize {
        self.payload.len().max(self.single.len())
    }

    fn bytes(&self) -> Bytes {
        if self.payload.is_empty() {
            self.single.clone()
        } else {
            Bytes::copy_from_slice(&self.payload)
        }
    }
}

fn rejected(error: &AmqpError) -> Value {
    Value::described(codes::REJECTED, Value::List(vec![error.value()]))
}
