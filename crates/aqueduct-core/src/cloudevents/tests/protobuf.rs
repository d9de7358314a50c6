use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::any;
use super::reference::{self, Attr, CloudEvent, CloudEventAttributeValue, CloudEventBatch, Data};
use crate::cloudevents::protobuf::{decode, decode_batch, encode, encode_batch};
use crate::{AttributeValue, ErrorKind, Event};

fn written(event: &Event) -> Bytes {
    let mut out = Vec::new();
    encode(event, &mut out);
    out.into()
}

fn message(source: &str, attributes: &[(&str, Attr)], data: Data) -> CloudEvent {
    CloudEvent {
        id: "0190b1a4-7c3e-7000-8000-00000000abcd".into(),
        source: source.into(),
        spec_version: "1.0".into(),
        r#type: "io.cloudevent.example".into(),
        attributes: attributes
            .iter()
            .map(|(name, attr)| {
                let attr = Some(attr.clone());
                ((*name).to_owned(), CloudEventAttributeValue { attr })
            })
            .collect(),
        data: Some(data),
    }
}

fn read(message: &impl prost::Message) -> crate::Result<Event> {
    decode(&message.encode_to_vec().into())
}

fn string(text: &str) -> Attr {
    Attr::CeString(text.into())
}

/// The specification's first example: plain text.
#[test]
fn text_data_reads_as_the_specification_says() {
    let at = reference::Timestamp {
        seconds: 1_522_949_460,
        nanos: 0,
    };
    let message = message(
        "producer-1",
        &[
            ("time", Attr::CeTimestamp(at)),
            ("datacontenttype", string("text/plain")),
        ],
        Data::TextData("This is a plain text message".into()),
    );
    let event = read(&message).unwrap();
    let expected = Event::new("io.cloudevent.example")
        .with_id("0190b1a4-7c3e-7000-8000-00000000abcd")
        .with_source("producer-1")
        .with_time("2018-04-05T17:31:00Z".parse().unwrap())
        .with_content_type("text/plain")
        .with_data("This is a plain text message");
    assert_eq!(event, expected);
    assert_eq!(CloudEvent::decode(written(&event)).unwrap(), message);
}

/// The specification's second example: a Protobuf message as data.
#[test]
fn proto_data_reads_as_the_specification_says() {
    let type_url = "type.googleapis.com/io.cloudevents.v1.test.SomeData";
    let any = reference::Any {
        type_url: type_url.into(),
        value: b"\x0a\x1cthis is an important message\x10\x01".to_vec(),
    };
    let message = message(
        "producer-2",
        &[
            ("dataschema", Attr::CeUri(type_url.into())),
            ("datacontenttype", string("application/protobuf")),
        ],
        Data::ProtoData(any.clone()),
    );
    let event = read(&message).unwrap();
    assert_eq!(event.schema(), Some(type_url));
    assert_eq!(event.content_type(), Some("application/protobuf"));
    assert_eq!(event.data().unwrap(), &any.value);
    assert_eq!(CloudEvent::decode(written(&event)).unwrap(), message);

    let mut bare = message;
    bare.attributes.clear();
    assert_eq!(read(&bare).unwrap(), event, "the type URL says as much");
}

#[test]
fn every_attribute_keeps_its_type_and_the_bytes_are_the_reference_ones() {
    let attributes: [(&str, AttributeValue); 9] = [
        ("boolean", true.into()),
        ("integer", (-5).into()),
        ("largest", i32::MAX.into()),
        ("string", "grüß".into()),
        ("binary", Bytes::from_static(&[0, 255]).into()),
        ("uri", AttributeValue::Uri("https://example.com".into())),
        ("uriref", AttributeValue::UriRef("/a".into())),
        (
            "before",
            AttributeValue::Timestamp("1969-12-31T23:59:59.5Z".parse().unwrap()),
        ),
        ("epoch", AttributeValue::Timestamp(crate::Timestamp::EPOCH)),
    ];
    let mut event = Event::new("t").with_source("/s");
    for (name, value) in attributes {
        event = event.with_attribute(name, value).unwrap();
    }
    assert_eq!(decode(&written(&event)).unwrap(), event);
    assert_eq!(
        CloudEvent::decode(written(&event)).unwrap(),
        CloudEvent::of(&event)
    );
}

