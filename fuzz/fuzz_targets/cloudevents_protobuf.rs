#![no_main]
//! For any bytes: no panic, and an event that was read survives being written again.

use aqueduct_core::cloudevents::protobuf;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    if let Ok(event) = protobuf::decode(&input) {
        let mut again = Vec::new();
        protobuf::encode(&event, &mut again);
        assert_eq!(
            protobuf::decode(&again.into()).expect("it was written so"),
            event
        );
    }
    if let Ok(events) = protobuf::decode_batch(&input) {
        let mut again = Vec::new();
        protobuf::encode_batch(&events, &mut again);
        assert_eq!(
            protobuf::decode_batch(&again.into()).expect("it was written so"),
            events
        );
    }
});
