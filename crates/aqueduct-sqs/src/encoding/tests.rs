use std::collections::HashMap;

use aqueduct_core::{AttributeValue, Event};
use proptest::prelude::*;

use super::*;

fn read(encoded: Encoded) -> Event {
    let attributes: HashMap<_, _> = encoded.attributes.into_iter().collect();
    decode(Incoming {
        id: "message-1",
        body: encoded.body,
        attributes: &attributes,
        group: Some("group-1"),
        source: &"sqs://orders".into(),
    })
}

fn is_binary(encoded: &Encoded) -> bool {
    encoded.attributes.iter().any(|(name, _)| name == VERSION)
}

#[test]
fn attributes_carry_what_fits_and_the_structured_format_the_rest() {
    let event = Event::bytes("order.placed", "text/plain", "hello")
        .with_source("/shop")
        .with_key("VINET");
    let mut encoded = encode(&event);
    assert!(is_binary(&encoded));
    assert_eq!(encoded.body, "hello");
    let size: usize = encoded.size();
    encoded.body.push('!');
    assert_eq!(encoded.size(), size + 1);

    let mut many = event.clone();
    for n in 0..6 {
        many.attributes_mut().set(format!("a{n}"), n).unwrap();
        let fits = 6 + n < 10;
        let encoded = encode(&many);
        assert_eq!(is_binary(&encoded), fits, "{n}");
        assert!(encoded.attributes.len() <= 10);
        assert_eq!(read(encoded), many);
    }
    for data in [&b""[..], b"\xff\x00", b"bell \x07", "\u{ffff}".as_bytes()] {
        let odd = event.clone().with_data(data.to_vec());
        let encoded = encode(&odd);
        assert!(!is_binary(&encoded) && is_text(&encoded.body), "{data:?}");
        assert_eq!(read(encoded), odd);
    }
    assert_eq!(
        read(encode(&Event::new("bare").with_source("s").with_id("1"))).data(),
        None
    );
}

