//! Every fault takes effect as scheduled.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Harness, SECOND, event};
use aqueduct_core::{
    Checkpoint, DeadLetterQuery, Effect, ErrorKind, Event, GroupKey, Lease, OwnerId, PartitionId,
    Position, ReadFrom, Retry, Swap,
};
use aqueduct_memory::{Applied, MemoryFault, Operation};

fn kinds(harness: &Harness, events: &[Event]) -> Vec<Option<ErrorKind>> {
    let outcomes = harness.send(events);
    outcomes
        .iter()
        .map(|it| it.as_ref().err().map(|e| e.kind()))
        .collect()
}

#[test]
fn the_next_sends_fail_and_then_all_is_well() {
    let harness = Harness::new(&[("partitions", "1")]);
    let faults = harness.backend.faults("orders");
    faults.next(Operation::Send, 2, MemoryFault::throttled(3 * SECOND));
    faults.next(
        Operation::Send,
        1,
        MemoryFault::refused(ErrorKind::Unavailable),
    );
    for _ in 0..2 {
        let error = harness.send(&[event("a", 1)]).remove(0).unwrap_err();
        assert_eq!(error.retry(), Retry::After(3 * SECOND));
        assert_eq!(error.effect(), Effect::None);
    }
    let unavailable = Some(ErrorKind::Unavailable);
    assert_eq!(
        kinds(&harness, &[event("a", 2), event("b", 3)]),
        [unavailable, unavailable]
    );
    assert_eq!(kinds(&harness, &[event("a", 4)]), [None]);
    assert_eq!(harness.read_all("0"), ["4"]);
    assert_eq!(faults.hits(Operation::Send), 3);
}

#[test]
fn a_lost_answer_may_or_may_not_have_stored() {
    let harness = Harness::new(&[("partitions", "1")]);
    let faults = harness.backend.faults("orders");
    faults.next(Operation::Send, 1, MemoryFault::lost_response(Applied::Yes));
    faults.next(Operation::Send, 1, MemoryFault::lost_response(Applied::No));
    for n in ["stored", "not stored"] {
        let error = harness.send(&[event("a", n)]).remove(0).unwrap_err();
        assert_eq!(
            (error.kind(), error.effect()),
            (ErrorKind::TimedOut, Effect::Unknown)
        );
    }
    assert_eq!(harness.read_all("0"), ["stored"]);
    // A random prefix is stored: sometimes nothing, sometimes everything.
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let harness = Harness::seeded(seed, &[("partitions", "1")]);
        harness.backend.faults("orders").next(
            Operation::Send,
            1,
            MemoryFault::lost_response(Applied::Maybe),
        );
        let events = [event("a", 0), event("a", 1), event("a", 2)];
        assert!(harness.send(&events).iter().all(Result::is_err));
        let mut reader = harness.reader("0", ReadFrom::Earliest);
        let stored = harness.run(reader.read(10)).unwrap().records;
        let prefix: Vec<_> = events.iter().take(stored.len()).cloned().collect();
        assert_eq!(
            stored.into_iter().map(|it| it.event).collect::<Vec<_>>(),
            prefix
        );
        lengths.insert(prefix.len());
    }
    assert_eq!(lengths.len(), 4);
}

#[test]
fn single_events_fail_and_the_prefix_rule_holds() {
    let harness = Harness::new(&[("partitions", "1")]);
    let faults = harness.backend.faults("orders");
    let second = |event: &Event| crate::common::text(event) == "2";
    faults.fail_events(1, MemoryFault::refused(ErrorKind::Throttled), second);
    let events = [
        event("a", 1),
        event("a", 2),
        event("a", 3),
        event("b", 4),
        event(None, 5),
    ];
    let (throttled, blocked) = (Some(ErrorKind::Throttled), Some(ErrorKind::Blocked));
    assert_eq!(
        kinds(&harness, &events),
        [None, throttled, blocked, None, None]
    );
    assert_eq!(harness.read_all("0"), ["1", "4", "5"]);
    assert_eq!(kinds(&harness, &events[1..3]), [None, None]);

    faults.fail_events(1, MemoryFault::lost_response(Applied::Yes), second);
    assert_eq!(
        kinds(&harness, &events[1..3]),
        [Some(ErrorKind::TimedOut), blocked]
    );
    assert_eq!(harness.read_all("0"), ["1", "4", "5", "2", "3", "2"]);

    faults.fail_events_by_chance(0.3, MemoryFault::refused(ErrorKind::Unavailable));
    let many: Vec<Event> = (0..1_000).map(|n| event(None, n)).collect();
    let failed = harness.send(&many).iter().filter(|it| it.is_err()).count();
    assert!((200..400).contains(&failed), "{failed}");
    faults.clear();
    assert!(harness.send(&many).iter().all(Result::is_ok));
}

