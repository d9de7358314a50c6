//! Text that the encoder copies without checking each byte.

use crate::Event;
use crate::cloudevents::{json, protobuf};

fn in_json(event: &Event) -> String {
    let mut out = Vec::new();
    json::encode(event, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn every_byte_is_escaped_wherever_it_stands() {
    let bytes = (0..0x80).map(char::from);
    for odd in bytes.chain(['\u{80}', 'é', '\u{2028}', '😀']) {
        for length in 0..20 {
            for at in 0..=length {
                let mut text = "x".repeat(length);
                text.insert(at, odd);
                let expected = format!(r#","subject":{},"#, serde_json::to_string(&text).unwrap());
                let event = Event::new("t").with_source("/s").with_subject(text);
                let event = event.with_content_type("a/b");
                let written = in_json(&event);
                assert!(written.contains(&expected), "{written}");
            }
        }
    }
}

#[test]
fn data_that_was_replaced_is_looked_at() {
    let event = || Event::json("t", &[1, 2]).unwrap().with_source("/s");
    assert!(in_json(&event()).ends_with(r#""data":[1,2]}"#));
    let text = in_json(&event().with_data("[1,"));
    assert!(text.ends_with(r#""data_base64":"WzEs"}"#), "{text}");
    let text = in_json(&event().with_content_type("text/plain"));
    assert!(text.ends_with(r#""data":"[1,2]"}"#), "{text}");

    let broken = event().with_data(&b"\xff"[..]);
    let mut out = Vec::new();
    protobuf::encode(&broken, &mut out);
    let read = protobuf::decode(&out.into()).unwrap();
    assert_eq!(read.data().unwrap(), &b"\xff"[..]);
    assert_ne!(broken, event());
    assert_eq!(
        event().with_id("1"),
        event().with_id("1").with_data("[1,2]")
    );
}
