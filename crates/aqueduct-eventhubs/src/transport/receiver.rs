use std::sync::Arc;

use aqueduct_core::{Result, Timestamp};
use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::{CreditMode, RecvError};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::{Fields, ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp::types::messaging::{Body, FilterSet, Message, Source};
use fe2o3_amqp::types::primitives::{Symbol, Value};
use futures::FutureExt as _;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;

use super::connection::{Connection, Connector};
use crate::error;

/// A link that receives the events of a partition.
pub(crate) struct ReceiverLink {
    receiver: Receiver,
    what: String,
    _session: SessionHandle<()>,
    _connection: Arc<Connection>,
}

/// Where a link begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Earliest,
    /// Events stored at that time or later.
    Time(Timestamp),
    /// Events after that sequence number. The service refuses one beyond the last event, so what comes
    /// next is never asked for by its own number.
    AfterSequence(i64),
    /// Events after that offset.
    AfterOffset(String),
}

/// A received message, or why it cannot be decoded.
pub(crate) enum Incoming {
    Message(Box<Message<Body<Value>>>),
    Undecodable(String),
}

/// The link property of the owner level.
const EPOCH: &str = "com.microsoft:epoch";

/// The name and the descriptor of the filter that selects the start.
const SELECTOR: &str = "apache.org:selector-filter:string";

impl ReceiverLink {
    /// Opens a link to `HUB/ConsumerGroups/GROUP/Partitions/N`. A link with an epoch displaces those
    /// with a lower one or none.
    pub(crate) async fn open(
        connector: &Connector,
        connection: Arc<Connection>,
        address: &str,
        from: &From,
        epoch: Option<i64>,
    ) -> Result<Self> {
        let what = format!("{} (link from {address})", connector.what());
        let mut session = connection.session().await?;
        let name = connector.name("receive");
        let mut filter = FilterSet::new();
        filter.insert(Symbol::from(SELECTOR), from.filter());
        let mut properties = Fields::new();
        // The service names it in the error of the reader that displaces it.
        properties.insert(
            Symbol::from("com.microsoft:receiver-name"),
            Value::String(name.clone()),
        );
        if let Some(epoch) = epoch {
            properties.insert(Symbol::from(EPOCH), Value::Long(epoch));
        }
        let source = Source::builder().address(address).filter(filter).build();
        let receiver = Receiver::builder()
            .name(name.clone())
            .source(source)
            .target(name)
            .sender_settle_mode(SenderSettleMode::Settled)
            .receiver_settle_mode(ReceiverSettleMode::First)
            .credit_mode(CreditMode::Manual)
            // Settles what a service sends unsettled all the same, so that nothing piles up.
            .auto_accept(true)
            .properties(properties)
            .verify_incoming_source(false)
            .attach(&mut session)
            .await
            .map_err(|failed| error::attach_receiver(&what, failed))?;
        Ok(Self {
            receiver,
            what,
            _session: session,
            _connection: connection,
        })
    }

    /// Lets the service send that many events beyond those received.
    pub(crate) async fn grant(&mut self, credit: u32) -> Result<()> {
        let granted = self.receiver.set_credit(credit).await;
        granted.map_err(|_| error::unavailable(&self.what, "the link was lost"))
    }

    /// Waits for the next message. Cancel safe.
    pub(crate) async fn receive(&mut self) -> Result<Incoming> {
        match self.receiver.recv::<Body<Value>>().await {
            Ok(delivery) => Ok(Incoming::Message(Box::new(delivery.into_message()))),
            Err(RecvError::MessageDecode(failed)) => {
                Ok(Incoming::Undecodable(failed.source.to_string()))
            }
            Err(failed) => Err(error::receive(&self.what, failed)),
        }
    }

    /// Returns the next message if it is there.
    pub(crate) fn receive_now(&mut self) -> Option<Result<Incoming>> {
        self.receive().now_or_never()
    }
}

impl From {
    /// Returns the described filter of the source.
    fn filter(&self) -> Value {
        Value::Described(Box::new(Described {
            descriptor: Descriptor::Name(Symbol::from(SELECTOR)),
            value: Value::String(self.selector()),
        }))
    }

    fn selector(&self) -> String {
        match self {
            Self::Earliest => "amqp.annotation.x-opt-offset > '-1'".to_owned(),
            Self::AfterOffset(offset) => {
                // Quotes are doubled, as in the selectors of JMS.
                let offset = offset.replace('\'', "''");
                format!("amqp.annotation.x-opt-offset > '{offset}'")
            }
            Self::AfterSequence(number) => {
                format!("amqp.annotation.x-opt-sequence-number > '{number}'")
            }
            // The service has no inclusive comparison of times, and keeps milliseconds.
            Self::Time(time) => {
                let millis = time.as_millis();
                let whole = Timestamp::from_millis(millis) == *time;
                let before = millis - i64::from(whole);
                format!("amqp.annotation.x-opt-enqueued-time > '{before}'")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_a_selector() {
        let time = Timestamp::from_millis(1_700_000_000_123);
        let later = time.saturating_add(std::time::Duration::from_micros(1));
        for (from, expected) in [
            (From::Earliest, "x-opt-offset > '-1'"),
            (From::AfterOffset("1:4'7".into()), "x-opt-offset > '1:4''7'"),
            (From::AfterSequence(42), "x-opt-sequence-number > '42'"),
            (From::Time(time), "x-opt-enqueued-time > '1700000000122'"),
            (From::Time(later), "x-opt-enqueued-time > '1700000000123'"),
        ] {
            assert_eq!(from.selector(), format!("amqp.annotation.{expected}"));
        }
    }
}
