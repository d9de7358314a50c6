//! Sends events by plain AMQP, or checks those of every sender: `event-hubs-client send|check CONNECTION`.
//! `event-hubs-client certificate FILE` makes a certificate and prints its key.
//! The other two clients, and what each sends, are in `integration-tests/eventhubs`.
#![allow(clippy::unwrap_used, dead_code)]

#[path = "../tests/it/eventhubs/client.rs"]
mod client;

use std::collections::{BTreeMap, BTreeSet};

use fe2o3_amqp::types::messaging::{AmqpSequence, ApplicationProperties, Body, Data, Message};
use fe2o3_amqp::types::messaging::{Properties, message::__private::Serializable};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Symbol, Value};

use self::client::{Client, batch, encoded_batch, event, is_accepted, soon, token};

const SENDERS: [&str; 4] = ["python", "node", "rust", ""];
const EVENTS: usize = 40;
const KEYS: usize = 10;
const PER_KEY: usize = 2;

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let [_, command, connection] = &arguments[..] else {
        panic!("usage: event-hubs-client send|check CONNECTION, or certificate FILE");
    };
    if command == "certificate" {
        return certificate(connection);
    }
    let mut client = connect(connection).await;
    match command.as_str() {
        "send" => send(&mut client).await,
        "check" => check(&mut client).await,
        other => panic!("unknown command {other}"),
    }
    client.close().await;
}

/// Makes a certificate of `localhost` and prints its key.
fn certificate(path: &str) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(path, made.cert.pem()).unwrap();
    print!("{}", made.signing_key.serialize_pem());
}

async fn connect(connection: &str) -> Client {
    let fields: BTreeMap<_, _> = connection
        .split(';')
        .filter_map(|field| field.split_once('='))
        .collect();
    let url = fields["Endpoint"].replacen("sb://", "amqp://", 1);
    let mut client = Client::connect(&url, 64 << 10).await;
    let audience = format!("{url}/orders");
    let name = fields["SharedAccessKeyName"];
    let token = token(name, &audience, fields["SharedAccessKey"], 600);
    assert_eq!(client.put(&audience, token).await.0, 202);
    client
}

fn filled(mut message: Message<Data>, sender: &str, number: usize) -> Message<Data> {
    let properties = Properties::builder()
        .message_id(format!("{sender}-{number}"))
        .content_type(Symbol::from("text/plain"));
    message.properties = Some(properties.build());
    let application = ApplicationProperties::builder()
        .insert("sender", sender)
        .insert("number", number as i64)
        .insert("even", number.is_multiple_of(2))
        .insert("ratio", number as f64 / 4.0);
    message.application_properties = Some(application.build());
    message
}

async fn send(client: &mut Client) {
    let mut sender = client.sender("orders/Partitions/2").await;
    let events =
        (0..EVENTS).map(|number| filled(event(format!("rust {number}"), None), "rust", number));
    let sent = soon("send", sender.send(batch(events.collect(), None))).await;
    assert!(is_accepted(&sent), "{sent:?}");
    let mut sender = client.sender("orders").await;
    for key in 0..KEYS {
        let key = format!("key-{key}");
        let events = (0..PER_KEY).map(|number| {
            let event = event(format!("rust {key} {number}"), Some(&key));
            filled(event, "rust-keys", number)
        });
        let sent = soon("send", sender.send(batch(events.collect(), Some(&key)))).await;
        assert!(is_accepted(&sent), "{sent:?}");
    }
    let mut sender = client.sender("orders/Partitions/3").await;
    let sent_by = || {
        ApplicationProperties::builder()
            .insert("sender", "rust-bodies")
            .build()
    };
    let mut map = OrderedMap::new();
    map.insert(Value::from("a"), Value::from(1));
    let value = Message::builder()
        .application_properties(sent_by())
        .value(Value::Map(map));
    let value = serde_amqp::to_vec(&Serializable(value.build())).unwrap();
    let list = |items: &[i32]| AmqpSequence(items.iter().copied().map(Value::from).collect());
    let sequence = Message::builder()
        .application_properties(sent_by())
        .sequence_batch([list(&[1, 2]).0, list(&[3]).0]);
    let sequence = serde_amqp::to_vec(&Serializable(sequence.build())).unwrap();
    let sent = soon(
        "send",
        sender.send(encoded_batch(vec![value, sequence], None)),
    )
    .await;
    assert!(is_accepted(&sent), "{sent:?}");
}

/// An event with what the checks look at.
struct Found {
    message: Message<Body<Value>>,
    sequence_number: i64,
    offset: String,
    key: Option<String>,
}

impl Found {
    fn sender(&self) -> String {
        match self.property("sender") {
            Some(SimpleValue::String(sender)) => sender,
            other => panic!("sender {other:?}"),
        }
    }

