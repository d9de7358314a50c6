use bytes::Bytes;
use proptest::prelude::*;

use super::any;
use crate::cloudevents::json::{decode, decode_batch, encode, encode_batch};
use crate::{AttributeValue, ErrorKind, Event};

/// The examples of the JSON event format 1.0.2, unchanged but for real Base64.
const BINARY: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "id" : "A234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "application/vnd.apache.thrift.binary",
    "data_base64" : "AP/+"
}"#;
const XML: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "id" : "B234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "unsetextension": null,
    "datacontenttype" : "application/xml",
    "data" : "<much wow=\"xml\"/>"
}"#;
const OBJECT: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "C234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "application/json",
    "data" : {
        "appinfoA" : "abc",
        "appinfoB" : 123,
        "appinfoC" : true
    }
}"#;
const NUMBER: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "C234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "application/json",
    "data" : 1.5
}"#;
const STRING: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "subject": null,
    "id" : "D234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "data" : "I'm just a string"
}"#;
const UNTYPED: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.example.someevent",
    "source" : "/mycontext",
    "id" : "D234-1234-1234",
    "data_base64" : "eyAieHl6IjogMTIzIH0="
}"#;
const PULL_REQUEST: &str = r#"{
    "specversion" : "1.0",
    "type" : "com.github.pull_request.opened",
    "source" : "https://github.com/cloudevents/spec/pull",
    "subject" : "123",
    "id" : "A234-1234-1234",
    "time" : "2018-04-05T17:31:00Z",
    "comexampleextension1" : "value",
    "comexampleothervalue" : 5,
    "datacontenttype" : "text/xml",
    "data" : "<much wow=\"xml\"/>"
}"#;

fn read(text: &str) -> Event {
    decode(&Bytes::copy_from_slice(text.as_bytes())).unwrap()
}

fn written(event: &Event) -> Bytes {
    let mut out = Vec::new();
    encode(event, &mut out);
    out.into()
}

fn base(id: &str) -> Event {
    Event::new("com.example.someevent")
        .with_id(id)
        .with_source("/mycontext")
}

fn example(id: &str) -> Event {
    base(id)
        .with_time("2018-04-05T17:31:00Z".parse().unwrap())
        .with_attribute("comexampleextension1", "value")
        .unwrap()
        .with_attribute("comexampleothervalue", 5)
        .unwrap()
}

#[test]
fn the_examples_of_the_specification_read_as_it_says() {
    let object = "{\n        \"appinfoA\" : \"abc\",\n        \"appinfoB\" : 123,\n        \
                  \"appinfoC\" : true\n    }";
    for (text, expected) in [
        (
            BINARY,
            example("A234-1234-1234")
                .with_content_type("application/vnd.apache.thrift.binary")
                .with_data(&[0x00, 0xff, 0xfe][..]),
        ),
        (
            XML,
            example("B234-1234-1234")
                .with_content_type("application/xml")
                .with_data("<much wow=\"xml\"/>"),
        ),
        (
            OBJECT,
            example("C234-1234-1234")
                .with_content_type(Event::JSON)
                .with_data(object),
        ),
        (
            NUMBER,
            example("C234-1234-1234")
                .with_content_type(Event::JSON)
                .with_data("1.5"),
        ),
        (
            STRING,
            example("D234-1234-1234")
                .with_content_type(Event::JSON)
                .with_data("\"I'm just a string\""),
        ),
        (
            UNTYPED,
            base("D234-1234-1234").with_data("{ \"xyz\": 123 }"),
        ),
        (
            PULL_REQUEST,
            Event {
                kind: "com.github.pull_request.opened".into(),
                ..example("A234-1234-1234")
            }
            .with_source("https://github.com/cloudevents/spec/pull")
            .with_subject("123")
            .with_content_type("text/xml")
            .with_data("<much wow=\"xml\"/>"),
        ),
    ] {
        assert_eq!(read(text), expected, "{text}");
        assert_eq!(read(text).data(), expected.data(), "{text}");
        assert_eq!(decode(&written(&expected)).unwrap(), expected, "{text}");
    }
}

#[test]
fn batches_read_as_the_specification_says() {
    let batch = format!("[{BINARY},\n{OBJECT}]");
    let events = decode_batch(&batch.into()).unwrap();
    assert_eq!(events, [read(BINARY), read(OBJECT)]);
    let mut out = Vec::new();
    encode_batch(&events, &mut out);
    assert_eq!(decode_batch(&out.into()).unwrap(), events);
    assert_eq!(decode_batch(&Bytes::from_static(b" [] ")).unwrap(), []);
    let mut out = Vec::new();
    encode_batch(&[], &mut out);
    assert_eq!(out, b"[]");
}

#[test]
fn data_that_stands_as_it_is_shares_the_memory() {
    let input = Bytes::copy_from_slice(OBJECT.as_bytes());
    let event = decode(&input).unwrap();
    let data = event.data().unwrap();
    assert!(input.as_ptr_range().contains(&data.as_ptr()));
}

