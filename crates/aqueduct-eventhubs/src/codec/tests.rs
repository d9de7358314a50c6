use aqueduct_core::{AttributeValue, Event, Timestamp};
use fe2o3_amqp::types::messaging::message::__private::{Deserializable, Serializable};
use fe2o3_amqp::types::messaging::{
    AmqpSequence, AmqpValue, ApplicationProperties, Body, Data, Message, MessageAnnotations,
    Properties,
};
use fe2o3_amqp::types::primitives::{OrderedMap, SimpleValue, Symbol, Uuid, Value};
use proptest::prelude::*;

use super::*;
use crate::config::Encoding;

type Foreign = Message<Body<Value>>;

/// Reads bytes with the client library's own codec.
fn parse(bytes: &[u8]) -> Foreign {
    let parsed: Deserializable<Foreign> = serde_amqp::from_slice(bytes).unwrap();
    parsed.0
}

fn read(mut message: Foreign, encoding: Encoding) -> Event {
    let stamps = Stamps::take(&mut message);
    let (hub, partition) = ("eventhubs:orders".into(), "3".into());
    let at = Place {
        hub: &hub,
        partition: &partition,
        sequence: 42,
    };
    decode(message, &stamps, encoding, at)
}

fn round_trip(event: &Event) -> Event {
    let bytes = encode(event, Encoding::CloudEvents).unwrap();
    read(parse(&bytes), Encoding::CloudEvents)
}

fn event() -> Event {
    Event::bytes("order.placed", "text/plain", "hello").with_source("/shop")
}

fn message(body: Body<Value>) -> Foreign {
    Message::builder().body(body).build()
}

fn data(bytes: &[u8]) -> Body<Value> {
    Body::Data(vec![Data::from(bytes)].into())
}

#[test]
fn an_event_keeps_its_key_where_other_clients_look() {
    let bytes = encode(&event().with_key("VINET"), Encoding::CloudEvents).unwrap();
    let mut parsed = parse(&bytes);
    let stamps = Stamps::take(&mut parsed);
    assert_eq!(stamps.key.as_deref(), Some("VINET"));
    let properties = parsed.application_properties.unwrap();
    assert_eq!(
        properties.get("cloudEvents_type"),
        Some(&SimpleValue::String("order.placed".into()))
    );
    assert_eq!(
        parsed.properties.unwrap().content_type,
        Some(Symbol::from("text/plain"))
    );
    // A key that the service would refuse stays an attribute.
    for key in [String::new(), "k".repeat(129)] {
        let event = event().with_key(key.as_str());
        let mut parsed = parse(&encode(&event, Encoding::CloudEvents).unwrap());
        assert_eq!(Stamps::take(&mut parsed).key, None);
        assert_eq!(round_trip(&event), event);
    }
}

#[test]
fn types_and_absent_data_come_back() {
    let mut event = event();
    for (name, value) in [
        ("yes", AttributeValue::Boolean(true)),
        ("number", AttributeValue::Integer(-7)),
        ("large", AttributeValue::Integer(i32::MIN)),
        ("bytes", AttributeValue::Binary(vec![0, 255].into())),
        ("uri", AttributeValue::Uri("https://example.com/".into())),
        ("ref", AttributeValue::UriRef("/a".into())),
        (
            "when",
            AttributeValue::Timestamp(Timestamp::from_millis(-1)),
        ),
        (
            "fine",
            AttributeValue::Timestamp("2026-02-28T23:59:59.123456789Z".parse().unwrap()),
        ),
        ("digits", AttributeValue::String("5".into())),
    ] {
        event.attributes_mut().set(name, value).unwrap();
    }
    assert_eq!(round_trip(&event), event);
    let bare = Event::new("bare").with_source("s").with_id("1");
    assert_eq!(round_trip(&bare).data(), None);
    let empty = bare.with_data(Vec::new());
    assert_eq!(round_trip(&empty).data().map(|it| it.len()), Some(0));
}

#[test]
fn raw_is_the_data_alone() {
    let bytes = encode(&event().with_key("VINET"), Encoding::Raw).unwrap();
    let parsed = parse(&bytes);
    assert_eq!(parsed.application_properties, None);
    let event = read(parsed, Encoding::Raw);
    assert!(event.is_foreign());
    assert_eq!(event.data().unwrap().as_ref(), b"hello");
    assert_eq!(
        (event.key(), event.content_type()),
        (Some("VINET"), Some("text/plain"))
    );
    assert_eq!(event.id().to_string(), "3/42");
    assert_eq!(event.source(), "eventhubs:orders");
}

