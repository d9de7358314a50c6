#![no_main]
//! For any bytes: no panic, and records that were read survive being written again.

use aqueduct_core::HashRange;
use aqueduct_kinesis::aggregation::{Aggregate, MAGIC, split, split_within};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use md5::{Digest as _, Md5};

fuzz_target!(|input: &[u8]| {
    check(&Bytes::copy_from_slice(input));
    // The fuzzer would never guess a checksum.
    check(&[&MAGIC[..], input, &Md5::digest(input)[..]].concat().into());
});

fn check(data: &Bytes) {
    let range = HashRange {
        first: 1 << 126,
        last: u128::MAX / 2,
    };
    let within = split_within(data, range);
    let Ok(records) = split(data) else {
        assert!(within.is_err());
        return;
    };
    let within = within.expect("it was split");
    assert_eq!(within.records.len() + within.dropped, records.len());
    let mut again = Aggregate::new();
    for record in &records {
        again.push(record.partition_key, record.explicit_hash_key, &record.data);
    }
    if records.is_empty() {
        return;
    }
    assert_eq!(split(&again.finish()).as_ref(), Ok(&records));
}
