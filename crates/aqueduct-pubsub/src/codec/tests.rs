use std::collections::HashMap;

use aqueduct_core::{AttributeValue, Event};
use google_cloud_pubsub::model::Message;
use proptest::prelude::*;

use super::*;
use crate::config::Encoding;

fn read(message: Message) -> Event {
    decode(Incoming {
        id: "message-1",
        data: message.data,
        attributes: message.attributes,
        ordering_key: &message.ordering_key,
        source: &"pubsub://shop/orders".into(),
    })
}

fn write(event: &Event) -> Message {
    encode(event, Encoding::CloudEvents, true).unwrap()
}

fn message(data: &str, attributes: &[(&str, &str)]) -> Message {
    let mut message = Message::new();
    message.data = data.to_owned().into();
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    message.attributes = attributes.iter().map(owned).collect();
    message
}

fn is_binary(message: &Message) -> bool {
    message.attributes.contains_key(VERSION)
}

#[test]
fn the_binding_names_the_attributes() {
    let event = Event::bytes("order.placed", "text/plain", "hello")
        .with_id("A1")
        .with_source("/shop")
        .with_subject("orders/1")
        .with_time("2026-02-28T23:59:59.5Z".parse().unwrap())
        .with_key("VINET");
    let encoded = write(&event);
    let expected: HashMap<String, String> = [
        ("ce-specversion", "1.0"),
        ("ce-id", "A1"),
        ("ce-source", "/shop"),
        ("ce-type", "order.placed"),
        ("ce-subject", "orders/1"),
        ("ce-time", "2026-02-28T23:59:59.5Z"),
        ("Content-Type", "text/plain"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    assert_eq!(encoded.attributes, expected);
    assert_eq!(
        (&*encoded.data, &*encoded.ordering_key),
        (&b"hello"[..], "VINET")
    );
    assert_eq!(read(encoded), event);
    let unordered = encode(&event, Encoding::CloudEvents, false).unwrap();
    assert_eq!(unordered.ordering_key, "");
    assert_eq!(unordered.attributes["ce-partitionkey"], "VINET");
    assert_eq!(read(unordered), event);
}

#[test]
fn what_attributes_cannot_hold_goes_in_the_structured_format() {
    let event = Event::bytes("t", "text/plain", "x")
        .with_source("/s")
        .with_id("1");
    let long = event.clone().with_subject("s".repeat(LONGEST_VALUE + 1));
    let mut many = event.clone();
    for n in 0..MOST_ATTRIBUTES {
        many.attributes_mut().set(format!("a{n}"), "v").unwrap();
    }
    let empty = event.clone().with_data("");
    for odd in [long, many, empty] {
        let encoded = write(&odd);
        assert!(!is_binary(&encoded));
        assert!(encoded.attributes.len() <= 2);
        assert_eq!(read(encoded), odd);
    }
    let bare = Event::new("t").with_source("/s").with_id("1");
    assert!(is_binary(&write(&bare)));
    assert_eq!(read(write(&bare)).data(), None);
}

#[test]
fn a_key_that_the_service_does_not_take_is_hashed_and_comes_back() {
    for key in [String::new(), "k".repeat(1025), format!("{HASHED}1")] {
        let event = Event::bytes("t", "text/plain", "x")
            .with_source("/s")
            .with_key(key.as_str());
        let encoded = write(&event);
        assert!(encoded.ordering_key.starts_with(HASHED) && encoded.ordering_key.len() <= 1024);
        assert_eq!(read(encoded), event);
    }
    let raw = encode(
        &Event::bytes("t", "a/b", "x").with_source("/s").with_key(""),
        Encoding::Raw,
        true,
    );
    assert_eq!(
        read(raw.unwrap()).key(),
        None,
        "a hash is not reported as a key"
    );
}

#[test]
fn types_come_back_in_both_forms() {
    let mut event = Event::bytes("t", "text/plain", "x").with_source("/s");
    for (name, value) in [
        ("yes", AttributeValue::Boolean(true)),
        ("count", AttributeValue::Integer(-7)),
        ("bytes", AttributeValue::Binary(vec![0, 255].into())),
        ("uri", AttributeValue::Uri("https://example.com/".into())),
        (
            "when",
            AttributeValue::Timestamp("2026-02-28T23:59:59.5Z".parse().unwrap()),
        ),
        ("digits", AttributeValue::String("5".into())),
    ] {
        event.attributes_mut().set(name, value).unwrap();
    }
    assert!(is_binary(&write(&event)));
    assert_eq!(read(write(&event)), event);
    assert_eq!(read(structured(&event)), event);
}

#[test]
fn raw_is_the_data_alone() {
    let event = Event::bytes("t", "text/plain", "x")
        .with_source("/s")
        .with_key("k");
    let raw = encode(&event, Encoding::Raw, true).unwrap();
    assert!(raw.attributes.is_empty());
    let back = read(raw);
    assert!(back.is_foreign());
    assert_eq!(
        (back.key(), back.data().unwrap().as_ref()),
        (Some("k"), &b"x"[..])
    );
    let empty = Event::new("t").with_source("/s");
    assert!(encode(&empty, Encoding::Raw, true).is_err());
}

#[test]
fn a_foreign_message_keeps_its_attributes() {
    let mut foreign = message("hello", &[("region", "eu"), ("Not-A-Name", "x")]);
    foreign.ordering_key = "k".to_owned();
    let event = read(foreign);
    assert!(event.is_foreign());
    assert_eq!(event.id().to_string(), "message-1");
    assert_eq!(
        (event.source(), event.key()),
        ("pubsub://shop/orders", Some("k"))
    );
    assert_eq!(
        event.attributes().get("region").unwrap().as_str(),
        Some("eu")
    );
    let whole = event.attributes().get(FOREIGN).unwrap().as_str().unwrap();
    assert_eq!(whole, r#"{"Not-A-Name":"x","region":"eu"}"#);
}

#[test]
fn others_spellings_are_read_and_an_invalid_event_says_why() {
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"order.placed"}"#;
    for attributes in [
        &[][..],
        &[(
            "Content-Type",
            "Application/CloudEvents+JSON; charset=utf-8",
        )],
        &[
            ("content-type", "application/cloudevents+json"),
            (VERSION, "1.0"),
        ],
    ] {
        assert_eq!(read(message(body, attributes)).kind(), "order.placed");
    }
    let required = [
        (VERSION, "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut all = required.to_vec();
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
        message("data", &all)
    };
    assert_eq!(
        read(with("ce-datacontenttype", "text/plain")).content_type(),
        Some("text/plain")
    );
    for (message, why) in [
        (message(&body.replace("1.0", "0.3"), &[]), "0.3"),
        (with(VERSION, "0.3"), VERSION),
        (with("ce-time", "yesterday"), "ce-time"),
        (message("data", &required[..2]), "ce-type"),
    ] {
        let damaged = read(message);
        assert_eq!(damaged.kind(), Event::DAMAGED.as_str());
        let said = damaged.damage().unwrap();
        assert!(said.contains(why), "{said}");
    }
}

proptest! {
    #[test]
    fn any_event_comes_back_and_any_message_is_read(
        data: Option<Vec<u8>>,
        text: String,
        key: Option<String>,
        ordering: bool,
        typed in prop::option::of("[a-z]{1,8}/[a-z]{1,8}"),
        names in prop::collection::vec("(ce-)?[a-z]{1,9}|Content-Type|aqueduct-types", 0..5),
        body: Vec<u8>,
    ) {
        let mut event = Event::new("t").with_source("/s").with_id("1");
        if let Some(data) = data { event = event.with_data(data); }
        if let Some(key) = key { event = event.with_key(key); }
        if let Some(typed) = typed { event = event.with_content_type(typed); }
        event.attributes_mut().set("note", text.as_str()).unwrap();
        let encoded = encode(&event, Encoding::CloudEvents, ordering).unwrap();
        prop_assert!(encoded.attributes.len() <= MOST_ATTRIBUTES);
        for (name, value) in &encoded.attributes {
            prop_assert!(name.len() <= LONGEST_NAME && value.len() <= LONGEST_VALUE);
        }
        let mut broken = encoded.clone();
        prop_assert_eq!(read(encoded), event);
        for name in names { broken.attributes.insert(name, text.clone()); }
        broken.data = body.into();
        read(broken);
    }
}
