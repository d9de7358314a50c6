use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::amqp::{Performative, Value, codes};
use super::attach::{self, Attached};
use super::context::{Context, Reply};
use super::error::AmqpError;
use super::inbound::{Inbound, Next};
use super::outbound::Outbound;
use super::window::{IncomingWindow, OutgoingWindow};

/// A session and its links.
#[derive(Debug)]
pub(super) struct Session {
    channel: u16,
    incoming: IncomingWindow,
    outgoing: OutgoingWindow,
    links: BTreeMap<u32, Link>,
    /// Handles that the service detached: the client may have sent frames before it knew.
    closed: BTreeSet<u32>,
}

/// A link, by the handle of the client, which the service uses as well.
#[derive(Debug)]
pub(super) enum Link {
    Inbound(Inbound),
    Outbound(Outbound),
    /// Detached by the service; the client has yet to detach.
    Closing,
}

/// The deliveries a link may send before it is another one's turn.
const TURN: usize = 64;

impl Session {
    /// Begins a session.
    pub(super) fn begin(channel: u16, begin: &Performative, context: &mut Context) -> Self {
        let limit = context.shared.limits.session_window;
        let expected = begin.field(1).as_u32().unwrap_or(0);
        let window = begin.field(2).as_u32().unwrap_or(0);
        let outgoing = OutgoingWindow::new(window);
        let fields = vec![
            Value::U16(channel),
            Value::U32(outgoing.next()),
            Value::U32(limit),
            Value::U32(limit),
            Value::U32(255),
        ];
        context.send(channel, codes::BEGIN, fields);
        Self {
            channel,
            incoming: IncomingWindow::new(expected, limit),
            outgoing,
            links: BTreeMap::new(),
            closed: BTreeSet::new(),
        }
    }

    /// Takes a frame.
    ///
    /// # Errors
    /// The error with which the session ends.
    pub(super) fn frame(
        &mut self,
        frame: &Performative,
        context: &mut Context,
    ) -> Result<(), AmqpError> {
        match frame.code {
            codes::ATTACH => self.attach(frame, context),
            codes::FLOW => self.flow(frame, context),
            codes::TRANSFER => self.transfer(frame, context),
            codes::DISPOSITION => {
                // Only receivers settle here; a sender's disposition concerns nothing.
                if frame.field(0).as_bool() == Some(true) {
                    self.outgoing.disposition(frame, context);
                }
                Ok(())
            }
            codes::DETACH => {
                self.detach(frame, context);
                Ok(())
            }
            other => {
                let detail = format!("performative 0x{other:02x} inside a session");
                context.violation("protocol", &*detail);
                Err(AmqpError::new("amqp:not-allowed", detail))
            }
        }
    }

    fn attach(&mut self, frame: &Performative, context: &mut Context) -> Result<(), AmqpError> {
        let handle = frame.field(1).as_u32().unwrap_or(0);
        if self.links.contains_key(&handle) {
            let detail = format!("handle {handle} is in use");
            context.violation("handle", &*detail);
            return Err(AmqpError::new("amqp:session:handle-in-use", detail));
        }
        self.closed.remove(&handle);
        let attached = attach::attach(self.channel, handle, frame, context);
        attach::respond(self.channel, frame, &attached, context);
        let link = match attached {
            Ok(Attached::Inbound(mut link)) => {
                self.send_flow(Some((handle, link.fill())), context);
                link.filled(context.output.position());
                Link::Inbound(link)
            }
            Ok(Attached::Outbound(link)) => Link::Outbound(link),
            Err(error) => {
                context.detach(self.channel, handle, &error);
                Link::Closing
            }
        };
        self.links.insert(handle, link);
        Ok(())
    }

    fn flow(&mut self, frame: &Performative, context: &mut Context) -> Result<(), AmqpError> {
        self.incoming.check(frame, context);
        self.outgoing.flow(frame, context);
        let mut filled = false;
        let mut reply = frame.field(9).as_bool().unwrap_or(false).then_some(None);
        let handle = frame.field(4).as_u32();
        if let Some(handle) = handle {
            let echo = reply.is_some();
            match self.links.get_mut(&handle) {
                Some(Link::Outbound(link)) => {
                    let count = frame.field(5).as_u32();
                    let credit = frame.field(6).as_u32().unwrap_or(0);
                    let drain = frame.field(8).as_bool().unwrap_or(false);
                    if link.flow(count, credit, drain) {
                        link.pump(usize::MAX, &mut self.outgoing, context).ok();
                        link.drained();
                        reply = Some(Some((handle, link.state())));
                    } else if echo {
                        reply = Some(Some((handle, link.state())));
                    }
                }
                Some(Link::Inbound(link)) => {
                    if echo {
                        reply = Some(Some((handle, link.fill())));
                        filled = true;
                    }
                }
                Some(Link::Closing) => {}
                None if self.closed.contains(&handle) => {}
                None => return Err(unattached(handle, context)),
            }
        }
        if let Some(link) = reply {
            self.send_flow(link, context);
        }
        if filled && let Some(Link::Inbound(link)) = handle.and_then(|it| self.links.get_mut(&it)) {
            link.filled(context.output.position());
        }
        Ok(())
    }

