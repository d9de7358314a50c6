use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aqueduct_emulators::{EventHubs, EventHubsOptions};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use fe2o3_amqp::connection::ConnectionHandle;
use fe2o3_amqp::link::{ReceiverAttachError, RecvError, SendError, SenderAttachError};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::definitions::Fields;
use fe2o3_amqp::types::messaging::annotations::{AnnotationKey, Annotations};
use fe2o3_amqp::types::messaging::message::__private::Serializable;
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, Batch, Body, Data, Message, MessageAnnotations, Outcome, Properties,
    Source,
};
use fe2o3_amqp::types::primitives::{Binary, SimpleValue, Symbol, Value};
use fe2o3_amqp::{Connection, Receiver, Sendable, Sender, Session};
use ring::hmac;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;

/// The format of a batch.
pub(crate) const BATCH: u32 = 0x8001_3700;

/// Starts a namespace with the hub `orders` of 4 partitions.
pub(crate) async fn start() -> EventHubs {
    start_with(EventHubsOptions::new()).await
}

pub(crate) async fn start_with(options: EventHubsOptions) -> EventHubs {
    let options = options
        .with_hub("orders", 4)
        .with_consumer_group("orders", "billing");
    EventHubs::start(options).await.unwrap()
}

/// Waits with a generous deadline.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(60), future).await;
    waited.unwrap_or_else(|_| panic!("{what}: nothing within 60 s"))
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    soon(what, async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

pub(crate) struct Client {
    pub(crate) connection: ConnectionHandle<()>,
    pub(crate) session: SessionHandle<()>,
    links: u32,
}

/// An event as a receiver sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) body: Vec<u8>,
    pub(crate) sequence_number: i64,
    pub(crate) offset: String,
    pub(crate) key: Option<String>,
    pub(crate) last: Option<i64>,
}

impl Client {
    pub(crate) async fn open(hubs: &EventHubs) -> Self {
        Self::connect(&hubs.endpoint(), 64 << 10).await
    }

    /// Opens a connection that takes frames of that size.
    pub(crate) async fn connect(url: &str, frame: u32) -> Self {
        let builder = Connection::builder()
            .container_id("test")
            .max_frame_size(frame);
        let opened = soon("open", builder.open(url)).await;
        Self::over(opened.unwrap()).await
    }

    /// Begins a session on a connection.
    pub(crate) async fn over(mut connection: ConnectionHandle<()>) -> Self {
        let session = soon("begin", Session::begin(&mut connection))
            .await
            .unwrap();
        Self {
            connection,
            session,
            links: 0,
        }
    }

    fn name(&mut self) -> String {
        self.links += 1;
        format!("link-{}", self.links)
    }

    pub(crate) async fn sender(&mut self, address: &str) -> Sender {
        self.try_sender(address).await.unwrap()
    }

    pub(crate) async fn try_sender(&mut self, address: &str) -> Result<Sender, SenderAttachError> {
        let name = self.name();
        soon("attach", Sender::attach(&mut self.session, name, address)).await
    }

    /// Attaches a receiver of `$Default` with a selector such as `x-opt-offset > '-1'`.
    pub(crate) async fn receiver(&mut self, partition: usize, selector: &str) -> Receiver {
        let attached = self.try_receiver("$Default", partition, selector, None);
        attached.await.unwrap()
    }

    pub(crate) async fn try_receiver(
        &mut self,
        group: &str,
        partition: usize,
        selector: &str,
        epoch: Option<i64>,
    ) -> Result<Receiver, ReceiverAttachError> {
        let address = format!("orders/ConsumerGroups/{group}/Partitions/{partition}");
        let source = Source::builder().address(address).add_to_filter(
            Symbol::from("apache.org:selector-filter:string"),
            Described {
                descriptor: Descriptor::Code(0x468c_0000_0004),
                value: Value::String(format!("amqp.annotation.{selector}")),
            },
        );
        let mut builder = Receiver::builder()
            .name(self.name())
            .source(source.build())
            .add_desired_capabilities("com.microsoft:enable-receiver-runtime-metric");
        if let Some(epoch) = epoch {
            let mut properties = Fields::new();
            properties.insert(Symbol::from("com.microsoft:epoch"), Value::Long(epoch));
            builder = builder.properties(properties);
        }
        soon("attach", builder.attach(&mut self.session)).await
    }

