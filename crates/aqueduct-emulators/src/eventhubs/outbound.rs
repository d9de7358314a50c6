use std::collections::VecDeque;
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};

use super::amqp::{Frame, Value, codes, delivery_annotations};
use super::context::Context;
use super::error::AmqpError;
use super::fault::{EventHubsFault, Moment};
use super::node::Node;
use super::requests::timestamp;
use super::shared::Fate;
use super::window::OutgoingWindow;

/// A link on which the service sends.
#[derive(Debug)]
pub(super) struct Outbound {
    pub(super) channel: u16,
    pub(super) handle: u32,
    pub(super) node: Node,
    feed: Feed,
    /// Every transfer is settled already.
    settled: bool,
    credit: u32,
    delivery_count: u32,
    /// The rest of a delivery for which the window was too small.
    partial: Option<Partial>,
}

/// Where the messages of a link come from.
#[derive(Debug)]
pub(super) enum Feed {
    /// Replies to an address.
    Replies {
        to: Option<String>,
        queue: VecDeque<Bytes>,
    },
    /// The events of a partition from a sequence number.
    Events {
        hub: String,
        partition: String,
        receiver: u64,
        next: i64,
        /// Every event tells the end of the partition.
        metrics: bool,
    },
}

#[derive(Debug)]
struct Partial {
    id: u32,
    payload: Bytes,
    first: bool,
}

impl Outbound {
    pub(super) fn new(channel: u16, handle: u32, node: Node, feed: Feed, settled: bool) -> Self {
        Self {
            channel,
            handle,
            node,
            feed,
            settled,
            credit: 0,
            delivery_count: 0,
            partial: None,
        }
    }

    /// Takes the credit of a flow; returns true if the client asks to use it up.
    pub(super) fn flow(&mut self, count: Option<u32>, credit: u32, drain: bool) -> bool {
        // The credit counts from what the client has seen.
        let seen = count.unwrap_or(0);
        self.credit = seen.wrapping_add(credit).wrapping_sub(self.delivery_count);
        // A limit that lies behind the deliveries under way gives no credit.
        if self.credit > i32::MAX as u32 {
            self.credit = 0;
        }
        drain
    }

    /// Uses up the credit; returns the delivery count for the flow.
    pub(super) fn drained(&mut self) -> u32 {
        self.delivery_count = self.delivery_count.wrapping_add(self.credit);
        self.credit = 0;
        self.delivery_count
    }

    pub(super) fn state(&self) -> (u32, u32) {
        (self.delivery_count, self.credit)
    }

    /// Returns true if replies of `node` to that address go here.
    pub(super) fn takes_reply(&self, node: &Node, address: Option<&str>) -> bool {
        let Feed::Replies { to, .. } = &self.feed else {
            return false;
        };
        self.node == *node && (address.is_none() || to.as_deref() == address)
    }

    pub(super) fn reply(&mut self, message: Bytes) {
        if let Feed::Replies { queue, .. } = &mut self.feed {
            queue.push_back(message);
        }
    }

    /// Sends up to `most` deliveries; returns how many, or why the link has to go.
    pub(super) fn pump(
        &mut self,
        most: usize,
        window: &mut OutgoingWindow,
        context: &mut Context,
    ) -> Result<usize, AmqpError> {
        self.check(context)?;
        let mut sent = 0;
        while sent < most && context.fate.is_none() && context.output.has_room() {
            if self.partial.is_none() {
                if self.credit == 0 || window.is_closed() {
                    break;
                }
                let Some(payload) = self.next(context)? else {
                    break;
                };
                if context.fate.is_some() {
                    break;
                }
                self.credit -= 1;
                self.delivery_count = self.delivery_count.wrapping_add(1);
                self.partial = Some(Partial {
                    id: window.next_delivery(),
                    payload,
                    first: true,
                });
            }
            if !self.send_partial(window, context) {
                break;
            }
            sent += 1;
        }
        Ok(sent)
    }

