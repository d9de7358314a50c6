use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::amqp::{Frame, Header, Incoming, Performative, Value, codes};
use super::auth::Authorization;
use super::context::Context;
use super::error::AmqpError;
use super::output::Output;
use super::session::Session;
use super::shared::Shared;

/// The protocol of one connection, without its socket.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) context: Context,
    phase: Phase,
    sessions: BTreeMap<u16, Session>,
    /// Channels whose session ended. Clients still detach links there.
    ended: BTreeSet<u16>,
    /// The peer gives the connection up after so long without a frame.
    pub(super) peer_idle: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Before the protocol header.
    Start,
    Sasl,
    /// Before `open`.
    Opening,
    Open,
    Closed,
}

/// Whether a new protocol header comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Continue,
    Restart,
}

impl Connection {
    pub(super) fn new(id: u64, shared: Arc<Shared>, wake: Arc<Notify>) -> Self {
        let output = Output::new(shared.limits.latency);
        Self {
            context: Context {
                shared,
                connection: id,
                output,
                wake,
                authorization: Authorization::default(),
                frame_size: 512,
                fate: None,
                replies: Vec::new(),
            },
            phase: Phase::Start,
            sessions: BTreeMap::new(),
            ended: BTreeSet::new(),
            peer_idle: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.phase == Phase::Open
    }

    pub(super) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Takes what came in.
    pub(super) fn take(&mut self, incoming: Incoming) -> Step {
        match incoming {
            Incoming::Header(header) => {
                self.header(header);
                Step::Continue
            }
            Incoming::Frame { frame, size } => self.frame(frame, size),
        }
    }

    fn header(&mut self, header: Header) {
        self.context.output.bytes(&header.bytes());
        if header == Header::Amqp {
            self.phase = Phase::Opening;
            return;
        }
        self.phase = Phase::Sasl;
        let mechanisms = ["MSSBCBS", "PLAIN", "ANONYMOUS", "EXTERNAL"].map(Value::symbol);
        let fields = vec![Value::Array(mechanisms.into())];
        self.context.send(0, codes::SASL_MECHANISMS, fields);
    }

    fn frame(&mut self, frame: Frame, size: usize) -> Step {
        let limit = self.context.shared.limits.max_frame_size as usize;
        if size > limit {
            let detail = format!("a frame of {size} bytes; at most {limit} are allowed");
            self.context.violation("frame-size", detail);
        }
        let Some(body) = frame.body else {
            return Step::Continue;
        };
        match (self.phase, body.code) {
            (Phase::Closed, _) => {}
            (Phase::Sasl, codes::SASL_INIT) => {
                self.sasl(&body);
                return Step::Restart;
            }
            (Phase::Opening, codes::OPEN) => self.open(&body),
            (Phase::Open, codes::BEGIN) => self.begin(frame.channel, &body),
            (Phase::Open, codes::END) => self.end(frame.channel),
            (Phase::Open, codes::CLOSE) => {
                self.context.send(0, codes::CLOSE, Vec::new());
                self.phase = Phase::Closed;
            }
            (Phase::Open, codes::ATTACH..=codes::DETACH) => self.pass(frame.channel, &body),
            (phase, code) => {
                let detail = format!("performative 0x{code:02x} in phase {phase:?}");
                self.fail("protocol", &detail);
            }
        }
        self.route_replies();
        Step::Continue
    }

    fn sasl(&mut self, init: &Performative) {
        let mut outcome = 0;
        if init.field(0).as_str() == Some("PLAIN") {
            let response = init.field(1).as_binary().cloned().unwrap_or_default();
            let mut parts = response
                .split(|byte| *byte == 0)
                .map(String::from_utf8_lossy);
            let (_, user, password) = (parts.next(), parts.next(), parts.next());
            let (user, password) = (user.unwrap_or_default(), password.unwrap_or_default());
            if self.context.shared.security.check_plain(&user, &password) {
                self.context.authorization.grant_all();
            } else {
                outcome = 1;
            }
        }
        self.context
            .send(0, codes::SASL_OUTCOME, vec![Value::U8(outcome)]);
    }

    fn open(&mut self, open: &Performative) {
        let limits = self.context.shared.limits;
        let theirs = open.field(2).as_u32().unwrap_or(u32::MAX);
        self.context.frame_size = theirs.min(limits.max_frame_size).max(512) as usize;
        let idle = open.field(4).as_u64().filter(|millis| *millis > 0);
        self.peer_idle = idle.map(Duration::from_millis);
        let idle = u32::try_from(limits.idle_timeout.as_millis()).unwrap_or(u32::MAX);
        let fields = vec![
            Value::string("aqueduct-event-hubs"),
            Value::Null,
            Value::U32(limits.max_frame_size),
            Value::U16(4999),
            Value::U32(idle),
        ];
        self.context.send(0, codes::OPEN, fields);
        self.phase = Phase::Open;
    }

    fn begin(&mut self, channel: u16, begin: &Performative) {
        if self.sessions.contains_key(&channel) {
            let detail = format!("begin on channel {channel}, which has a session");
            self.fail("protocol", &detail);
            return;
        }
        let session = Session::begin(channel, begin, &mut self.context);
        self.sessions.insert(channel, session);
    }

    fn end(&mut self, channel: u16) {
        if let Some(session) = self.sessions.remove(&channel) {
            session.release(&self.context);
            self.ended.insert(channel);
            self.context.send(channel, codes::END, Vec::new());
        }
    }

    fn pass(&mut self, channel: u16, body: &Performative) {
        let Some(session) = self.sessions.get_mut(&channel) else {
            if self.ended.contains(&channel) {
                return;
            }
            let detail = format!("a frame on channel {channel}, which has no session");
            self.context.violation("protocol", detail);
            return;
        };
        if let Err(error) = session.frame(body, &mut self.context) {
            session.release(&self.context);
            self.sessions.remove(&channel);
            self.ended.insert(channel);
            self.context.send(channel, codes::END, vec![error.value()]);
        }
    }

    fn route_replies(&mut self) {
        for reply in std::mem::take(&mut self.context.replies) {
            let mut reply = Some(reply);
            // A client that names no address, or one it did not attach, has one link for replies.
            for exact in [true, false] {
                for session in self.sessions.values_mut() {
                    reply = reply.and_then(|reply| session.reply(reply, exact));
                }
            }
        }
    }

    /// Sends the events for which there is credit.
    pub(super) fn pump(&mut self) {
        for session in self.sessions.values_mut() {
            session.pump(&mut self.context);
        }
    }

    /// Does what time demands: settlements that are due, tokens that have expired.
    pub(super) fn tick(&mut self, now: Instant) {
        self.context.output.release(now);
        if !self.context.shared.security.is_open() {
            for session in self.sessions.values_mut() {
                session.expire(&mut self.context);
            }
        }
    }

    pub(super) fn heartbeat(&mut self) {
        self.context.output.frame(&Frame::empty());
    }

    /// Closes the connection with an error.
    pub(super) fn close(&mut self, error: &AmqpError) {
        if self.phase == Phase::Open {
            self.context.send(0, codes::CLOSE, vec![error.value()]);
        }
        self.phase = Phase::Closed;
    }

    /// Reports a violation after which the connection cannot go on.
    pub(super) fn fail(&mut self, rule: &'static str, detail: &str) {
        self.context.violation(rule, detail);
        self.close(&AmqpError::new("amqp:connection:framing-error", detail));
    }

    /// Ends the registrations of its receivers.
    pub(super) fn release(&self) {
        for session in self.sessions.values() {
            session.release(&self.context);
        }
    }
}
