use aqueduct_core::{
    Checkpoint, GroupKey, GroupRecord, HashRange, Lease, OwnerId, PartitionId, Position, ReadFrom,
    ResolvedStart, StoredAttempts, Timestamp,
};
use aws_sdk_dynamodb::types::AttributeValue;
use proptest::prelude::*;

use super::layout::{Layout, Place};
use super::row::{self, Stored};
use super::{LEASE_KEY, columns as col, group};
use crate::backend::STATE_KEY;
use crate::expression::Expression;
use crate::item::{Item, Row, text};

const AT: i64 = 1_769_860_800_000;

/// Applies an update expression as DynamoDB does.
fn apply(item: &mut Item, write: Expression) {
    let parts = write.into_parts();
    let (names, values) = (
        parts.names.unwrap_or_default(),
        parts.values.unwrap_or_default(),
    );
    let update = parts.update.unwrap();
    let (sets, removes) = match update.split_once(" REMOVE ") {
        Some((sets, removes)) => (sets, removes),
        None => (update.as_str(), ""),
    };
    for removed in removes.split(", ").filter(|it| !it.is_empty()) {
        item.remove(&names[removed]);
    }
    // Outside of function arguments, `, ` occurs only between assignments.
    let sets = sets.trim_start_matches("SET ").replace(", :", ",:");
    for set in sets.split(", ") {
        let (name, value) = set.split_once(" = ").unwrap();
        let name = &names[name];
        let value = match value.strip_prefix("if_not_exists(") {
            None => values[value].clone(),
            Some(function) => {
                let (arguments, rest) = function.split_once(')').unwrap();
                let (_, missing) = arguments.split_once(',').unwrap();
                let found = item
                    .get(name)
                    .cloned()
                    .unwrap_or_else(|| values[missing].clone());
                match rest.strip_prefix(" + ") {
                    None => found,
                    Some(one) => {
                        let n = |value: &AttributeValue| -> u64 {
                            value.as_n().unwrap().parse().unwrap()
                        };
                        AttributeValue::N((n(&found) + n(&values[one])).to_string())
                    }
                }
            }
        };
        item.insert(name.clone(), value);
    }
}

fn read(item: &Item, place: &Place) -> Stored {
    let row = Row {
        item,
        table: "t",
        key: LEASE_KEY,
    };
    let partition = place.partition(row).unwrap().unwrap();
    Stored::read(row, partition).unwrap()
}

fn position() -> impl Strategy<Value = Position> {
    (
        "[1-9][0-9]{0,55}",
        prop_oneof![Just(0), 0..9u64, any::<u64>()],
    )
        .prop_map(|(digits, sub)| digits.parse::<Position>().unwrap().with_sub(sub))
}

fn checkpoint() -> impl Strategy<Value = Checkpoint> {
    let time = prop_oneof![Just(AT), 0..4_000_000_000_000i64].prop_map(Timestamp::from_millis);
    prop_oneof![
        Just(Checkpoint::Start(ReadFrom::Earliest)),
        time.prop_map(|time| Checkpoint::Start(ReadFrom::Time(time))),
        position().prop_map(|it| Checkpoint::Start(ReadFrom::At(it))),
        position().prop_map(|it| Checkpoint::Start(ReadFrom::After(it))),
        position().prop_map(Checkpoint::At),
        Just(Checkpoint::End),
    ]
}

fn names() -> impl Strategy<Value = Vec<PartitionId>> {
    prop::collection::btree_set("[a-z0-9/%-]{1,12}", 0..4)
        .prop_map(|names| names.into_iter().map(PartitionId::new).collect())
}

prop_compose! {
    fn lease()(
        owner in prop::option::of("\\PC{1,20}"),
        (generation, counter, nonce, unclean) in (any::<u64>(), any::<u64>(), any::<u64>(), any::<u32>()),
        wanted_by in prop::option::of("\\PC{1,20}"),
        checkpoint in checkpoint(),
        handed_out in prop::option::of(position()),
        attempts in prop::option::of((position(), any::<u32>(), any::<bool>())),
        parents in names(),
        children in names(),
        range in prop::option::of((any::<u128>(), any::<u128>())),
    ) -> Lease {
        let mut lease = Lease::new(PartitionId::new("shardId-000000000000"), checkpoint);
        lease.owner = owner.map(OwnerId::new);
        lease.generation = generation;
        lease.counter = counter;
        lease.nonce = nonce;
        lease.unclean = unclean;
        lease.wanted_by = wanted_by.map(OwnerId::new);
        lease.handed_out = handed_out;
        lease.attempts = attempts.map(|(position, count, started)| StoredAttempts {
            position,
            count,
            started,
        });
        lease.parents = parents;
        lease.children = children;
        lease.range = range.map(|(first, last)| HashRange { first, last });
        lease
    }
}

