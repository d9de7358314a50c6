//! Hostile bytes never make a decoder panic.

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::any;
use crate::cloudevents::{json, protobuf};
use crate::{ErrorKind, Event, Result};

fn answers<T>(answer: Result<T>) -> bool {
    match answer {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid),
    }
}

fn all_answer(bytes: Vec<u8>) -> bool {
    let bytes = Bytes::from(bytes);
    answers(json::decode(&bytes))
        && answers(json::decode_batch(&bytes))
        && answers(protobuf::decode(&bytes))
        && answers(protobuf::decode_batch(&bytes))
}

/// Bytes replaced, removed and repeated.
fn damage(mut bytes: Vec<u8>, wounds: &[(u16, u8, u8)]) -> Vec<u8> {
    for &(at, byte, how) in wounds {
        if bytes.is_empty() {
            break;
        }
        let at = usize::from(at) % bytes.len();
        match how % 4 {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
    }
    bytes
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in vec(any::<u8>(), 0..200)) {
        prop_assert!(all_answer(bytes));
    }

    #[test]
    fn damaged_events_are_answered(
        events in vec(any::event(), 1..3),
        wounds in vec(any::<(u16, u8, u8)>(), 1..6),
    ) {
        type Encode = fn(&[Event], &mut Vec<u8>);
        let formats: [Encode; 4] = [
            |events, out| json::encode(&events[0], out),
            json::encode_batch,
            |events, out| protobuf::encode(&events[0], out),
            protobuf::encode_batch,
        ];
        for encode in formats {
            let mut out = Vec::new();
            encode(&events, &mut out);
            prop_assert!(all_answer(damage(out, &wounds)));
        }
    }

    #[test]
    fn json_of_any_shape_is_answered(
        members in vec(("[a-z_\"\\\\{]{0,8}|data|data_base64|id|time", ".{0,12}"), 0..6),
    ) {
        let members: Vec<_> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let object = format!("{{{}}}", members.join(","));
        prop_assert!(all_answer(object.into_bytes()));
    }
}

#[test]
fn deep_nesting_is_answered() {
    let deep = "[".repeat(200_000);
    let event = format!(r#"{{"specversion":"1.0","id":"1","source":"/","type":"t","data":{deep}"#);
    assert!(all_answer(deep.clone().into_bytes()));
    assert!(all_answer(event.clone().into_bytes()));
    let closed = format!("{event}{}}}", "]".repeat(200_000));
    let event = json::decode(&closed.into()).unwrap();
    assert_eq!(event.data().map(Bytes::len), Some(400_000));
}
