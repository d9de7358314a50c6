//! Strategies that generate arbitrary events.

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use crate::event::check_attribute_name;
use crate::{AttributeValue, Event, EventId, SmallStr, Timestamp};

pub(super) fn timestamp() -> impl Strategy<Value = Timestamp> {
    // The years 1 to 9999, which both RFC 3339 and Protobuf support.
    (-62_135_596_800i64..253_402_207_200, 0..1_000_000_000i32)
        .prop_map(|(seconds, nanos)| Timestamp::from_parts(seconds, nanos).unwrap())
}

pub(super) fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..60).prop_map(Bytes::from)
}

fn text() -> impl Strategy<Value = SmallStr> {
    any::<String>().prop_map(SmallStr::from)
}

fn required() -> impl Strategy<Value = SmallStr> {
    ".+".prop_map(SmallStr::from)
}

pub(super) fn attribute() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![
        any::<bool>().prop_map(AttributeValue::Boolean),
        any::<i32>().prop_map(AttributeValue::Integer),
        text().prop_map(AttributeValue::String),
        bytes().prop_map(AttributeValue::Binary),
        text().prop_map(AttributeValue::Uri),
        text().prop_map(AttributeValue::UriRef),
        timestamp().prop_map(AttributeValue::Timestamp),
    ]
}

fn json() -> impl Strategy<Value = Bytes> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<String>().prop_map(Into::into),
    ];
    let value = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            btree_map(any::<String>(), inner, 0..4).prop_map(serde_json::Value::from_iter),
        ]
    });
    (value, any::<bool>()).prop_map(|(value, pretty)| match pretty {
        true => serde_json::to_vec_pretty(&value).unwrap().into(),
        false => serde_json::to_vec(&value).unwrap().into(),
    })
}

fn data() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        bytes(),
        json(),
        any::<String>().prop_map(Bytes::from),
        Just(Bytes::from_static(b" {} ")),
        Just(Bytes::from_static(b"null")),
        Just(Bytes::from_static(b"{\"a\": 1e999, \"b\": \"\\ud800\"}")),
    ]
}

fn content_type() -> impl Strategy<Value = SmallStr> {
    prop_oneof![
        Just(Event::JSON),
        Just("application/vnd.order+json; charset=utf-8".into()),
        Just("text/plain".into()),
        Just("application/xml".into()),
        Just("application/octet-stream".into()),
        Just("application/protobuf".into()),
        text(),
    ]
}

fn schema() -> impl Strategy<Value = SmallStr> {
    prop_oneof![Just("type.googleapis.com/io.aqueduct.Test".into()), text(),]
}

pub(super) fn event() -> impl Strategy<Value = Event> {
    let attributes = btree_map("[a-z0-9]{1,30}", attribute(), 0..5);
    let id = prop_oneof![
        required().prop_map(EventId::new),
        any::<u128>().prop_map(|it| EventId::from(uuid::Uuid::from_u128(it))),
    ];
    let options = (
        option::of(text()),
        option::of(timestamp()),
        option::of(text()),
        option::of(content_type()),
        option::of(schema()),
        option::of(data()),
    );
    (id, required(), required(), options, attributes).prop_map(
        |(id, source, kind, (subject, time, key, content_type, schema, data), attributes)| {
            let mut event = Event::with_id_and_type(id, kind).with_source(source);
            event.subject = subject;
            event.set_time(time);
            event.key = key;
            event.content_type = content_type;
            event.schema = schema;
            event.data = data;
            for (name, value) in attributes {
                if check_attribute_name(&name).is_ok() {
                    event.attributes.set(name, value).unwrap();
                }
            }
            event
        },
    )
}
