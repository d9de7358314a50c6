//! Recognises CloudEvents, invalid CloudEvents and foreign bodies.

use bytes::Bytes;
use proptest::prelude::*;

use super::any;
use crate::Event;
use crate::cloudevents::{Received, json, protobuf, receive};

fn with(member: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"order.placed",{member}}}"#)
}

fn reason(body: impl Into<Bytes>, media_type: Option<&str>) -> String {
    let body = body.into();
    match receive(&body, media_type) {
        Received::Invalid(reason) => reason,
        other => panic!("{body:?}: {other:?}"),
    }
}

#[test]
fn what_claims_to_be_an_event_and_is_not_valid_says_why() {
    let valid = with(r#""data":1"#);
    for (body, why) in [
        (
            with(r#""time":"2026-01-01T00:00:00America/Los_Angeles""#),
            "time",
        ),
        (with(r#""metadata":{"a":1}"#), "metadata"),
        (with(r#""ce_sourceid":"x""#), "ce_sourceid"),
        (with(r#""sequence":4200000000"#), "sequence"),
        (valid.replace("1.0", "0.3"), "0.3"),
        (valid.replace(r#""id":"1","#, ""), "`id`"),
        (format!("[{valid}]"), "batch"),
        (format!(" [ {valid}, {valid} ]"), "batch"),
        (format!("{valid}\n{valid}\n"), "line 2"),
        (valid[..valid.len() - 5].to_owned(), "CloudEvent"),
        (
            format!("\u{feff}{valid}")
                .trim_start_matches('\u{feff}')
                .replace("\"data\":1", "\"data\":"),
            "CloudEvent",
        ),
    ] {
        for media_type in [
            None,
            Some("Application/JSON; charset=utf-8"),
            Some(json::CONTENT_TYPE),
        ] {
            let said = reason(body.clone(), media_type);
            assert!(said.contains(why), "{body}: {said}");
        }
    }
    let said = reason("{}", Some("APPLICATION/CloudEvents+JSON; charset=UTF-8"));
    assert!(said.contains("specversion"), "{said}");
    for declared in [json::BATCH_CONTENT_TYPE, protobuf::BATCH_CONTENT_TYPE] {
        assert!(reason("[]", Some(declared)).contains("batch"));
    }
    let said = reason("Obj\u{1}", Some("application/cloudevents+avro"));
    assert!(said.contains("application/cloudevents+avro"), "{said}");
}

#[test]
fn a_damaged_protobuf_message_says_why_too() {
    let event = Event::new("order.placed").with_source("/s").with_id("1");
    let mut encoded = Vec::new();
    protobuf::encode(&event, &mut encoded);
    let cut = Bytes::from(encoded).slice(..);
    for short in 1..cut.len() {
        // A body truncated after the version still claims to be a CloudEvent.
        let received = receive(&cut.slice(..short), None);
        assert!(!matches!(received, Received::Event(_)), "{short}");
    }
    let received = receive(&cut.slice(..cut.len() - 1), None);
    assert!(matches!(received, Received::Invalid(_)), "{received:?}");
}

#[test]
fn what_claims_nothing_is_foreign() {
    let nested = format!(r#"{{"detail":{}}}"#, with(r#""data":1"#));
    for (body, media_type) in [
        ("", None),
        ("not a CloudEvent", None),
        ("{}", None),
        ("[1, 2]", None),
        (r#"["specversion"]"#, None),
        (r#"{"note":"specversion","id":"1"}"#, None),
        (r#"{"note":"\"specversion\":1"}"#, None),
        (&nested, None),
        (&nested, Some("application/json")),
        ("\u{a}\u{3}abc", None),
        ("{", None),
        ("\"", None),
        ("plain", Some("text/plain")),
        (&with(r#""data":1"#), Some("text/plain")),
        ("{}", Some("application/jsonx")),
        ("{}", Some("")),
    ] {
        assert_eq!(
            receive(&Bytes::from(body.to_owned()), media_type),
            Received::Foreign,
            "{body}"
        );
    }
}

proptest! {
    #[test]
    fn any_event_is_recognised_in_both_formats(event in any::event()) {
        for (encode, media_type) in [
            (json::encode as fn(&Event, &mut Vec<u8>), json::CONTENT_TYPE),
            (protobuf::encode, protobuf::CONTENT_TYPE),
        ] {
            let mut encoded = Vec::new();
            encode(&event, &mut encoded);
            let encoded = Bytes::from(encoded);
            for media_type in [None, Some(media_type), Some(&*media_type.to_uppercase())] {
                prop_assert!(matches!(receive(&encoded, media_type), Received::Event(_)));
            }
        }
    }

    #[test]
    fn any_bytes_are_told_apart_without_a_panic(
        body in any::bytes(),
        text in r#"[\[{]?("specversion":|"\\|\PC){0,20}"#,
        media_type in prop::option::of("\\PC{0,30}"),
    ) {
        receive(&body, media_type.as_deref());
        receive(&text.into(), media_type.as_deref());
    }
}