    fn check(&self, context: &Context) -> Result<(), AmqpError> {
        match &self.feed {
            Feed::Events { hub, receiver, .. } => {
                context.shared.hubs().get(hub)?.receivers().check(*receiver)
            }
            Feed::Replies { .. } => Ok(()),
        }
    }

    fn next(&mut self, context: &mut Context) -> Result<Option<Bytes>, AmqpError> {
        match &mut self.feed {
            Feed::Replies { queue, .. } => Ok(queue.pop_front()),
            Feed::Events {
                hub,
                partition,
                next,
                metrics,
                ..
            } => {
                let payload = {
                    let mut hubs = context.shared.hubs();
                    let log = hubs.get(hub)?.partition(partition);
                    let log = log.ok_or_else(|| AmqpError::not_found(partition))?;
                    let Some(event) = log.read(*next) else {
                        return Ok(None);
                    };
                    let mut payload = BytesMut::with_capacity(event.rest.len() + 160);
                    payload.extend_from_slice(&event.header);
                    if *metrics {
                        let (offset, time) = log.last();
                        payload.extend_from_slice(&delivery_annotations(vec![
                            (
                                "last_enqueued_sequence_number",
                                Value::I64(log.last_sequence_number()),
                            ),
                            ("last_enqueued_offset", Value::string(offset)),
                            ("last_enqueued_time_utc", timestamp(time)),
                            (
                                "runtime_info_retrieval_time_utc",
                                timestamp(SystemTime::now()),
                            ),
                        ]));
                    }
                    payload.extend_from_slice(&event.rest);
                    (event.sequence_number, payload.freeze())
                };
                match context.shared.fault(&self.node, Moment::Event) {
                    Some(EventHubsFault::Cut) => context.fate = Some(Fate::Cut),
                    Some(EventHubsFault::Silence) => context.fate = Some(Fate::Silence),
                    Some(EventHubsFault::Busy) => return Err(AmqpError::busy()),
                    Some(fault) => {
                        if let Some(error) = fault.detach() {
                            return Err(error);
                        }
                    }
                    None => {}
                }
                *next = payload.0 + 1;
                Ok(Some(payload.1))
            }
        }
    }

    /// Sends frames while the window is open; returns true once the delivery is whole.
    fn send_partial(&mut self, window: &mut OutgoingWindow, context: &mut Context) -> bool {
        while let Some(partial) = &mut self.partial {
            if !window.take() {
                return false;
            }
            let fields = |first: bool, id: u32, more: bool| {
                let mut fields = vec![Value::U32(self.handle)];
                if first {
                    let tag = Bytes::copy_from_slice(&id.to_be_bytes());
                    fields.extend([Value::U32(id), Value::Binary(tag), Value::U32(0)]);
                } else {
                    fields.extend([Value::Null, Value::Null, Value::Null]);
                }
                fields.extend([Value::Bool(self.settled), Value::Bool(more)]);
                fields
            };
            let room = context.frame_size.saturating_sub(TRANSFER_OVERHEAD).max(64);
            let payload = partial.payload.split_to(room.min(partial.payload.len()));
            let more = !partial.payload.is_empty();
            let fields = fields(partial.first, partial.id, more);
            let mut frame = Frame::new(self.channel, codes::TRANSFER, fields);
            if let Some(body) = &mut frame.body {
                body.payload = payload;
            }
            context.output.frame(&frame);
            partial.first = false;
            if !more {
                self.partial = None;
            }
        }
        true
    }

    /// Ends the registration of a receiver.
    pub(super) fn release(&self, context: &Context) {
        if let Feed::Events { hub, receiver, .. } = &self.feed
            && let Ok(hub) = context.shared.hubs().get(hub)
        {
            hub.receivers().detach(*receiver);
        }
    }
}

/// The most bytes of a transfer frame around its payload.
const TRANSFER_OVERHEAD: usize = 64;
