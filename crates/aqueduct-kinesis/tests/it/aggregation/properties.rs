use aqueduct_core::HashRange;
use aqueduct_kinesis::aggregation::{Aggregate, BrokenAggregate, split, split_within};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

type Record = (String, Option<u128>, Vec<u8>);

/// Generates records with repeated keys, hash keys at both ends and between, and lengths that need one
/// to three bytes.
fn records() -> impl Strategy<Value = Vec<Record>> {
    let key = prop_oneof![3 => "[a-c]", 1 => "\\PC{0,40}", 1 => "[a-z]{128,256}"];
    let hash = prop_oneof![Just(0), Just(u128::MAX), 0..200u128, any::<u128>()];
    let data = prop_oneof![20 => vec(any::<u8>(), 0..40), 2 => filled(100..300), 1 => filled(16_370..16_400)];
    vec((key, option::of(hash), data), 0..24)
}

/// Generates data of which only the length matters.
fn filled(length: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
    (length, any::<u8>()).prop_map(|(length, byte)| vec![byte; length])
}

fn aggregate(records: &[Record]) -> Aggregate {
    let mut aggregate = Aggregate::new();
    for (key, hash, data) in records {
        let size = aggregate.size_with(key, *hash, data.len());
        aggregate.push(key, *hash, data);
        assert_eq!(aggregate.size(), size);
    }
    aggregate
}

fn whole(records: &[Record]) -> Bytes {
    // Without records it is only magic and checksum, and so not an aggregate.
    let mut all = records.to_vec();
    all.push(("last".into(), None, b"last".to_vec()));
    aggregate(&all).finish()
}

proptest! {
    #[test]
    fn records_come_back_as_they_were_in_order(records in records()) {
        let aggregate = aggregate(&records);
        let size = aggregate.size();
        prop_assert_eq!(aggregate.len(), records.len());
        prop_assert_eq!(aggregate.is_empty(), records.is_empty());
        let data = aggregate.finish();
        prop_assert_eq!(data.len(), size);
        if records.is_empty() {
            prop_assert_eq!(split(&data), Err(BrokenAggregate::NotAggregated));
            return Ok(());
        }
        let inner = split(&data).unwrap();
        let read: Vec<Record> = inner
            .iter()
            .map(|record| {
                (record.partition_key.into(), record.explicit_hash_key, record.data.to_vec())
            })
            .collect();
        prop_assert_eq!(read, records);
        prop_assert!(inner.iter().zip(0..).all(|(record, index)| record.index == index));
    }

    #[test]
    fn an_aggregate_used_again_is_as_a_new_one(first in records(), second in records()) {
        let mut used = aggregate(&first);
        let _ = used.take();
        for (key, hash, data) in &second {
            used.push(key, *hash, data);
        }
        prop_assert_eq!(used.take(), aggregate(&second).finish());
    }

    #[test]
    fn the_limit_is_kept_to_the_byte(records in records(), limit in 20..4_000usize) {
        let mut tried = Aggregate::new();
        for (key, hash, data) in &records {
            let size = tried.size_with(key, *hash, data.len());
            let before = (tried.len(), tried.size());
            let took = tried.try_push(key, *hash, data, limit);
            prop_assert_eq!(took, size <= limit);
            let after = if took { (before.0 + 1, size) } else { before };
            prop_assert_eq!((tried.len(), tried.size()), after);
        }
        prop_assert!(tried.take().len() <= limit.max(20));
    }

    #[test]
    fn records_within_a_range_are_those_whose_hash_lies_there(
        records in records(),
        bounds in any::<(u128, u128)>(),
    ) {
        let data = whole(&records);
        let range = HashRange { first: bounds.0.min(bounds.1), last: bounds.0.max(bounds.1) };
        let all = split(&data).unwrap();
        let count = all.len();
        let expected: Vec<_> =
            all.into_iter().filter(|record| range.contains(record.hash())).collect();
        let within = split_within(&data, range).unwrap();
        prop_assert_eq!(within.dropped, count - expected.len());
        prop_assert_eq!(within.records, expected);
    }

    #[test]
    fn whatever_is_changed_is_noticed(
        records in records(),
        at in any::<prop::sample::Index>(),
        bit in 0..8u8,
    ) {
        let mut data = whole(&records).to_vec();
        let at = at.index(data.len());
        data[at] ^= 1 << bit;
        let why = if at < 4 { BrokenAggregate::NotAggregated } else { BrokenAggregate::Checksum };
        let data = Bytes::from(data);
        prop_assert_eq!(split(&data), Err(why));
    }

    #[test]
    fn whatever_is_cut_off_is_noticed(records in records(), to in any::<prop::sample::Index>()) {
        let data = whole(&records);
        let data = data.slice(..to.index(data.len()));
        let why = if data.len() <= 20 { BrokenAggregate::NotAggregated } else { BrokenAggregate::Checksum };
        prop_assert_eq!(split(&data), Err(why));
    }
}