fn layouts() -> impl Strategy<Value = Layout> {
    prop::sample::select(vec![
        Layout::Kcl,
        Layout::multi("1:orders:2").unwrap(),
        Layout::Shared,
    ])
}

proptest! {
    #[test]
    fn a_lease_comes_back_as_it_was_written(
        layout in layouts(),
        first in lease(),
        mut next in lease(),
        told in any::<bool>(),
    ) {
        let at = told.then(|| Timestamp::from_millis(AT));
        let place = layout.place(&GroupKey::new("billing", "orders")).unwrap();
        let key = place.lease_key(&first.partition);
        let mut item = Item::from([
            (LEASE_KEY.to_owned(), text(key)),
            ("ofSomebodyElse".to_owned(), text("x")),
            (col::PENDING[0].to_owned(), text("5")),
        ]);
        apply(&mut item, row::creation(&place, &first, 3, at));
        prop_assert_eq!(&read(&item, &place).lease, &first);

        // A pending request stays while the owner stays.
        if next.owner == first.owner && next.wanted_by != first.wanted_by {
            next.wanted_by.clone_from(&first.wanted_by);
        }
        if next.range.is_none() {
            next.range = first.range;
        }
        apply(&mut item, row::replacement(&place, &first, &next, at));
        let stored = read(&item, &place);
        prop_assert_eq!(&stored.lease, &next);
        prop_assert!(!stored.foreign && !stored.pending);
        prop_assert_eq!(&item["ofSomebodyElse"], &text("x"));
        // KCL never reads a checkpoint beyond the settled position.
        let checkpoint = item[col::CHECKPOINT].as_s().unwrap();
        prop_assert_eq!(checkpoint == "SHARD_END", next.checkpoint == Checkpoint::End);
    }

    #[test]
    fn a_record_comes_back_as_it_was_written(
        starts in prop::collection::vec(checkpoint(), 0..20),
        replay: u64,
        stream in prop::option::of("\\PC{1,40}"),
    ) {
        let place = |(n, start): (usize, Checkpoint)| (PartitionId::new(format!("p{n}")), start);
        let record = GroupRecord::new(
            ResolvedStart {
                at: Timestamp::from_millis(AT),
                partitions: starts.into_iter().enumerate().map(place).collect(),
            },
            replay,
            Timestamp::from_millis(AT + 1),
        )
        .with_stream_id(stream.map(aqueduct_core::StreamId::new));
        let key = GroupKey::new("billing", "orders");
        let item = group::write("row", &key, &record);
        let row = Row { item: &item, table: "t", key: STATE_KEY };
        prop_assert_eq!(group::read(row, "t", "kcl", &key).unwrap(), record);
    }

    #[test]
    fn no_two_groups_of_a_shared_table_meet(
        a in "[a-z/%]{1,6}", b in "[a-z/%]{1,6}", c in "[a-z/%]{1,6}", d in "[a-z/%]{1,6}",
        p in "[a-z/%]{1,6}", q in "[a-z/%]{1,6}",
    ) {
        let key = |group: &str, stream: &str, partition: &str| {
            let place = Layout::Shared.place(&GroupKey::new(group, stream)).unwrap();
            place.lease_key(&PartitionId::new(partition))
        };
        let same = (&a, &b, &p) == (&c, &d, &q);
        prop_assert_eq!(key(&a, &b, &p) == key(&c, &d, &q), same);
    }

    #[test]
    fn any_row_is_read_or_refused(
        attributes in prop::collection::btree_map(
            prop::sample::select(vec![
                col::OWNER, col::COUNTER, col::CHECKPOINT, col::SUB_SEQUENCE, col::PARENTS,
                col::FIRST_HASH, col::LAST_HASH, col::WATERMARK, col::ATTEMPTS, col::HANDED_OUT,
                col::GENERATION, col::OUR_COUNTER, col::NONCE, col::ENTITY_TYPE, col::STREAM_NAME,
            ]),
            prop_oneof![
                "\\PC{0,9}".prop_map(AttributeValue::S),
                "-?[0-9]{1,30}(\\.[0-9])?".prop_map(AttributeValue::N),
                Just(AttributeValue::Bool(true)),
                Just(AttributeValue::Null(true)),
                Just(AttributeValue::Ss(vec!["a".to_owned()])),
            ],
            0..9,
        ),
        layout in layouts(),
    ) {
        let place = layout.place(&GroupKey::new("billing", "orders")).unwrap();
        let mut item: Item =
            attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let key = place.lease_key(&PartitionId::new("p"));
        item.insert(LEASE_KEY.to_owned(), text(key));
        let row = Row { item: &item, table: "t", key: LEASE_KEY };
        if let Ok(Some(partition)) = place.partition(row) {
            let _ = Stored::read(row, partition);
        }
    }
}