#[test]
fn types_come_back_in_both_forms() {
    let mut event = Event::bytes("t", "text/plain", "x").with_source("/s");
    for (name, value) in [
        ("yes", AttributeValue::Boolean(true)),
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
    assert!(is_binary(&encode(&event)));
    assert_eq!(read(encode(&event)), event);
    let structured = event.with_data(vec![0]);
    assert!(!is_binary(&encode(&structured)));
    assert_eq!(read(encode(&structured)), structured);
}

#[test]
fn what_is_no_event_says_so_and_keeps_its_body() {
    let foreign = Encoded {
        body: "hello".to_owned(),
        attributes: vec![
            (
                "region".to_owned(),
                attribute("String", Some("eu".to_owned()), None).unwrap(),
            ),
            (
                "Not-A-Name".to_owned(),
                attribute("String", Some("x".to_owned()), None).unwrap(),
            ),
        ],
    };
    let event = read(foreign);
    assert!(event.is_foreign());
    assert_eq!(event.id().to_string(), "message-1");
    assert_eq!(
        (event.source(), event.key()),
        ("sqs://orders", Some("group-1"))
    );
    assert_eq!(event.data().unwrap().as_ref(), b"hello");
    assert_eq!(
        event.attributes().get("region").unwrap().as_str(),
        Some("eu")
    );
    let whole = event.attributes().get(FOREIGN).unwrap().as_str().unwrap();
    assert!(
        whole.contains(r#""Not-A-Name":{"DataType":"String","StringValue":"x"}"#),
        "{whole}"
    );
    assert_eq!(event.attributes().len(), 2);
    let mut broken = encode(&Event::new("t").with_source("/s"));
    broken.body.truncate(10);
    let damaged = read(broken);
    assert_eq!(damaged.kind(), Event::DAMAGED.as_str());
    assert!(damaged.damage().unwrap().contains("CloudEvent"));
}

#[test]
fn attributes_that_others_add_to_an_event_are_kept_with_their_types() {
    let event = Event::bytes("t", "text/plain", "hello").with_source("/s");
    let binary = encode(&event);
    let structured = structured(&event);
    for (mut encoded, ours) in [(binary, "ce-type"), (structured, "aqueduct-order")] {
        encoded.add(ours, "t");
        assert!(read(encoded.clone()).attributes().is_empty());
        encoded.add("Trace_ID", "1-2");
        let blob = attribute("Binary.gzip", None, Some(vec![0, 255])).unwrap();
        encoded.attributes.push(("blob".to_owned(), blob));
        let event = read(encoded);
        assert_eq!(event.kind(), "t");
        let kept = event.attributes().get(FOREIGN).unwrap().as_str().unwrap();
        let kept: serde_json::Value = serde_json::from_str(kept).unwrap();
        let expected = serde_json::json!({
            "Trace_ID": { "DataType": "String", "StringValue": "1-2" },
            "blob": { "DataType": "Binary.gzip", "BinaryValue": "AP8=" },
        });
        assert_eq!(kept, expected);
        let mut again = encode(&event);
        again.add("Another", "x");
        assert_eq!(read(again), event, "the first message's attributes stay");
    }
}

#[test]
fn a_notification_is_whole_and_its_type_readable() {
    let body = r#"{"Records":[{"eventSource":"aws:s3","eventName":"ObjectCreated:Put"}]}"#;
    let event = read(Encoded {
        body: body.to_owned(),
        attributes: Vec::new(),
    });
    assert!(event.is_foreign());
    assert_eq!(event.data().unwrap().as_ref(), body.as_bytes());
    let kind = event.attributes().get(NOTIFICATION).unwrap();
    assert_eq!(kind.as_str(), Some("com.amazonaws.s3.ObjectCreated:Put"));
}

#[test]
fn a_structured_event_needs_no_attribute_of_ours_and_an_invalid_one_says_why() {
    let plain = |body: &str, attributes: &[(&str, &str)]| Encoded {
        body: body.to_owned(),
        attributes: attributes
            .iter()
            .map(|(name, value)| {
                let value = attribute("String", Some((*value).to_owned()), None);
                ((*name).to_owned(), value.unwrap())
            })
            .collect(),
    };
    let body = r#"{"specversion":"1.0","id":"1","source":"/s","type":"order.placed"}"#;
    for declared in [
        None,
        Some("Application/CloudEvents+JSON"),
        Some("application/json"),
    ] {
        let declared: Vec<_> = declared.map(|it| (CONTENT_TYPE, it)).into_iter().collect();
        assert_eq!(read(plain(body, &declared)).kind(), "order.placed");
    }
    let required = [
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-source", "/s"),
        ("ce-type", "t"),
    ];
    let with = |name: &'static str, value: &'static str| {
        let mut all = required.to_vec();
        all.retain(|(known, _)| *known != name);
        all.push((name, value));
        plain("data", &all)
    };
    for (message, why) in [
        (plain(&body.replace("1.0", "0.3"), &[]), "0.3"),
        (plain(&format!("[{body}]"), &[]), "batch"),
        (with("ce-specversion", "0.3"), "ce-specversion"),
        (
            with("ce-time", "2026-01-01T00:00:00America/Los_Angeles"),
            "ce-time",
        ),
        (plain("data", &required[..2]), "ce-type"),
    ] {
        let damaged = read(message);
        assert_eq!(damaged.kind(), Event::DAMAGED.as_str());
        let said = damaged.damage().unwrap();
        assert!(said.contains(why), "{said}");
        assert_eq!(damaged.key(), Some("group-1"));
    }
}

proptest! {
    #[test]
    fn any_event_comes_back_and_any_message_is_read(
        data: Option<Vec<u8>>,
        text in "\\PC{0,40}",
        key: Option<String>,
        typed in prop::option::of("[a-z]{1,8}/[a-z]{1,8}"),
        body: String,
    ) {
        let mut event = Event::new("t").with_source("/s").with_id("1");
        if let Some(data) = data { event = event.with_data(data); }
        if let Some(key) = key { event = event.with_key(key); }
        if let Some(typed) = typed { event = event.with_content_type(typed); }
        event.attributes_mut().set("note", text).unwrap();
        let encoded = encode(&event);
        prop_assert!(is_text(&encoded.body) && !encoded.body.is_empty());
        let mut attributes = encoded.attributes.clone();
        prop_assert_eq!(read(encoded), event);
        attributes.truncate(3);
        read(Encoded { body, attributes });
    }
}
