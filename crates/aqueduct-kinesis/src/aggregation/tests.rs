use aqueduct_core::HashRange;

use super::{Aggregate, BrokenAggregate, is_aggregated, split, split_within};
use crate::hash::hash_of;

#[test]
fn what_is_pushed_comes_back_in_order() {
    let mut aggregate = Aggregate::new();
    aggregate.push("a", None, b"one");
    aggregate.push("b", Some(u128::MAX), b"");
    aggregate.push("a", Some(0), b"three");
    assert_eq!(aggregate.len(), 3);
    let data = aggregate.finish();
    assert!(is_aggregated(&data));
    let records = split(&data).unwrap();
    let seen: Vec<_> = records
        .iter()
        .map(|record| {
            (
                record.index,
                record.partition_key,
                record.explicit_hash_key,
                &record.data[..],
            )
        })
        .collect();
    assert_eq!(
        seen,
        [
            (0, "a", None, &b"one"[..]),
            (1, "b", Some(u128::MAX), b""),
            (2, "a", Some(0), b"three"),
        ]
    );
}

#[test]
fn records_outside_the_range_are_dropped_and_the_others_keep_their_index() {
    let mut aggregate = Aggregate::new();
    aggregate.push("a", None, b"in");
    aggregate.push("a", Some(u128::MAX), b"out");
    aggregate.push("a", None, b"in again");
    let data = aggregate.finish();
    let at = hash_of("a");
    let within = split_within(
        &data,
        HashRange {
            first: at,
            last: at,
        },
    )
    .unwrap();
    assert_eq!(within.dropped, 1);
    assert_eq!(
        within
            .records
            .iter()
            .map(|record| record.index)
            .collect::<Vec<_>>(),
        [0, 2]
    );
    let all = split_within(
        &data,
        HashRange {
            first: 0,
            last: u128::MAX,
        },
    )
    .unwrap();
    assert_eq!((all.records.len(), all.dropped), (3, 0));
}

#[test]
fn a_changed_byte_is_a_wrong_checksum() {
    let mut aggregate = Aggregate::new();
    aggregate.push("a", None, b"one");
    let mut data = aggregate.finish().to_vec();
    data[6] ^= 1;
    assert_eq!(split(&data.into()), Err(BrokenAggregate::Checksum));
}