#[test]
fn slow_calls_take_effect_before_or_after_the_wait() {
    let harness = Harness::new(&[("partitions", "1")]);
    let faults = harness.backend.faults("orders");
    for (fault, stored_at) in [
        (MemoryFault::late_request(5 * SECOND), 5 * SECOND),
        (MemoryFault::late_response(5 * SECOND), Duration::ZERO),
    ] {
        faults.next(Operation::Send, 1, fault);
        let began = (harness.runtime.now(), harness.runtime.wall());
        assert_eq!(kinds(&harness, &[event("a", 1)]), [None]);
        assert_eq!(harness.runtime.now().since(began.0), 5 * SECOND);
        let last = harness
            .run(harness.log().tail(&PartitionId::from("0")))
            .unwrap()
            .last
            .unwrap();
        let mut reader = harness.reader("0", ReadFrom::At(last));
        let record = harness.run(reader.read(1)).unwrap().records.remove(0);
        assert_eq!(record.stored_at.unwrap().since(began.1), stored_at);
    }
}

#[test]
fn a_cut_connection_fails_a_waiting_read_once_and_it_goes_on_behind_the_last_record() {
    let harness = Harness::new(&[("partitions", "1")]);
    harness.send(&[event("a", 1), event("a", 2)]);
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    assert_eq!(harness.run(reader.read(1)).unwrap().records.len(), 1);
    let faults = harness.backend.faults("orders");
    faults.next(
        Operation::Read,
        1,
        MemoryFault::refused(ErrorKind::Unavailable),
    );
    assert!(
        harness
            .run(reader.read(1))
            .unwrap_err()
            .is(ErrorKind::Unavailable)
    );
    assert_eq!(
        harness.run(reader.read(1)).unwrap().records[0].position,
        Position::new(2)
    );

    let began = harness.runtime.now();
    let runtime = harness.runtime.clone();
    let cut = harness.runtime.spawn(async move {
        runtime.sleep(SECOND / 4).await;
        faults.next(
            Operation::Read,
            1,
            MemoryFault::refused(ErrorKind::Unavailable),
        );
    });
    assert!(
        harness
            .run(reader.read(1))
            .unwrap_err()
            .is(ErrorKind::Unavailable)
    );
    assert_eq!(harness.runtime.now().since(began), SECOND / 4);
    harness.run(cut).unwrap();
}

#[test]
fn every_open_reader_is_cut_once() {
    let harness = Harness::new(&[("partitions", "2")]);
    harness.send(&[event(None, 1), event(None, 2)]);
    let mut readers = ["0", "1"].map(|id| harness.reader(id, ReadFrom::Earliest));
    harness.backend.faults("orders").cut_readers();
    let mut later = harness.reader("0", ReadFrom::Earliest);
    for reader in &mut readers {
        assert!(
            harness
                .run(reader.read(1))
                .unwrap_err()
                .is(ErrorKind::Unavailable)
        );
        assert_eq!(harness.run(reader.read(1)).unwrap().records.len(), 1);
    }
    assert_eq!(harness.run(later.read(1)).unwrap().records.len(), 1);
}

#[test]
fn denied_credentials_deny_everything_until_they_suffice() {
    let harness = Harness::new(&[("partitions", "1")]);
    let (producer, log) = (harness.producer(), harness.log());
    let dead_letters = harness
        .run(harness.resource.dead_letters(&harness.runtime))
        .unwrap();
    let leases = harness
        .run(harness.resource.leases(&harness.runtime))
        .unwrap();
    let faults = harness.backend.faults("orders");
    faults.deny(true);
    let denied = [
        harness
            .run(producer.send_batch(&[event("a", 1)]))
            .into_outcomes()
            .remove(0)
            .err(),
        harness.run(log.partitions()).err(),
        harness
            .run(dead_letters.list(&DeadLetterQuery::default()))
            .err(),
        harness
            .run(leases.list(&GroupKey::new("g", "s"), &[]))
            .err(),
        harness
            .run(harness.resource.producer(&harness.runtime))
            .err(),
        harness.run(harness.resource.admin(&harness.runtime)).err(),
    ];
    for error in denied {
        assert!(error.unwrap().is(ErrorKind::Denied));
    }
    faults.deny(false);
    assert!(harness.send(&[event("a", 1)])[0].is_ok());
}

