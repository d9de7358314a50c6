//! The fast JSON reader agrees with the complete one.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::any;
use crate::Event;
use crate::cloudevents::json::{decode_any, decode_plain, encode};

/// Checks that both readers agree on input that the fast one accepts; returns whether it did.
fn agrees(bytes: Vec<u8>) -> bool {
    let bytes = Bytes::from(bytes);
    let Some(event) = decode_plain(&bytes) else {
        return false;
    };
    assert_eq!(decode_any(&bytes).unwrap(), event, "{bytes:?}");
    true
}

/// JSON tokens to insert in wrong places.
fn bit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        "\"",
        "\\",
        ",",
        ":",
        " ",
        "\n",
        "0",
        "1",
        "-",
        "+",
        ".",
        "e",
        "E",
        "null",
        "true",
        "false",
        "\\u00e9",
        "\\ud800",
        "\\x",
        "\u{1}",
        "é",
        "\"id\":\"2\",",
        "\"data\":{},",
        "\"a\":-1,",
        "\"b\":01,",
        "\"c\":1.5e+3,",
        "\"\":1,",
        "\"d\":tru,",
    ])
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(1_000) })]

    #[test]
    fn any_event_is_read_the_same(event in any::event()) {
        let mut encoded = Vec::new();
        encode(&event, &mut encoded);
        // Only escaped names are left to the complete reader, and no encoder writes those.
        prop_assert!(agrees(encoded));
    }

    #[test]
    fn damaged_events_are_read_the_same_or_left(
        event in any::event(),
        wounds in vec((any::<prop::sample::Index>(), bit(), any::<bool>()), 1..4),
    ) {
        let mut encoded = Vec::new();
        encode(&event, &mut encoded);
        for (at, bit, insert) in wounds {
            let at = at.index(encoded.len());
            let until = if insert { at } else { (at + bit.len()).min(encoded.len()) };
            encoded.splice(at..until, bit.bytes());
        }
        agrees(encoded);
    }

    #[test]
    fn data_of_any_shape_is_read_the_same_or_left(bits in vec(bit(), 0..12)) {
        let data = bits.concat();
        agrees(format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t","data":{data}}}"#).into());
        agrees(format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t",{data}"a":1}}"#).into());
    }
}

#[test]
fn what_is_unusual_is_left_to_the_long_way() {
    let around = |member: &str| format!(r#"{{"specversion":"1.0","id":"1",{member},"type":"t"}}"#);
    for usual in [
        r#""source" : "/" "#,
        "\n\t\"source\":\r \"\\/\"",
        r#""source":"/","data":[-0.5e-7,0,{"a":{}},[],"\ud800\n",true,false,null]"#,
        r#""source":"/","x":2147483647,"y":-5,"z":false,"w":null,"time":"2018-04-05T17:31:00Z""#,
    ] {
        assert!(agrees(around(usual).into()), "{usual}");
    }
    let deep = format!(r#""data":{}1{}"#, "[".repeat(40), "]".repeat(40));
    for unusual in [
        r#""s\u006furce":"/""#,
        r#""source":7"#,
        r#""source":"/",,"a":1"#,
        &deep,
    ] {
        assert!(!agrees(around(unusual).into()), "{unusual}");
    }
    let text = around(&deep);
    assert!(decode_any(&text.into()).is_ok_and(|event: Event| event.data().is_some()));
}