    fn property(&self, name: &str) -> Option<SimpleValue> {
        self.message
            .application_properties
            .as_ref()?
            .get(name)
            .cloned()
    }

    fn number(&self, name: &str) -> f64 {
        match self.property(name) {
            Some(SimpleValue::Int(number)) => f64::from(number),
            Some(SimpleValue::Uint(number)) => f64::from(number),
            Some(SimpleValue::Long(number)) => number as f64,
            Some(SimpleValue::Double(number)) => number.into_inner(),
            Some(SimpleValue::Float(number)) => f64::from(number.into_inner()),
            other => panic!("{name} {other:?}"),
        }
    }

    fn body(&self) -> String {
        let Body::Data(data) = &self.message.body else {
            return String::new();
        };
        let bytes = data
            .iter()
            .flat_map(|data| data.0.iter().copied())
            .collect();
        String::from_utf8(bytes).unwrap()
    }
}

async fn read(client: &mut Client, partition: usize, start: &str, count: usize) -> Vec<Found> {
    let mut receiver = client.receiver(partition, start).await;
    let mut events = Vec::new();
    while events.len() < count {
        let delivery = soon("event", receiver.recv::<Body<Value>>()).await.unwrap();
        receiver.accept(&delivery).await.unwrap();
        let message = delivery.into_message();
        let annotations = client::annotations(&message);
        events.push(Found {
            message,
            sequence_number: annotations.0,
            offset: annotations.1,
            key: annotations.2,
        });
    }
    receiver.close().await.unwrap();
    events
}

async fn check(client: &mut Client) {
    let senders = std::env::var("SENDERS").unwrap();
    let senders: Vec<_> = senders.split(' ').collect();
    let mut seen = Vec::new();
    for partition in 0..4 {
        let last = client.last_sequence_number("orders", partition).await;
        let count = usize::try_from(last + 1).unwrap();
        let events = read(client, partition, "x-opt-offset > '-1'", count).await;
        for (at, found) in events.iter().enumerate() {
            assert_eq!(found.sequence_number, at as i64);
        }
        if let [.., before, last] = &events[..] {
            let start = format!("x-opt-offset > '{}'", before.offset);
            let again = read(client, partition, &start, 1).await;
            assert_eq!(again[0].offset, last.offset);
        }
        seen.push(events);
    }
    let total: usize = seen.iter().map(Vec::len).sum();
    assert_eq!(total, senders.len() * (EVENTS + KEYS * PER_KEY + 2));
    let mut homes = BTreeMap::<_, BTreeSet<_>>::new();
    for sender in senders {
        let home = SENDERS.iter().position(|it| *it == sender).unwrap();
        let mine: Vec<_> = seen[home]
            .iter()
            .filter(|it| it.sender() == sender)
            .collect();
        assert_eq!(mine.len(), EVENTS, "{sender}");
        for (number, found) in mine.into_iter().enumerate() {
            assert_eq!(found.body(), format!("{sender} {number}"));
            let properties = found.message.properties.as_ref().unwrap();
            let id = format!("{:?}", properties.message_id);
            assert!(id.contains(&format!("{sender}-{number}\"")), "{id}");
            assert_eq!(properties.content_type, Some(Symbol::from("text/plain")));
            assert_eq!(found.number("number"), number as f64);
            assert_eq!(found.number("ratio"), number as f64 / 4.0);
            assert_eq!(
                found.property("even"),
                Some(SimpleValue::Bool(number.is_multiple_of(2)))
            );
            assert_eq!(found.key, None);
        }
        for key in (0..KEYS).map(|key| format!("key-{key}")) {
            let mut bodies = Vec::new();
            for (partition, events) in seen.iter().enumerate() {
                let of_key = events.iter().filter(|it| it.key.as_deref() == Some(&key));
                for found in of_key.filter(|it| it.sender() == format!("{sender}-keys")) {
                    bodies.push(found.body());
                    homes.entry(key.clone()).or_default().insert(partition);
                }
            }
            let expected = (0..PER_KEY).map(|number| format!("{sender} {key} {number}"));
            assert_eq!(bodies, expected.collect::<Vec<_>>());
        }
        let mut bodies = seen[3]
            .iter()
            .filter(|it| it.sender() == format!("{sender}-bodies"));
        let (value, sequence) = (bodies.next().unwrap(), bodies.next().unwrap());
        assert!(
            matches!(value.message.body, Body::Value(_)),
            "{:?}",
            value.message
        );
        assert!(
            matches!(sequence.message.body, Body::Sequence(_)),
            "{:?}",
            sequence.message
        );
    }
    assert!(homes.values().all(|home| home.len() == 1), "{homes:?}");
}
