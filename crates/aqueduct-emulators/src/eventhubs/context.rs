use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::amqp::{Frame, Value, codes};
use super::auth::Authorization;
use super::error::AmqpError;
use super::node::Node;
use super::output::Output;
use super::shared::{Fate, Shared};

/// What the links of a connection work with.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: u64,
    pub(super) output: Output,
    pub(super) wake: Arc<Notify>,
    pub(super) authorization: Authorization,
    /// The largest frame the peer takes.
    pub(super) frame_size: usize,
    pub(super) fate: Option<Fate>,
    pub(super) replies: Vec<Reply>,
}

/// The reply to a request on `$cbs` or `$management`.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) node: Node,
    /// The address to reply to, if the request names one.
    pub(super) to: Option<String>,
    pub(super) message: Bytes,
}

impl Context {
    pub(super) fn send(&mut self, channel: u16, code: u64, fields: Vec<Value>) {
        self.output.frame(&Frame::new(channel, code, fields));
    }

    pub(super) fn detach(&mut self, channel: u16, handle: u32, error: &AmqpError) {
        let fields = vec![Value::U32(handle), Value::Bool(true), error.value()];
        self.send(channel, codes::DETACH, fields);
    }

    pub(super) fn violation(&self, rule: &'static str, detail: impl Into<String>) {
        self.shared.report(self.connection, rule, detail.into());
    }
}