#[test]
fn lease_writes_lose_their_answers_conflict_and_are_refused() {
    let harness = Harness::new(&[]);
    let store = harness
        .run(harness.resource.leases(&harness.runtime))
        .unwrap();
    let faults = harness.backend.faults("orders");
    let key = GroupKey::new("billing", "orders");
    let lease = Lease::new(
        PartitionId::from("0"),
        Checkpoint::Start(ReadFrom::Earliest),
    );
    let stored = harness.run(store.create(&key, lease)).unwrap();
    let mut next = stored.clone();
    next.owner = Some(OwnerId::from("a"));
    next.nonce = 42;
    next.counter = 1;
    let swap = || harness.run(store.swap(&key, &stored, next.clone()));
    let read = || {
        harness
            .run(store.read(&key, &stored.partition))
            .unwrap()
            .unwrap()
    };

    faults.next(Operation::LeaseWrite, 1, MemoryFault::conflict());
    assert_eq!(swap().unwrap(), Swap::Lost(Some(stored.clone())));
    faults.next(
        Operation::LeaseWrite,
        1,
        MemoryFault::refused(ErrorKind::Throttled),
    );
    assert!(swap().unwrap_err().is(ErrorKind::Throttled));
    assert_eq!(read(), stored);
    faults.next(
        Operation::LeaseWrite,
        1,
        MemoryFault::lost_response(Applied::Yes),
    );
    assert_eq!(swap().unwrap_err().effect(), Effect::Unknown);
    assert_eq!(read().nonce, 42);
    assert!(matches!(swap().unwrap(), Swap::Lost(Some(row)) if row.nonce == 42));
    faults.next(
        Operation::LeaseRead,
        1,
        MemoryFault::refused(ErrorKind::Unavailable),
    );
    assert!(harness.run(store.list(&key, &[])).is_err());
}

#[test]
fn retention_on_demand_leaves_a_gap() {
    let harness = Harness::new(&[("partitions", "1")]);
    let faults = harness.backend.faults("orders");
    harness.send(&(0..5).map(|n| event("a", n)).collect::<Vec<_>>());
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    harness.run(reader.read(1)).unwrap();
    faults.drop_oldest(&PartitionId::from("0"), 3).unwrap();
    let gap = harness.run(reader.read(1)).unwrap_err();
    assert!(gap.is(ErrorKind::PositionExpired));
    assert_eq!(harness.read_all("0"), ["3", "4"]);
    faults.expire_all().unwrap();
    let tail = harness
        .run(harness.log().tail(&PartitionId::from("0")))
        .unwrap();
    assert_eq!(tail.last, Some(Position::new(5)));
    assert!(
        faults
            .drop_oldest(&PartitionId::from("8"), 1)
            .unwrap_err()
            .is(ErrorKind::NotFound)
    );
}

#[test]
fn chances_follow_from_the_seed() {
    let outcomes = |seed| {
        let harness = Harness::seeded(seed, &[]);
        let faults = harness.backend.faults("orders");
        faults.chance(
            Operation::Send,
            0.4,
            MemoryFault::refused(ErrorKind::Unavailable),
        );
        let failed: Vec<bool> = (0..64)
            .map(|n| harness.send(&[event("a", n)])[0].is_err())
            .collect();
        failed
    };
    assert_eq!(outcomes(7), outcomes(7));
    assert_ne!(outcomes(7), outcomes(8));
    let failed = outcomes(7).into_iter().filter(|failed| *failed).count();
    assert!((10..45).contains(&failed), "{failed}");
}

#[test]
fn faults_reach_streams_through_every_handle() {
    let harness = Harness::new(&[]);
    let clone = harness.backend.clone();
    let seen = Arc::new(Mutex::new(0));
    let counted = seen.clone();
    clone.faults("orders").fail_events(
        u64::MAX,
        MemoryFault::refused(ErrorKind::Full),
        move |_| {
            *counted.lock().unwrap() += 1;
            false
        },
    );
    harness.send(&[event("a", 1), event("b", 2)]);
    assert_eq!(*seen.lock().unwrap(), 2);
}
