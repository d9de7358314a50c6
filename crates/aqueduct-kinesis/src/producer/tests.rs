//! Every call has an outcome for every event and keeps the prefix rule, whichever records fail.

use std::collections::{BTreeMap, BTreeSet};

use aqueduct_core::{
    Error, ErrorKind, Event, HashRange, Limits, PartitionId, Position, Receipt, Result,
};
use proptest::prelude::*;

use super::outcomes::{Outcomes, skip_if_blocked};
use super::records::{RecordBuilder, Records, Target};
use super::schedule::{Gate, REQUEST_RECORDS, Schedule};
use crate::aggregation::split;
use crate::config::Encoding;
use crate::hash::hash_of;
use crate::shards::{Shard, ShardMap};

const RECORD: usize = 6000;
const REQUEST: usize = 9000;

fn map(shards: u128) -> ShardMap {
    let width = u128::MAX / shards;
    let shards = (0..shards).map(|at| Shard {
        id: PartitionId::new(format!("shardId-{at:012}")),
        parents: Vec::new(),
        range: HashRange {
            first: if at == 0 { 0 } else { at * width + 1 },
            last: if at + 1 == shards {
                u128::MAX
            } else {
                (at + 1) * width
            },
        },
        first: Position::MIN,
        last: None,
    });
    ShardMap::new(shards.collect()).unwrap()
}

fn builder(aggregate: Option<usize>) -> RecordBuilder {
    let limits = Limits {
        event_bytes: Some(RECORD - 256),
        ..Limits::default()
    };
    RecordBuilder::new(Encoding::Raw, aggregate, RECORD, limits)
}

/// Returns the events that the service stores of one call, and the outcomes.
fn play(
    events: &[Event],
    records: &mut Records,
    mut outcomes: Outcomes,
    fails: &mut impl FnMut() -> bool,
) -> (Vec<usize>, Vec<Result<Receipt>>) {
    let mut schedule = Schedule::new(&records.scheduled, REQUEST);
    let mut in_flight: Vec<Vec<u32>> = Vec::new();
    let mut stored = Vec::new();
    let scheduled = records.scheduled.clone();
    loop {
        let error = Error::new(ErrorKind::Throttled, "refused");
        let step = schedule.next(&scheduled, |record, _| {
            match skip_if_blocked(&mut outcomes, records, record, &error) {
                true => Gate::Skip,
                false => Gate::Go,
            }
        });
        if !step.request.is_empty() {
            check_request(events, records, &step.request);
            in_flight.push(step.request);
            if fails() {
                continue;
            }
        }
        let Some(request) = in_flight.pop() else {
            break;
        };
        schedule.completed(&scheduled, &request);
        for record in request {
            let refused = fails();
            for &at in records.members(record) {
                let at = at as usize;
                if refused {
                    outcomes.skip(at, records.keys[at], &error);
                } else {
                    stored.push(at);
                    outcomes.stored(at, Receipt::at("0".into(), Position::MIN));
                }
            }
        }
    }
    (stored, outcomes.into_report().into_outcomes())
}

/// No key is in two records, and the limits hold.
fn check_request(events: &[Event], records: &Records, request: &[u32]) {
    assert!(request.len() <= REQUEST_RECORDS);
    let bytes = request
        .iter()
        .map(|&record| records.scheduled[record as usize].bytes);
    assert!(request.len() == 1 || bytes.sum::<u32>() as usize <= REQUEST);
    let mut seen = BTreeSet::new();
    for &record in request {
        let members = records.members(record).iter();
        let keys: BTreeSet<_> = members
            .filter_map(|&at| events[at as usize].key())
            .collect();
        for key in keys {
            assert!(seen.insert(key), "{key} is in two records");
        }
    }
}

fn check_records(events: &[Event], records: &Records, map: &ShardMap) {
    assert_eq!(records.outgoing.len(), records.entries.whole().len());
    for (at, (record, entry)) in records
        .outgoing
        .iter()
        .zip(records.entries.whole())
        .enumerate()
    {
        let data = entry.data.as_ref();
        assert!(data.len() + entry.partition_key.as_deref().unwrap_or_default().len() <= RECORD);
        if !record.aggregated {
            continue;
        }
        let outer: u128 = entry.explicit_hash_key().unwrap().parse().unwrap();
        let shard = map.at(outer);
        let data = bytes::Bytes::copy_from_slice(data);
        let inner = split(&data).unwrap();
        assert_eq!(inner.len(), records.members(at as u32).len());
        for (inner, &index) in inner.iter().zip(records.members(at as u32)) {
            let event = &events[index as usize];
            assert_eq!(Some(&inner.data), event.data());
            let hash = inner
                .explicit_hash_key
                .unwrap_or_else(|| hash_of(inner.partition_key));
            assert_eq!(map.at(hash), shard, "an event beside its shard");
            assert_eq!(records.hashes[index as usize], hash);
        }
    }
}

fn any_events() -> impl Strategy<Value = Vec<Event>> {
    let size = prop_oneof![8 => 0..300usize, 1 => 300..7000usize];
    let event = (prop::option::weighted(0.8, 0..12u8), size).prop_map(|(key, size)| {
        let event = Event::bytes("t", "text/plain", vec![7; size]).with_source("/s");
        match key {
            Some(key) => event.with_key(format!("key-{key}")),
            None => event,
        }
    });
    prop::collection::vec(event, 1..120)
}