#[test]
fn foreign_bodies_are_delivered_as_what_they_are() {
    let value = |value: Value| message(Body::Value(AmqpValue(value)));
    let map: OrderedMap<Value, Value> = [(Value::from("a"), Value::from(1i32))]
        .into_iter()
        .collect();
    let odd: OrderedMap<Value, Value> = [(Value::from(1i32), Value::Null)].into_iter().collect();
    let sequence = Body::Sequence(
        vec![
            AmqpSequence(vec![Value::from(1i64)]),
            AmqpSequence(vec![Value::from(true)]),
        ]
        .into(),
    );
    let parts = Body::Data(vec![Data::from(&b"one"[..]), Data::from(&b"two"[..])].into());
    for (message, bytes, content_type) in [
        (message(data(b"\xff\x00")), &b"\xff\x00"[..], None),
        (message(parts), b"onetwo", None),
        (value(Value::from("text")), b"text", Some("text/plain")),
        (value(Value::Binary(vec![1, 2].into())), b"\x01\x02", None),
        (value(Value::Null), b"", None),
        (value(Value::from(2.5f64)), b"2.5", Some("application/json")),
        (
            value(Value::Map(map)),
            b"{\"a\":1}",
            Some("application/json"),
        ),
        (
            value(Value::Map(odd)),
            b"[[1,null]]",
            Some("application/json"),
        ),
        (message(sequence), b"[1,true]", Some("application/json")),
    ] {
        // Through the wire, as it comes from the service.
        let wire = serde_amqp::to_vec(&Serializable(message)).unwrap();
        let event = read(parse(&wire), Encoding::CloudEvents);
        assert!(event.is_foreign(), "{event:?}");
        assert_eq!(event.data().unwrap().as_ref(), bytes);
        assert_eq!(event.content_type(), content_type);
    }
}

#[test]
fn properties_of_every_type_are_delivered() {
    let all = [
        ("boolean", SimpleValue::Bool(true)),
        ("ubyte", SimpleValue::Ubyte(200)),
        ("ushort", SimpleValue::Ushort(60_000)),
        ("uint", SimpleValue::Uint(4_000_000_000)),
        ("ulong", SimpleValue::Ulong(u64::MAX)),
        ("byte", SimpleValue::Byte(-5)),
        ("short", SimpleValue::Short(-500)),
        ("int", SimpleValue::Int(-5_000)),
        ("long", SimpleValue::Long(i64::MIN)),
        ("float", SimpleValue::Float(1.5f32.into())),
        ("double", SimpleValue::Double(f64::INFINITY.into())),
        ("char", SimpleValue::Char('ü')),
        ("timestamp", SimpleValue::Timestamp(1_000i64.into())),
        ("uuid", SimpleValue::Uuid(Uuid::from([7; 16]))),
        ("binary", SimpleValue::Binary(vec![1, 2].into())),
        ("string", SimpleValue::String("text".into())),
        ("symbol", SimpleValue::Symbol(Symbol::from("symbol"))),
    ];
    let mut properties = ApplicationProperties::default();
    for (name, value) in all.clone() {
        properties.insert(name.to_owned(), value);
    }
    properties.insert("Not-A-Name".to_owned(), SimpleValue::Null);
    let mut message = message(data(b"x"));
    message.application_properties = Some(properties);
    message.properties = Some(
        Properties::builder()
            .message_id(7u64)
            .subject("s".to_owned())
            .build(),
    );
    let wire = serde_amqp::to_vec(&Serializable(message)).unwrap();
    let event = read(parse(&wire), Encoding::CloudEvents);
    let whole = event.attributes().get(FOREIGN).unwrap().as_str().unwrap();
    for (name, _) in all {
        assert!(event.attributes().get(name).is_some(), "{name}");
        assert!(
            whole.contains(&format!("\"{name}\":{{\"{name}\":")),
            "{name}: {whole}"
        );
    }
    for expected in [
        r#""ulong":{"ulong":18446744073709551615}"#,
        r#""double":{"double":"inf"}"#,
        r#""uuid":{"uuid":"07070707-0707-0707-0707-070707070707"}"#,
        r#""Not-A-Name":null"#,
        r#""message-id":{"ulong":7}"#,
    ] {
        assert!(whole.contains(expected), "{expected}: {whole}");
    }
    assert_eq!(
        event.attributes().get("byte"),
        Some(&AttributeValue::Integer(-5))
    );
    assert_eq!(event.subject(), Some("s"));
}

