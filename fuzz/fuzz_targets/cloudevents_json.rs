#![no_main]
//! For any text: no panic, and an event that was read survives being written again.

use aqueduct_core::cloudevents::json;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let input = Bytes::copy_from_slice(input);
    if let Ok(event) = json::decode(&input) {
        let mut again = Vec::new();
        json::encode(&event, &mut again);
        assert_eq!(
            json::decode(&again.into()).expect("it was written so"),
            event
        );
    }
    if let Ok(events) = json::decode_batch(&input) {
        let mut again = Vec::new();
        json::encode_batch(&events, &mut again);
        assert_eq!(
            json::decode_batch(&again.into()).expect("it was written so"),
            events
        );
    }
});