#[test]
fn each_fault_is_named() {
    let good = message("/s", &[], Data::BinaryData(vec![1]));
    let with = |attributes: &[(&str, Attr)]| message("/s", attributes, Data::BinaryData(vec![]));
    let too_late = reference::Timestamp {
        seconds: i64::MAX,
        nanos: 0,
    };
    for (message, named) in [
        (
            CloudEvent {
                spec_version: String::new(),
                ..good.clone()
            },
            "`specversion` is missing",
        ),
        (
            CloudEvent {
                spec_version: "0.3".into(),
                ..good.clone()
            },
            "`specversion` is `0.3`",
        ),
        (
            CloudEvent {
                id: String::new(),
                ..good.clone()
            },
            "`id` is missing",
        ),
        (
            CloudEvent {
                source: String::new(),
                ..good.clone()
            },
            "`source` is missing",
        ),
        (
            CloudEvent {
                r#type: String::new(),
                ..good.clone()
            },
            "`type` is missing",
        ),
        (with(&[("Upper", string("x"))]), "`Upper`"),
        (with(&[("id", string("x"))]), "`id`"),
        (
            with(&[("subject", Attr::CeInteger(1))]),
            "`subject` is not a string",
        ),
        (
            with(&[("time", Attr::CeInteger(1))]),
            "`time` is not a time",
        ),
        (
            with(&[("time", string("soon"))]),
            "`time` is not an RFC 3339 timestamp",
        ),
        (
            with(&[("when", Attr::CeTimestamp(too_late))]),
            "`when` is not a time",
        ),
    ] {
        let error = read(&message).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    }
    let good = Bytes::from(good.encode_to_vec());
    for (bytes, named) in [
        (good.slice(..good.len() - 1), "ends within a field"),
        (
            Bytes::from_static(b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            "ends within",
        ),
        (
            Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
            "does not end",
        ),
        (Bytes::from_static(b"\x08\x01"), "another type"),
        (Bytes::from_static(b"\x0a\x01\xff"), "not UTF-8"),
        (Bytes::from_static(b"\x0b"), "wire type 3"),
        (Bytes::from_static(b"\x00\x01"), "invalid number"),
    ] {
        let error = decode(&bytes).unwrap_err();
        assert!(error.to_string().contains(named), "{bytes:?}: {error}");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
    let batch = CloudEventBatch {
        events: vec![with(&[]), with(&[("Upper", string("x"))])],
    };
    let error = decode_batch(&batch.encode_to_vec().into())
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("event 2 of the batch: "), "{error}");
}

#[test]
fn unknown_fields_are_skipped_and_attributes_without_a_value_are_unset() {
    let mut bytes = message("/s", &[], Data::TextData("x".into())).encode_to_vec();
    // Fields 20 to 23 as number, 64 bits, bytes and 32 bits; then an entry with a name alone.
    bytes.extend_from_slice(b"\xa0\x01\x05\xa9\x01\0\0\0\0\0\0\0\0\xb2\x01\x01x\xbd\x01\0\0\0\0");
    bytes.extend_from_slice(b"\x2a\x03\x0a\x01a");
    let event = decode(&bytes.into()).unwrap();
    assert!(event.attributes().is_empty());
    assert_eq!(event.data().unwrap(), "x");
    assert_eq!(event.content_type(), None);
}

proptest! {
    #[test]
    fn every_event_comes_back_and_the_reference_agrees(event in any::event()) {
        let encoded = written(&event);
        prop_assert_eq!(decode(&encoded).unwrap(), event.clone());
        let mut reference = CloudEvent::decode(encoded).unwrap();
        let data = reference.data.take().map(|data| match data {
            Data::BinaryData(bytes) => bytes,
            Data::TextData(text) => text.into_bytes(),
            Data::ProtoData(any) => any.value,
        });
        prop_assert_eq!(data.as_deref(), event.data().map(|data| &data[..]));
        prop_assert_eq!(&reference, &CloudEvent::of(&event));
        prop_assert_eq!(read(&reference).unwrap(), Event { data: None, ..event });
    }

    #[test]
    fn every_batch_comes_back(events in prop::collection::vec(any::event(), 0..4)) {
        let mut out = Vec::new();
        encode_batch(&events, &mut out);
        prop_assert_eq!(CloudEventBatch::decode(&out[..]).unwrap().events.len(), events.len());
        prop_assert_eq!(decode_batch(&out.into()).unwrap(), events);
    }
}
