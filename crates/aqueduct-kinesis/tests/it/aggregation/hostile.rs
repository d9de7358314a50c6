//! Messages that no library writes, with a valid checksum.

use aqueduct_core::HashRange;
use aqueduct_kinesis::aggregation::{BrokenAggregate, MAGIC, is_aggregated, split, split_within};
use bytes::Bytes;
use md5::{Digest as _, Md5};
use proptest::collection::vec;
use proptest::prelude::*;

fn sealed(message: &[u8]) -> Bytes {
    [&MAGIC[..], message, &Md5::digest(message)[..]]
        .concat()
        .into()
}

fn broken(message: &[u8]) -> BrokenAggregate {
    let data = sealed(message);
    let range = HashRange {
        first: 0,
        last: u128::MAX / 2,
    };
    let why = split(&data).expect_err("it is broken");
    assert_eq!(split_within(&data, range).expect_err("it is broken"), why);
    why
}

#[test]
fn ordinary_records_are_no_aggregates() {
    for data in [&b""[..], b"text", &MAGIC, &[0; 100]] {
        assert!(!is_aggregated(data));
        let data = Bytes::copy_from_slice(data);
        assert_eq!(split(&data), Err(BrokenAggregate::NotAggregated));
    }
    assert!(!is_aggregated(&sealed(b"")));
}

#[test]
fn fields_come_in_any_order_and_unknown_ones_are_passed_over() {
    let message = [
        // A record before its tables, with data first, then tags, the hash, and the key twice:
        // the last one counts.
        &b"\x1a\x10\x1a\x02hi\x22\x04\x0a\x02no\x10\x00\x08\x07\x08\x01"[..],
        // Unknown fields: a varint, eight bytes, a string, a nested group, four bytes.
        b"\x20\xff\x01\x29\0\0\0\0\0\0\0\0\x32\x01x\x3b\x43\x08\x01\x44\x3c\x45\0\0\0\0",
        // A known field number with another wire type is unknown too.
        b"\x18\x05",
        b"\x0a\x01a\x12\x011\x0a\x01b",
        // A record with an overlong length.
        b"\x1a\x84\x80\x00\x08\x00\x1a\x00",
    ]
    .concat();
    let data = sealed(&message);
    let records = split(&data).unwrap();
    let read: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.partition_key,
                record.explicit_hash_key,
                &record.data[..],
            )
        })
        .collect();
    assert_eq!(read, [("b", Some(1), &b"hi"[..]), ("a", None, b"")]);
}

#[test]
fn a_message_without_records_is_an_empty_aggregate() {
    assert_eq!(split(&sealed(b"\x0a\x01a")), Ok(Vec::new()));
}

#[test]
fn malformed_messages_are_told_from_bad_indices_and_keys() {
    let malformed: [&[u8]; 13] = [
        b"\x0a",
        b"\x0a\x05a",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        b"\x00\x00",
        b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x00",
        b"\x0e",
        b"\x29\0\0\0",
        b"\x0c",
        b"\x3b\x44",
        b"\x3b\x08\x01",
        // Records without data, without a key.
        b"\x0a\x01a\x1a\x02\x08\x00",
        b"\x0a\x01a\x1a\x02\x1a\x00",
    ];
    for message in malformed {
        assert_eq!(broken(message), BrokenAggregate::Malformed, "{message:x?}");
        assert!(broken(message).is_raw_for_kcl());
    }
    let index: [&[u8]; 4] = [
        b"\x1a\x04\x08\x00\x1a\x00",
        b"\x0a\x01a\x1a\x04\x08\x01\x1a\x00",
        b"\x0a\x01a\x1a\x06\x08\x00\x10\x00\x1a\x00",
        b"\x0a\x01a\x1a\x0d\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01\x1a\x00",
    ];
    for message in index {
        assert_eq!(broken(message), BrokenAggregate::Index, "{message:x?}");
    }
    let key: [&[u8]; 5] = [
        b"\x0a\x01\xff",
        b"\x12\x00",
        b"\x12\x02-1",
        b"\x12\x01\xff",
        b"\x12\x27340282366920938463463374607431768211456",
    ];
    for message in key {
        assert_eq!(broken(message), BrokenAggregate::Key, "{message:x?}");
        assert!(!broken(message).is_raw_for_kcl());
    }
}

#[test]
fn groups_without_end_are_given_up() {
    assert_eq!(broken(&[0x3b; 100_000]), BrokenAggregate::Malformed);
}

/// Generates bytes that are often fields of an aggregate.
fn message() -> impl Strategy<Value = Vec<u8>> {
    let field = prop_oneof![
        vec(any::<u8>(), 0..8),
        (0..8u8, 0..8u8).prop_map(|(number, kind)| vec![number << 3 | kind]),
        Just(b"\x0a\x01a".to_vec()),
        Just(b"\x12\x0217".to_vec()),
        Just(b"\x1a\x06\x08\x00\x10\x00\x1a\x00".to_vec()),
        (0..3u8, vec(any::<u8>(), 0..20)).prop_map(|(key, data)| {
            let head = [0x1a, data.len() as u8 + 4, 8, key, 0x1a, data.len() as u8];
            [&head[..], &data].concat()
        }),
    ];
    vec(field, 0..12).prop_map(|fields| fields.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_data_is_a_part_of_the_aggregate(message in message()) {
        let data = sealed(&message);
        let Ok(records) = split(&data) else {
            return Ok(());
        };
        let span = data.as_ptr_range();
        for record in records {
            let inner = record.data.as_ptr_range();
            prop_assert!(record.data.is_empty() || (span.start <= inner.start && inner.end <= span.end));
        }
    }

    #[test]
    fn no_bytes_without_their_checksum_are_an_aggregate(mut bytes in vec(any::<u8>(), 0..200)) {
        bytes.splice(0..0, MAGIC);
        let data = Bytes::from(bytes);
        let why = split(&data).expect_err("no MD5 by chance");
        prop_assert!(matches!(why, BrokenAggregate::NotAggregated | BrokenAggregate::Checksum));
    }
}