#[test]
fn each_fault_is_named() {
    let with = |member: &str| {
        format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{member}}}"#)
    };
    let without = |name: &str| {
        let members = ["specversion:1.0", "id:1", "source:/s", "type:t"];
        let members = members
            .into_iter()
            .filter_map(|member| member.split_once(':'))
            .filter(|(known, _)| *known != name)
            .map(|(name, value)| format!("\"{name}\":\"{value}\""));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    };
    for (text, kind, named) in [
        (
            without("specversion"),
            ErrorKind::Invalid,
            "`specversion` is missing",
        ),
        (
            without("id"),
            ErrorKind::Invalid,
            "`id` is missing or empty",
        ),
        (
            without("source"),
            ErrorKind::Invalid,
            "`source` is missing or empty",
        ),
        (
            without("type"),
            ErrorKind::Invalid,
            "`type` is missing or empty",
        ),
        (
            without("specversion").replace('{', r#"{"specversion":"0.3","#),
            ErrorKind::Invalid,
            "`specversion` is `0.3`",
        ),
        (
            without("specversion").replace('{', r#"{"specversion":1.0,"#),
            ErrorKind::Invalid,
            "`specversion` is not a string",
        ),
        (
            with(r#""data":1,"data_base64":"AA==""#),
            ErrorKind::Invalid,
            "both `data` and",
        ),
        (
            with(r#""data_base64":"A""#),
            ErrorKind::Invalid,
            "`data_base64` is not Base64",
        ),
        (
            with(r#""data_base64":5"#),
            ErrorKind::Invalid,
            "`data_base64` is not a string",
        ),
        (
            with(r#""camelCase":"x""#),
            ErrorKind::Invalid,
            "`camelCase`",
        ),
        (with(r#""":"x""#), ErrorKind::Invalid, "attribute ``"),
        (
            with(r#""a":1,"a":1"#),
            ErrorKind::Invalid,
            "`a` is given twice",
        ),
        (
            with(r#""id":"2""#),
            ErrorKind::Invalid,
            "`id` is given twice",
        ),
        (
            with(r#""subject":"2","subject":"3""#),
            ErrorKind::Invalid,
            "`subject` is given twice",
        ),
        (with(r#""a":{}"#), ErrorKind::Invalid, "`a` is an object"),
        (
            with(r#""a":[1]"#),
            ErrorKind::Invalid,
            "`a` is an object or a list",
        ),
        (with(r#""a":1.5"#), ErrorKind::Invalid, "`a` is `1.5`"),
        (with(r#""a":2147483648"#), ErrorKind::Invalid, "32 bits"),
        (
            with(r#""subject":7"#),
            ErrorKind::Invalid,
            "`subject` is not a string",
        ),
        (
            with(r#""time":"yesterday""#),
            ErrorKind::Invalid,
            "`time` is not an RFC 3339 timestamp",
        ),
        (
            with(r#""time":7"#),
            ErrorKind::Invalid,
            "`time` is not a time",
        ),
        (
            with(r#""datacontenttype":"text/plain","data":{}"#),
            ErrorKind::Invalid,
            "`data` is not a string",
        ),
        (
            with(r#""a":"\ud800""#),
            ErrorKind::Corrupt,
            "`a` has an escape",
        ),
        (with(r#""a":"\q""#), ErrorKind::Corrupt, "line 1 column"),
        ("[]".into(), ErrorKind::Corrupt, "a JSON object"),
        ("".into(), ErrorKind::Corrupt, "EOF"),
        (
            with(r#""a":1"#) + "{}",
            ErrorKind::Corrupt,
            "trailing characters",
        ),
    ] {
        let error = decode(&text.clone().into()).unwrap_err();
        assert!(error.to_string().contains(named), "{text}: {error}");
        assert_eq!(error.kind(), kind, "{text}: {error}");
    }
    let error = decode(&Bytes::from_static(b"{\"id\":\"\xff\"}")).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
    let batch = format!("[{},{}]", with(r#""a":1"#), without("type"));
    let error = decode_batch(&batch.into()).unwrap_err().to_string();
    assert!(
        error.starts_with("event 2 of the batch: ") && error.contains("`type`"),
        "{error}"
    );
    let batch = format!("[{},{}]", with(r#""a":1"#), with(r#""a":{}"#));
    let error = decode_batch(&batch.into()).unwrap_err().to_string();
    assert!(
        error.starts_with("event 2 of the batch: ") && error.contains("`a`"),
        "{error}"
    );
}

#[test]
fn lenient_where_others_are() {
    let text = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","partitionkey":7,
        "datacontenttype":"text/plain","data":null,"data_base64":null}"#;
    let event = read(text);
    assert_eq!(event.key(), Some("7"));
    assert_eq!(event.data(), None);
    assert_eq!(
        read(&text.replace("text/plain", "text/json"))
            .data()
            .unwrap(),
        "null"
    );
}

/// Returns an attribute as JSON represents it: types that JSON lacks become text.
fn through_json(mut event: Event) -> Event {
    let attributes: Vec<_> = event
        .attributes()
        .iter()
        .map(|(name, value)| {
            let value = match value {
                AttributeValue::Boolean(_) | AttributeValue::Integer(_) => value.clone(),
                other => AttributeValue::String(other.to_string().into()),
            };
            (name.to_owned(), value)
        })
        .collect();
    for (name, value) in attributes {
        event.attributes_mut().set(name, value).unwrap();
    }
    event
}

proptest! {
    #[test]
    fn every_event_comes_back(event in any::event()) {
        let encoded = written(&event);
        prop_assert!(serde_json::from_slice::<&serde_json::value::RawValue>(&encoded).is_ok());
        prop_assert_eq!(decode(&encoded).unwrap(), through_json(event));
    }

    #[test]
    fn every_batch_comes_back(events in prop::collection::vec(any::event(), 0..4)) {
        let mut out = Vec::new();
        encode_batch(&events, &mut out);
        let expected: Vec<_> = events.into_iter().map(through_json).collect();
        prop_assert_eq!(decode_batch(&out.into()).unwrap(), expected);
    }
}
