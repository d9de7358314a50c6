use aqueduct_core::Result;
use fe2o3_amqp::link::CreditMode;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Body, Message, MessageId, Outcome, Properties,
};
use fe2o3_amqp::types::primitives::{SimpleValue, Value};
use fe2o3_amqp::{Receiver, Sender};

use crate::error;

/// A node that answers requests, such as `$cbs`, over a pair of links. Requests go one by one.
pub(super) struct Requests {
    what: String,
    sender: Sender,
    receiver: Receiver,
    /// The address of the responses.
    reply_to: String,
    last: u64,
}

/// The answer to a request.
pub(super) struct Response {
    pub(super) code: i64,
    pub(super) description: String,
    pub(super) body: Value,
}

impl Requests {
    pub(super) async fn open(
        session: &mut SessionHandle<()>,
        node: &str,
        what: &str,
    ) -> Result<Self> {
        let what = format!("{what}: {node}");
        let reply_to = format!("{}-reply", node.trim_start_matches('$'));
        let sender = Sender::builder()
            .name(format!("{reply_to}-request"))
            .target(node)
            .attach(session)
            .await
            .map_err(|failed| error::attach_sender(&what, failed))?;
        let receiver = Receiver::builder()
            .name(reply_to.clone())
            .source(node)
            .target(reply_to.clone())
            .credit_mode(CreditMode::Auto(10))
            .auto_accept(true)
            .attach(session)
            .await
            .map_err(|failed| error::attach_receiver(&what, failed))?;
        Ok(Self {
            what,
            sender,
            receiver,
            reply_to,
            last: 0,
        })
    }

    /// Sends a request and waits for its response. After a cancellation the next request skips the
    /// response of this one.
    pub(super) async fn call(
        &mut self,
        properties: &[(&str, SimpleValue)],
        body: Value,
    ) -> Result<Response> {
        self.last += 1;
        let id = format!("{}", self.last);
        let mut application = ApplicationProperties::default();
        for (name, value) in properties {
            application.insert((*name).to_owned(), value.clone());
        }
        let message = Message::builder()
            .properties(
                Properties::builder()
                    .message_id(MessageId::String(id.clone()))
                    .reply_to(self.reply_to.clone())
                    .build(),
            )
            .application_properties(application)
            .value(body)
            .build();
        let settled = self.sender.send(message).await;
        match settled.map_err(|failed| error::send(&self.what, failed))? {
            Outcome::Accepted(_) => {}
            Outcome::Rejected(rejected) => {
                return Err(match rejected.error {
                    Some(reason) => error::service(&self.what, &reason),
                    None => error::unavailable(&self.what, "the request was rejected"),
                });
            }
            _ => {
                return Err(error::unavailable(
                    &self.what,
                    "the request was not accepted",
                ));
            }
        }
        loop {
            let received = self.receiver.recv::<Body<Value>>().await;
            let delivery = received.map_err(|failed| error::receive(&self.what, failed))?;
            let message = delivery.into_message();
            let correlation = message
                .properties
                .as_ref()
                .and_then(|it| it.correlation_id.as_ref());
            let is_ours = match correlation {
                Some(MessageId::String(answered)) => *answered == id,
                // Some servers do not correlate; there is only one request at a time.
                _ => true,
            };
            if is_ours {
                return Ok(self.response(message));
            }
        }
    }

    pub(super) fn what(&self) -> &str {
        &self.what
    }

    fn response(&self, message: Message<Body<Value>>) -> Response {
        let properties = message.application_properties.unwrap_or_default();
        let text = |names: [&str; 2]| {
            let found = names.iter().find_map(|name| properties.get(*name));
            match found {
                Some(SimpleValue::String(text)) => text.clone(),
                _ => String::new(),
            }
        };
        let code = ["status-code", "statusCode"]
            .iter()
            .find_map(|name| properties.get(*name))
            .map_or(500, integer);
        Response {
            code,
            description: text(["status-description", "statusDescription"]),
            body: match message.body {
                Body::Value(value) => value.0,
                _ => Value::Null,
            },
        }
    }
}

fn integer(value: &SimpleValue) -> i64 {
    match value {
        SimpleValue::Int(it) => i64::from(*it),
        SimpleValue::Long(it) => *it,
        SimpleValue::Uint(it) => i64::from(*it),
        SimpleValue::Ushort(it) => i64::from(*it),
        SimpleValue::Short(it) => i64::from(*it),
        _ => 500,
    }
}
