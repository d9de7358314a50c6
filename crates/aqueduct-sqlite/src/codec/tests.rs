use aqueduct_core::{AttributeValue, Event, EventId, Timestamp};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

fn back(events: &[Event], skip: usize) -> Vec<Event> {
    let mut packer = Packer::default();
    events.iter().for_each(|event| packer.push(event));
    let packed = packer.finish();
    assert_eq!(packed.count, events.len());
    assert!(packer.is_empty());
    let mut read = Vec::new();
    unpack(
        &packed.shapes,
        &packed.heads,
        &Bytes::from(packed.body),
        skip,
        |event| read.push(event),
    )
    .unwrap();
    read
}

fn any_event() -> impl Strategy<Value = Event> {
    let text = "[a-z\"\\\\\n\u{0}-\u{1f}é漢]{0,40}";
    let time = (-60_000_000_000i64..250_000_000_000, 0..1_000_000_000i32);
    let attribute = prop_oneof![
        any::<bool>().prop_map(AttributeValue::from),
        any::<i32>().prop_map(AttributeValue::from),
        text.prop_map(AttributeValue::from),
        any::<Vec<u8>>().prop_map(|bytes| AttributeValue::from(Bytes::from(bytes))),
        text.prop_map(|text| AttributeValue::Uri(text.into())),
        text.prop_map(|text| AttributeValue::UriRef(text.into())),
        any::<u32>().prop_map(|s| AttributeValue::from(Timestamp::from_millis(i64::from(s)))),
    ];
    let id = prop_oneof![
        Just(EventId::generate()),
        text.prop_map(EventId::from),
        Just(EventId::from("0190B1A4-7C3E-7000-8000-00000000ABCD")),
    ];
    (
        (id, text, text),
        (
            proptest::option::of(text),
            proptest::option::of(text),
            proptest::option::of(text),
            proptest::option::of(text),
        ),
        proptest::option::of(time),
        proptest::option::of(any::<Vec<u8>>()),
        proptest::collection::vec(("[a-z0-9]{1,20}x", attribute), 0..4),
    )
        .prop_map(
            |((id, kind, source), (subject, key, content, schema), time, data, more)| {
                let mut event = Event::new(kind).with_id(id).with_source(source);
                if let Some(subject) = subject {
                    event = event.with_subject(subject);
                }
                if let Some(key) = key {
                    event = event.with_key(key);
                }
                if let Some(content) = content {
                    event = event.with_content_type(content);
                }
                if let Some(schema) = schema {
                    event = event.with_schema(schema);
                }
                if let Some((seconds, nanos)) = time {
                    event = event.with_time(Timestamp::from_parts(seconds.abs(), nanos).unwrap());
                }
                if let Some(data) = data {
                    event = event.with_data(data);
                }
                for (name, value) in more {
                    event.attributes_mut().set(name, value).unwrap();
                }
                event
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_field_comes_back_as_it_was(
        events in proptest::collection::vec(any_event(), 1..12),
        skip in 0usize..12,
    ) {
        prop_assert_eq!(&back(&events, 0), &events);
        prop_assert_eq!(&back(&events, skip)[..], &events[skip.min(events.len())..]);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic(
        events in proptest::collection::vec(any_event(), 1..4),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut packer = Packer::default();
        events.iter().for_each(|event| packer.push(event));
        let mut packed = packer.finish();
        let place = at.index(packed.heads.len());
        packed.heads[place] = byte;
        packed.body.truncate(cut.index(packed.body.len() + 1));
        let _ = unpack(&packed.shapes, &packed.heads, &Bytes::from(packed.body), 0, drop);
    }
}

#[test]
fn what_events_have_in_common_is_written_once() {
    let events: Vec<_> = (0..100)
        .map(|n| {
            Event::bytes("order.placed", Event::JSON, vec![b'x'; 100])
                .with_source("/shop/web")
                .with_key(format!("customer-{n}"))
        })
        .collect();
    let mut packer = Packer::default();
    events.iter().for_each(|event| packer.push(event));
    let packed = packer.finish();
    let per_event = (packed.size() - packed.body.len()) / events.len();
    assert!(per_event < 70, "{per_event} bytes an event beside its data");
    assert_eq!(back(&events, 0), events);
}

#[test]
fn data_that_is_empty_is_told_from_none() {
    let events = [
        Event::new("a").with_source("/s"),
        Event::new("a").with_source("/s").with_data(Bytes::new()),
    ];
    let read = back(&events, 0);
    assert_eq!(read[0].data(), None);
    assert_eq!(read[1].data(), Some(&Bytes::new()));
}

#[test]
fn a_length_beyond_the_row_is_refused() {
    let mut read = 0;
    for heads in [
        "[[0,\"a\",9]]",
        "[[1,\"a\"]]",
        "[[0,\"a\",18446744073709551615],[0,\"b\",2]]",
    ] {
        unpack(
            b"[[\"t\",\"s\",null,null]]",
            heads.as_bytes(),
            &Bytes::from_static(b"short"),
            0,
            |_| read += 1,
        )
        .unwrap_err();
    }
    assert_eq!(read, 0);
}