    fn transfer(&mut self, frame: &Performative, context: &mut Context) -> Result<(), AmqpError> {
        self.incoming.transfer(context);
        let handle = frame.field(0).as_u32().unwrap_or(0);
        let id = frame.field(1).as_u32();
        let link = match self.links.get_mut(&handle) {
            Some(Link::Inbound(link)) => link,
            Some(Link::Closing) => {
                // Under way when the service detached.
                if id.is_some() {
                    self.incoming.delivery(None, id, context);
                }
                return Ok(());
            }
            None if self.closed.contains(&handle) => return Ok(()),
            Some(Link::Outbound(_)) => {
                let detail = format!("a transfer on handle {handle}, where the client receives");
                context.violation("protocol", &*detail);
                return Err(AmqpError::new("amqp:not-allowed", detail));
            }
            None => return Err(unattached(handle, context)),
        };
        let id = self.incoming.delivery(link.partial(), id, context);
        let next = link.transfer(id, frame, context);
        let fill = link.is_low().then(|| (handle, link.fill()));
        if let Next::Detach(error) = next {
            context.detach(self.channel, handle, &error);
            self.links.insert(handle, Link::Closing);
            return Ok(());
        }
        if fill.is_some() || self.incoming.is_low() {
            self.send_flow(fill, context);
        }
        if fill.is_some()
            && let Some(Link::Inbound(link)) = self.links.get_mut(&handle)
        {
            link.filled(context.output.position());
        }
        Ok(())
    }

    fn detach(&mut self, frame: &Performative, context: &mut Context) {
        let handle = frame.field(0).as_u32().unwrap_or(0);
        let closed = frame.field(1).as_bool().unwrap_or(false);
        match self.links.remove(&handle) {
            Some(Link::Closing) => {
                self.closed.insert(handle);
                return;
            }
            Some(Link::Outbound(link)) => link.release(context),
            Some(Link::Inbound(_)) => {}
            None => {
                context.violation("handle", format!("detach of handle {handle}, not attached"));
                return;
            }
        }
        let fields = vec![Value::U32(handle), Value::Bool(closed), Value::Null];
        context.send(self.channel, codes::DETACH, fields);
    }

    /// Sends a flow, which also opens the window of the session.
    fn send_flow(&mut self, link: Option<(u32, (u32, u32))>, context: &mut Context) {
        let (next_incoming, window) = self.incoming.open();
        let mut fields = vec![
            Value::U32(next_incoming),
            Value::U32(window),
            Value::U32(self.outgoing.next()),
            Value::U32(context.shared.limits.session_window),
        ];
        if let Some((handle, (count, credit))) = link {
            fields.extend([Value::U32(handle), Value::U32(count), Value::U32(credit)]);
            fields.extend([Value::Null, Value::Bool(false), Value::Bool(false)]);
        }
        context.send(self.channel, codes::FLOW, fields);
        self.incoming.opened(context.output.position());
    }

    /// Gives a reply to the link it is for; returns it if that is not here.
    pub(super) fn reply(&mut self, reply: Reply, exact: bool) -> Option<Reply> {
        let address = if exact { reply.to.as_deref() } else { None };
        for link in self.links.values_mut() {
            if let Link::Outbound(link) = link
                && link.takes_reply(&reply.node, address)
            {
                link.reply(reply.message);
                return None;
            }
        }
        Some(reply)
    }

    /// Sends what the links may send.
    pub(super) fn pump(&mut self, context: &mut Context) {
        let mut busy = true;
        while busy && context.fate.is_none() {
            busy = false;
            for (handle, slot) in &mut self.links {
                let Link::Outbound(link) = slot else { continue };
                match link.pump(TURN, &mut self.outgoing, context) {
                    Ok(sent) => busy |= sent == TURN,
                    Err(error) => {
                        context.detach(self.channel, *handle, &error);
                        link.release(context);
                        *slot = Link::Closing;
                    }
                }
            }
        }
    }

    /// Detaches the links for which no token is valid any more.
    pub(super) fn expire(&mut self, context: &mut Context) {
        let shared = Arc::clone(&context.shared);
        for (handle, slot) in &mut self.links {
            let node = match slot {
                Link::Inbound(link) => &link.node,
                Link::Outbound(link) => &link.node,
                Link::Closing => continue,
            };
            if attach::is_open_to_all(node) {
                continue;
            }
            let checked = context
                .authorization
                .check(&shared.security, &node.to_string());
            if let Err(error) = checked {
                context.detach(self.channel, *handle, &error);
                if let Link::Outbound(link) = slot {
                    link.release(context);
                }
                *slot = Link::Closing;
            }
        }
    }

    /// Ends the registrations of its receivers.
    pub(super) fn release(&self, context: &Context) {
        for link in self.links.values() {
            if let Link::Outbound(link) = link {
                link.release(context);
            }
        }
    }
}

fn unattached(handle: u32, context: &Context) -> AmqpError {
    let detail = format!("handle {handle} is not attached");
    context.violation("handle", &*detail);
    AmqpError::new("amqp:session:unattached-handle", detail)
}
