//! The AMQP client alone, as its documentation uses it.

use aqueduct_core::{Error, ErrorKind, Result};
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::messaging::message::__private::Serializable;
use fe2o3_amqp::types::messaging::{Batch, Data, Message, MessageAnnotations, Outcome, Source};
use fe2o3_amqp::types::primitives::{Symbol, Value};
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use tokio::net::TcpStream;

use super::hub::Hub;
use crate::memory::bad_json;
use crate::payload::Reading;

/// The message format of a batch.
const BATCH: u32 = 0x8001_3700;

/// How many transfers a session takes ahead, as in the adapter.
const WINDOW: u32 = 5_000;

/// A connection with one session.
pub(super) struct Client {
    _connection: ConnectionHandle<()>,
    session: SessionHandle<()>,
}

impl Client {
    pub(super) async fn open(hub: &Hub) -> Result<Self> {
        let stream = TcpStream::connect(hub.address()?)
            .await
            .map_err(|e| failed("the connection", e))?;
        stream
            .set_nodelay(true)
            .map_err(|e| failed("the connection", e))?;
        let mut connection = Connection::builder()
            .container_id("raw")
            .max_frame_size(64 << 10)
            .sasl_profile(SaslProfile::Anonymous)
            .open_with_stream(stream)
            .await
            .map_err(|e| failed("the connection", e))?;
        let session = Session::builder()
            .incoming_window(WINDOW)
            .outgoing_window(WINDOW)
            .begin(&mut connection)
            .await
            .map_err(|e| failed("the session", e))?;
        Ok(Self {
            _connection: connection,
            session,
        })
    }

    pub(super) async fn sender(&mut self) -> Result<Sender> {
        Sender::attach(&mut self.session, "send", "bench")
            .await
            .map_err(|e| failed("a sender", e))
    }

    /// Opens a receiver of a partition, from its first event, that grants credit by itself.
    pub(super) async fn receiver(&mut self, partition: usize) -> Result<Receiver> {
        let address = format!("bench/ConsumerGroups/$Default/Partitions/{partition}");
        let selector = "apache.org:selector-filter:string";
        let source = Source::builder().address(address).add_to_filter(
            Symbol::from(selector),
            Described {
                descriptor: Descriptor::Name(Symbol::from(selector)),
                value: Value::String("amqp.annotation.x-opt-offset > '-1'".to_owned()),
            },
        );
        Receiver::builder()
            .name(format!("receive-{partition}"))
            .source(source.build())
            .credit_mode(fe2o3_amqp::link::CreditMode::Auto(1_000))
            .auto_accept(true)
            .attach(&mut self.session)
            .await
            .map_err(|e| failed("a receiver", e))
    }
}

/// Sends a batch and waits for its outcome. Each message is the data with its key, as an application sends it that
/// knows nothing of CloudEvents.
pub(super) async fn send_batch(sender: &mut Sender, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut batch: Batch<Data> = Batch::new(Vec::new());
    for number in numbers {
        let reading = Reading::new(number);
        let annotations = MessageAnnotations::builder()
            .insert(
                "x-opt-partition-key",
                Value::String(reading.key().to_owned()),
            )
            .build();
        let data = serde_json::to_vec(&reading).map_err(bad_json)?;
        let message = Message::builder()
            .message_annotations(annotations)
            .data(data)
            .build();
        let encoded = serde_amqp::to_vec(&Serializable(message));
        batch.push(Data::from(encoded.map_err(|e| failed("a message", e))?));
    }
    let sendable = Sendable::builder()
        .message(Message::builder().data_batch(batch).build())
        .message_format(BATCH)
        .build();
    match sender.send(sendable).await {
        Ok(Outcome::Accepted(_)) => Ok(()),
        Ok(other) => Err(Error::new(
            ErrorKind::Unavailable,
            format!("a batch was settled as {other:?}"),
        )),
        Err(error) => Err(failed("a batch", error)),
    }
}

pub(super) fn failed(what: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what} failed")).with_source(error)
}