    /// Sends a request to `$cbs` or `$management`; returns its status and the reply.
    pub(crate) async fn request(
        &mut self,
        node: &str,
        properties: Vec<(&str, SimpleValue)>,
        body: Value,
    ) -> (i32, Message<Body<Value>>) {
        let reply_to = self.name();
        let mut sender = self.sender(node).await;
        let receiver = Receiver::builder()
            .name(self.name())
            .source(node)
            .target(reply_to.clone());
        let mut receiver = soon("attach", receiver.attach(&mut self.session))
            .await
            .unwrap();
        let mut application = ApplicationProperties::builder();
        for (key, value) in properties {
            application = application.insert(key, value);
        }
        let request = Message::builder()
            .properties(
                Properties::builder()
                    .message_id(7_u64)
                    .reply_to(reply_to)
                    .build(),
            )
            .application_properties(application.build())
            .value(body)
            .build();
        soon("request", sender.send(request)).await.unwrap();
        let reply = soon("reply", receiver.recv::<Body<Value>>()).await.unwrap();
        soon("accept", receiver.accept(&reply)).await.unwrap();
        let reply = reply.into_message();
        let status = reply.application_properties.as_ref().unwrap();
        let Some(SimpleValue::Int(status)) = status.get("status-code").cloned() else {
            panic!("no status-code: {reply:?}");
        };
        sender.close().await.unwrap();
        receiver.close().await.unwrap();
        (status, reply)
    }

    /// Reads a hub or partition from `$management`.
    pub(crate) async fn read(
        &mut self,
        kind: &str,
        hub: &str,
        partition: usize,
    ) -> (i32, Message<Body<Value>>) {
        let text = |text: &str| SimpleValue::String(text.to_owned());
        let properties = vec![
            ("operation", text("READ")),
            ("name", text(hub)),
            ("type", text(&format!("com.microsoft:{kind}"))),
            ("partition", text(&partition.to_string())),
        ];
        self.request("$management", properties, Value::Null).await
    }

    pub(crate) async fn last_sequence_number(&mut self, hub: &str, partition: usize) -> i64 {
        let (status, reply) = self.read("partition", hub, partition).await;
        assert_eq!(status, 200);
        match field(&reply, "last_enqueued_sequence_number") {
            Value::Long(last) => last,
            other => panic!("last sequence number {other:?}"),
        }
    }

    /// Puts a token; returns the status and the properties of the reply.
    pub(crate) async fn put(&mut self, audience: &str, token: String) -> (i32, String) {
        let text = |text: &str| SimpleValue::String(text.to_owned());
        let properties = vec![
            ("operation", text("put-token")),
            ("type", text("servicebus.windows.net:sastoken")),
            ("name", text(audience)),
        ];
        let put = self.request("$cbs", properties, Value::String(token));
        let (status, reply) = put.await;
        (status, format!("{:?}", reply.application_properties))
    }

    pub(crate) async fn close(mut self) {
        self.session.end().await.unwrap();
        self.connection.close().await.unwrap();
    }
}

/// A shared access signature.
pub(crate) fn token(name: &str, resource: &str, key: &str, expires_in: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let expiry = now.as_secs() as i64 + expires_in;
    let encode =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let resource = encode(resource);
    let signing = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    let signature = hmac::sign(&signing, format!("{resource}\n{expiry}").as_bytes());
    let signature = encode(&STANDARD.encode(signature));
    format!("SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={name}")
}