proptest! {
    #[test]
    fn every_event_has_an_outcome_and_the_stored_ones_of_a_key_are_a_prefix(
        events in any_events(),
        shards in 1..4u128,
        mode in 0..3u8,
        large in any::<bool>(),
        mut luck in prop::collection::vec(any::<u8>(), 1..64),
        odds in 0..80u8,
    ) {
        let map = map(shards);
        let builder = builder((mode == 0).then_some(3000));
        let large_bytes = vec![if large { usize::MAX } else { 0 }; shards as usize];
        let mut outcomes = Outcomes::new(events.len());
        let target = match mode {
            2 => Target::Anywhere,
            _ => Target::Shards { map: &map, large_bytes: &large_bytes },
        };
        let mut records = builder.build(&events, target, &mut outcomes);
        if mode != 2 {
            check_records(&events, &records, &map);
        }
        let mut fails = || {
            let drawn = luck[0];
            luck.rotate_left(1);
            drawn < odds
        };
        let (stored, outcomes) = play(&events, &mut records, outcomes, &mut fails);

        prop_assert_eq!(outcomes.len(), events.len());
        let mut ends: BTreeMap<&str, bool> = BTreeMap::new();
        for (event, outcome) in events.iter().zip(&outcomes) {
            if let Err(error) = outcome {
                prop_assert!(error.kind() != ErrorKind::Internal, "an event has no outcome");
            }
            let Some(key) = event.key() else { continue };
            let ended = ends.entry(key).or_default();
            prop_assert!(!(*ended && outcome.is_ok()), "{} goes on behind a hole", key);
            if *ended {
                let kind = outcome.as_ref().unwrap_err().kind();
                prop_assert!(matches!(kind, ErrorKind::Blocked | ErrorKind::TooLarge));
            }
            *ended |= outcome.is_err();
        }
        let mut last: BTreeMap<&str, usize> = BTreeMap::new();
        for at in &stored {
            prop_assert!(outcomes[*at].is_ok());
            if let Some(key) = events[*at].key() {
                prop_assert!(last.insert(key, *at).is_none_or(|before| before < *at));
            }
        }
        prop_assert_eq!(stored.len(), outcomes.iter().filter(|it| it.is_ok()).count());
        if odds == 0 {
            let too_large = |event: &Event| event.data().unwrap().len() > RECORD - 256;
            for (at, (event, outcome)) in events.iter().zip(&outcomes).enumerate() {
                let behind = events[..at].iter().any(|it| too_large(it) && it.key().is_some() && it.key() == event.key());
                let may_fail = too_large(event) || behind;
                prop_assert_eq!(outcome.is_ok(), !may_fail);
            }
        }
    }
}

#[test]
fn many_small_events_take_few_records() {
    let map = map(4);
    let builder = builder(Some(5000));
    let event = |n: usize| {
        Event::bytes("t", "text/plain", vec![1; 20])
            .with_source("/s")
            .with_key(format!("key-{n}"))
    };
    let events: Vec<_> = (0..200).map(event).collect();
    let mut outcomes = Outcomes::new(events.len());
    let target = Target::Shards {
        map: &map,
        large_bytes: &[usize::MAX; 4],
    };
    let records = builder.build(&events, target, &mut outcomes);
    assert_eq!(records.outgoing.len(), 4);
    assert!(records.scheduled.iter().all(|it| it.level == 0));

    let keyless = (0..200).map(|_| event(0)).map(|event| {
        Event::bytes("t", "text/plain", event.data().unwrap().clone()).with_source("/s")
    });
    let keyless = keyless.collect::<Vec<_>>();
    let mut outcomes = Outcomes::new(keyless.len());
    let target = Target::Shards {
        map: &map,
        large_bytes: &[usize::MAX; 4],
    };
    let records = builder.build(&keyless, target, &mut outcomes);
    assert!(
        records.outgoing.len() <= 2,
        "{} records",
        records.outgoing.len()
    );
}

#[test]
fn a_few_keys_in_more_events_than_a_record_holds_still_take_one_request() {
    let map = map(2);
    let builder = builder(Some(4000));
    let event = |n: usize| {
        Event::bytes("t", "text/plain", vec![1; 100])
            .with_source("/s")
            .with_key(format!("key-{}", n % 50))
    };
    let events: Vec<_> = (0..200).map(event).collect();
    let mut outcomes = Outcomes::new(events.len());
    let target = Target::Shards {
        map: &map,
        large_bytes: &[usize::MAX; 2],
    };
    let records = builder.build(&events, target, &mut outcomes);
    assert!(records.outgoing.len() > 4);
    let levels = records.scheduled.iter().map(|it| it.level);
    assert!(levels.max() <= Some(1), "{:?}", records.scheduled);
    let first = records.scheduled.iter().filter(|it| it.level == 0);
    assert!(
        first.count() + 2 >= records.scheduled.len(),
        "{:?}",
        records.scheduled
    );
}

/// The figures of the README.
#[test]
fn each_encoding_costs_what_the_documentation_says() {
    let data = format!("{{\"note\":\"{}\"}}", "x".repeat(89));
    assert_eq!(data.len(), 100);
    let event = Event::bytes("order.placed", Event::JSON, data)
        .with_source("/shop")
        .with_id("0190b1a4-7c3e-7000-8000-00000000abcd")
        .with_key("customer-7");
    let costs = [
        Encoding::CloudEventsJson,
        Encoding::CloudEventsProtobuf,
        Encoding::Raw,
    ]
    .map(|encoding| {
        let mut data = Vec::new();
        crate::encoding::encode(&event, encoding, &mut data).unwrap();
        let mut aggregate = crate::aggregation::Aggregate::new();
        let mut before = aggregate.size();
        let mut grown = || {
            aggregate.push("customer-7", None, &data);
            let grown = aggregate.size() - before;
            before = aggregate.size();
            grown
        };
        (data.len(), grown(), grown())
    });
    assert_eq!(costs, [(277, 297, 285), (235, 255, 243), (100, 118, 106)]);
}