#[test]
fn cloudevents_of_others_are_read_and_invalid_ones_say_why() {
    let with = |properties: &[(&str, SimpleValue)]| {
        let mut all = ApplicationProperties::default();
        for (name, value) in properties {
            all.insert((*name).to_owned(), value.clone());
        }
        let mut message = message(data(b"{}"));
        message.application_properties = Some(all);
        message.message_annotations = Some(
            MessageAnnotations::builder()
                .insert(PARTITION_KEY, "VINET")
                .build(),
        );
        message
    };
    let text = |text: &str| SimpleValue::String(text.into());
    let required = [
        ("cloudEvents:specversion", text("1.0")),
        ("cloudEvents:id", text("A1")),
        ("cloudEvents:source", text("/s")),
        ("cloudEvents:type", text("t")),
        ("cloudEvents:time", text("2026-01-01T00:00:00Z")),
        ("other", SimpleValue::Int(1)),
    ];
    let event = read(with(&required), Encoding::CloudEvents);
    assert_eq!((event.kind(), event.source()), ("t", "/s"));
    assert_eq!(event.key(), None);

    let replaced = |at: usize, value: SimpleValue| {
        let mut all = required.clone();
        all[at].1 = value;
        with(&all)
    };
    let body = br#"{"specversion":"1.0","id":"1","source":"/s","type":"order.placed"}"#;
    let mut structured = message(data(body));
    structured.properties = Some(
        Properties::builder()
            .content_type("application/cloudevents+json; charset=utf-8")
            .build(),
    );
    assert_eq!(
        read(structured, Encoding::CloudEvents).kind(),
        "order.placed"
    );
    for (message, why) in [
        (replaced(0, text("0.3")), "0.3"),
        (replaced(1, SimpleValue::Int(1)), "cloudEvents:id"),
        (replaced(2, text("")), "source"),
        (replaced(4, text("yesterday")), "cloudEvents:time"),
        (with(&required[..3]), "type"),
    ] {
        let damaged = read(message, Encoding::CloudEvents);
        assert_eq!(damaged.kind(), Event::DAMAGED.as_str());
        assert!(
            damaged.damage().unwrap().contains(why),
            "{:?}",
            damaged.damage()
        );
        assert_eq!(damaged.key(), Some("VINET"));
        assert_eq!(damaged.data().unwrap().as_ref(), b"{}");
    }
}

#[test]
fn the_stamps_of_the_service_are_read() {
    let mut stamped = message(data(b"x"));
    stamped.message_annotations = Some(
        MessageAnnotations::builder()
            .insert("x-opt-sequence-number", 7i64)
            .insert("x-opt-offset", "5:geo:'7'")
            .insert("x-opt-enqueued-time", Value::Timestamp(5i64.into()))
            .build(),
    );
    let stamps = Stamps::take(&mut stamped);
    assert_eq!(stamps.sequence, Some(7));
    assert_eq!(stamps.offset.as_deref(), Some("5:geo:'7'"));
    assert_eq!(stamps.stored_at, Some(Timestamp::from_millis(5)));
    assert_eq!(stamps.key, None);
}

fn attribute() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::from),
        any::<i32>().prop_map(AttributeValue::from),
        any::<String>().prop_map(AttributeValue::from),
        any::<Vec<u8>>().prop_map(|it| AttributeValue::Binary(it.into())),
        any::<String>().prop_map(|it| AttributeValue::Uri(it.into())),
        (-62_000_000_000i64..253_000_000_000, 0..1_000_000_000i32).prop_map(|(seconds, nanos)| {
            AttributeValue::Timestamp(Timestamp::from_parts(seconds, nanos).unwrap())
        }),
    ]
}

proptest! {
    #[test]
    fn any_event_comes_back(
        data: Option<Vec<u8>>,
        id in ".{1,300}",
        key: Option<String>,
        content_type in prop::option::of("\\PC{1,40}"),
        nanos in prop::option::of(0..1_000_000_000i32),
        attributes in prop::collection::btree_map("x[a-z0-9]{1,300}", attribute(), 0..6),
    ) {
        let mut event = Event::new("t").with_source("/s").with_id(id);
        if let Some(data) = data {
            event = event.with_data(data);
        }
        if let Some(key) = key {
            event = event.with_key(key);
        }
        if let Some(content_type) = content_type {
            event = event.with_content_type(content_type);
        }
        if let Some(nanos) = nanos {
            event = event.with_time(Timestamp::from_parts(1_700_000_000, nanos).unwrap());
        }
        for (name, value) in attributes {
            event.attributes_mut().set(name, value).unwrap();
        }
        prop_assert_eq!(round_trip(&event), event);
    }

    #[test]
    fn our_bytes_are_those_of_the_client_library(data: Vec<u8>, key in "[a-z]{1,20}") {
        let event = Event::new("t").with_source("/s").with_key(key).with_data(data);
        let ours = parse(&encode(&event, Encoding::CloudEvents).unwrap());
        let theirs = serde_amqp::to_vec(&Serializable(ours.clone())).unwrap();
        prop_assert_eq!(parse(&theirs), ours);
    }
}
