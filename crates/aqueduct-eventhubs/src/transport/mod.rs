//! AMQP 1.0 as Event Hubs speaks it. Nothing outside of this module sees the client library, but for
//! the message types that the codec reads.

mod connection;
mod dial;
mod management;
mod receiver;
mod requests;
mod sender;
mod tls;
mod token;
mod websocket;

pub(crate) use self::connection::{Connection, Connector};
pub(crate) use self::management::{HubProperties, Management, PartitionProperties};
pub(crate) use self::receiver::{From, Incoming, ReceiverLink};
pub(crate) use self::sender::SenderLink;