/// A message with a data body, and a partition key.
pub(crate) fn event(body: impl Into<Vec<u8>>, key: Option<&str>) -> Message<Data> {
    let annotations = key.map(|key| {
        let mut annotations = Annotations::new();
        annotations.insert(
            Symbol::from("x-opt-partition-key").into(),
            Value::String(key.to_owned()),
        );
        MessageAnnotations(annotations)
    });
    let mut message = Message::builder().data(Binary::from(body.into())).build();
    message.message_annotations = annotations;
    message
}

pub(crate) fn encoded(message: Message<Data>) -> Vec<u8> {
    serde_amqp::to_vec(&Serializable(message)).unwrap()
}

/// A batch of messages.
pub(crate) fn batch(messages: Vec<Message<Data>>, key: Option<&str>) -> Sendable<Batch<Data>> {
    encoded_batch(messages.into_iter().map(encoded).collect(), key)
}

/// A batch of encoded messages.
pub(crate) fn encoded_batch(messages: Vec<Vec<u8>>, key: Option<&str>) -> Sendable<Batch<Data>> {
    let data = messages.into_iter().map(Data::from);
    let mut message = Message::builder().data_batch(data).build();
    message.message_annotations = event("", key).message_annotations;
    Sendable::builder()
        .message(message)
        .message_format(BATCH)
        .build()
}

pub(crate) fn is_accepted(sent: &Result<Outcome, SendError>) -> bool {
    matches!(sent, Ok(Outcome::Accepted(_)))
}

/// Receives one event and accepts it.
pub(crate) async fn receive(receiver: &mut Receiver) -> Seen {
    soon("event", try_receive(receiver)).await.unwrap()
}

pub(crate) async fn try_receive(receiver: &mut Receiver) -> Result<Seen, RecvError> {
    let delivery = receiver.recv::<Body<Value>>().await?;
    receiver.accept(&delivery).await.unwrap();
    Ok(seen(delivery.into_message()))
}

fn seen(message: Message<Body<Value>>) -> Seen {
    let (sequence_number, offset, key) = annotations(&message);
    let last = message.delivery_annotations.as_ref();
    let last = last.and_then(|it| get(&it.0, "last_enqueued_sequence_number"));
    let body = match message.body {
        Body::Data(data) => data.into_iter().flat_map(|it| it.0.into_vec()).collect(),
        other => panic!("body {other:?}"),
    };
    Seen {
        body,
        sequence_number,
        offset,
        key,
        last: last.map(|last| match last {
            Value::Long(last) => last,
            other => panic!("last sequence number {other:?}"),
        }),
    }
}

/// Returns sequence number, offset and partition key.
pub(crate) fn annotations(message: &Message<Body<Value>>) -> (i64, String, Option<String>) {
    let map = &message.message_annotations.as_ref().unwrap().0;
    let Some(Value::Long(sequence_number)) = get(map, "x-opt-sequence-number") else {
        panic!("no sequence number in {map:?}");
    };
    let Some(Value::String(offset)) = get(map, "x-opt-offset") else {
        panic!("no offset in {map:?}");
    };
    let time = get(map, "x-opt-enqueued-time");
    assert!(matches!(time, Some(Value::Timestamp(_))), "{time:?}");
    let key = match get(map, "x-opt-partition-key") {
        Some(Value::String(key)) => Some(key),
        None => None,
        other => panic!("partition key {other:?}"),
    };
    (sequence_number, offset, key)
}

fn get(map: &Annotations, key: &str) -> Option<Value> {
    map.get(&Symbol::from(key) as &dyn AnnotationKey).cloned()
}

/// Returns a field of the body of a reply of `$management`.
pub(crate) fn field(reply: &Message<Body<Value>>, name: &str) -> Value {
    let Body::Value(body) = &reply.body else {
        panic!("{reply:?}");
    };
    let Value::Map(map) = &body.0 else {
        panic!("{reply:?}");
    };
    map.get(&Value::String(name.to_owned())).cloned().unwrap()
}
