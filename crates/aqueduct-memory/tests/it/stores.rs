//! Leases, idempotency records, dead letters and lag.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::{Harness, SECOND, event};
use aqueduct_core::{
    Checkpoint, Claimed, DeadLetter, DeadLetterId, DeadLetterQuery, DeadLetterReason,
    DeadLetterStore, DeadLetterStoreExt as _, ErrorKind, EventClaim, GroupKey, GroupName,
    GroupRecord, IdempotencyScope, IdempotencyStore, Lease, LeaseStore, OwnerId, PartitionId,
    Position, ReadFrom, ResolvedStart, SmallStr, StreamName, Swap,
};

fn leases(harness: &Harness) -> (Arc<dyn LeaseStore>, GroupKey) {
    let leases = harness
        .run(harness.resource.leases(&harness.runtime))
        .unwrap();
    (leases, GroupKey::new("billing", "orders"))
}

fn free(partition: &str) -> Lease {
    Lease::new(
        PartitionId::from(partition),
        Checkpoint::Start(ReadFrom::Earliest),
    )
}

fn owned(lease: &Lease, owner: &str) -> Lease {
    let mut next = lease.clone();
    next.owner = Some(OwnerId::from(owner));
    next.generation += 1;
    next.counter += 1;
    next.wanted_by = None;
    next
}

fn renewed(lease: &Lease) -> Lease {
    let mut next = lease.clone();
    next.counter += 1;
    next
}

fn swapped(swap: Swap) -> Lease {
    match swap {
        Swap::Swapped(lease) => lease,
        Swap::Lost(row) => panic!("lost to {row:?}"),
    }
}

#[test]
fn lease_writes_are_conditional_and_versions_rise() {
    let harness = Harness::new(&[]);
    let (store, key) = leases(&harness);
    let created = harness.run(store.create(&key, free("0"))).unwrap();
    let again = harness
        .run(store.create(&key, owned(&free("0"), "x")))
        .unwrap();
    assert_eq!(again, created);
    let a = swapped(
        harness
            .run(store.swap(&key, &created, owned(&created, "a")))
            .unwrap(),
    );
    assert_ne!(a.version, created.version);
    let lost = harness
        .run(store.swap(&key, &created, owned(&created, "b")))
        .unwrap();
    assert_eq!(lost, Swap::Lost(Some(a.clone())));
    let mut moved = renewed(&a);
    moved.checkpoint = Checkpoint::At(Position::new(7));
    let committed = swapped(harness.run(store.commit(&key, &a, moved)).unwrap());
    assert_eq!(
        harness.run(store.read(&key, &committed.partition)).unwrap(),
        Some(committed.clone())
    );
    assert_eq!(
        harness.run(store.list(&key, &[])).unwrap(),
        std::slice::from_ref(&committed)
    );
    let stale = harness.run(store.commit(&key, &a, renewed(&a))).unwrap();
    assert_eq!(stale, Swap::Lost(Some(committed.clone())));
    let steal = harness.run(store.commit(&key, &committed, owned(&committed, "b")));
    assert!(steal.unwrap_err().is(ErrorKind::Invalid));
    let other = harness.run(store.swap(&key, &committed, free("1")));
    assert!(other.unwrap_err().is(ErrorKind::Invalid));

    assert_eq!(
        harness.run(store.delete(&key, &a)).unwrap(),
        Swap::Lost(Some(committed.clone()))
    );
    swapped(harness.run(store.delete(&key, &committed)).unwrap());
    assert_eq!(
        harness.run(store.delete(&key, &committed)).unwrap(),
        Swap::Lost(None)
    );
    assert_eq!(
        harness
            .run(store.swap(&key, &committed, renewed(&committed)))
            .unwrap(),
        Swap::Lost(None)
    );
    let elsewhere = GroupKey::new("audit", "orders");
    assert_eq!(harness.run(store.list(&elsewhere, &[])).unwrap(), []);
}

#[test]
fn a_request_disturbs_no_write_and_survives_it() {
    let harness = Harness::new(&[]);
    let (store, key) = leases(&harness);
    let created = harness.run(store.create(&key, free("0"))).unwrap();
    let a = swapped(
        harness
            .run(store.swap(&key, &created, owned(&created, "a")))
            .unwrap(),
    );
    let (b, c) = (OwnerId::from("b"), OwnerId::from("c"));
    let asked = harness.run(store.request(&key, &a, &b)).unwrap().unwrap();
    assert_eq!(asked.wanted_by, Some(b.clone()));
    assert_ne!(asked.version, a.version);
    assert_eq!(
        harness.run(store.request(&key, &a, &c)).unwrap(),
        Some(asked)
    );
    // The owner has not read the request yet: its write succeeds and preserves it.
    let committed = swapped(harness.run(store.commit(&key, &a, renewed(&a))).unwrap());
    assert_eq!(committed.wanted_by, Some(b.clone()));
    let handed = swapped(
        harness
            .run(store.swap(&key, &committed, owned(&committed, "b")))
            .unwrap(),
    );
    assert_eq!(handed.wanted_by, None);
    // A request for an older generation changes nothing.
    assert_eq!(
        harness.run(store.request(&key, &a, &c)).unwrap(),
        Some(handed.clone())
    );
    assert_eq!(
        harness.run(store.request(&key, &free("9"), &c)).unwrap(),
        None
    );
    // An owner that has read a request may decline it.
    let asked = harness
        .run(store.request(&key, &handed, &c))
        .unwrap()
        .unwrap();
    let mut refused = renewed(&asked);
    refused.wanted_by = None;
    assert_eq!(
        swapped(harness.run(store.commit(&key, &asked, refused)).unwrap()).wanted_by,
        None
    );
}

#[test]
fn a_group_begins_once_and_a_reset_expects_its_replay() {
    let harness = Harness::new(&[]);
    let (store, key) = leases(&harness);
    let record = |replay| {
        let start = ResolvedStart {
            at: harness.runtime.wall(),
            partitions: Vec::new(),
        };
        GroupRecord::new(start, replay, harness.runtime.wall())
    };
    assert_eq!(harness.run(store.group(&key)).unwrap(), None);
    assert_eq!(
        harness
            .run(store.create_group(&key, record(1)))
            .unwrap()
            .replay,
        1
    );
    assert_eq!(
        harness
            .run(store.create_group(&key, record(5)))
            .unwrap()
            .replay,
        1
    );
    harness.run(store.create(&key, free("0"))).unwrap();
    assert_eq!(
        harness
            .run(store.reset_group(&key, 4, record(5)))
            .unwrap()
            .replay,
        1
    );
    assert_eq!(harness.run(store.list(&key, &[])).unwrap().len(), 1);
    assert_eq!(
        harness
            .run(store.reset_group(&key, 1, record(2)))
            .unwrap()
            .replay,
        2
    );
    assert_eq!(harness.run(store.list(&key, &[])).unwrap().len(), 0);
    assert_eq!(harness.run(store.group(&key)).unwrap().unwrap().replay, 2);
}

#[test]
fn a_member_is_dead_when_a_test_says_so() {
    let harness = Harness::new(&[]);
    let (store, _) = leases(&harness);
    let owner = OwnerId::from("a");
    harness.run(store.join(&owner)).unwrap();
    assert!(!store.is_dead(&owner));
    harness.backend.faults("orders").declare_dead(&owner);
    assert!(store.is_dead(&owner));
    harness.run(store.leave(&owner)).unwrap();
}

fn records(harness: &Harness) -> (Arc<dyn IdempotencyStore>, IdempotencyScope) {
    let store = harness
        .run(harness.resource.idempotency(&harness.runtime))
        .unwrap();
    let scope = IdempotencyScope {
        group: GroupName::from("billing"),
        handlers: SmallStr::literal("charge"),
        replay: 0,
    };
    (store, scope)
}

#[test]
fn a_newer_generation_takes_a_claim_over_and_the_older_cannot_complete_it() {
    let harness = Harness::new(&[]);
    let (store, scope) = records(&harness);
    let event = event("a", 1);
    let by = |nonce, generation| {
        EventClaim::new(&event, nonce).from_partition("orders".into(), "0".into(), generation)
    };
    let claim = |claim: EventClaim| {
        harness
            .run(store.claim(&scope, &[claim]))
            .unwrap()
            .remove(0)
    };
    let held = Claimed::Held {
        nonce: 1,
        heartbeat: 0,
    };
    assert_eq!(claim(by(1, 1)), Claimed::New);
    assert_eq!(claim(by(1, 1)), Claimed::Again);
    assert_eq!(claim(by(2, 1)), held);
    let elsewhere = EventClaim::new(&event, 2).from_partition("orders".into(), "1".into(), 9);
    assert_eq!(claim(elsewhere), held);
    assert_eq!(claim(by(2, 2)), Claimed::Again);
    assert_eq!(
        claim(by(1, 1)),
        Claimed::Held {
            nonce: 2,
            heartbeat: 0
        }
    );
    let error = harness
        .run(store.complete(&scope, &[by(1, 1)]))
        .remove(0)
        .unwrap_err();
    assert!(error.is(ErrorKind::Conflict) && !error.is_retryable());
    harness
        .run(store.complete(&scope, &[by(2, 2)]))
        .remove(0)
        .unwrap();
    harness
        .run(store.complete(&scope, &[by(1, 1)]))
        .remove(0)
        .unwrap();
    assert_eq!(claim(by(3, 3)), Claimed::Completed);
    let other = IdempotencyScope {
        replay: 1,
        ..scope.clone()
    };
    assert_eq!(
        harness.run(store.claim(&other, &[by(3, 3)])).unwrap(),
        [Claimed::New]
    );
}

#[test]
fn a_queues_claim_is_held_by_its_heartbeat_until_released() {
    let harness = Harness::new(&[]);
    let (store, scope) = records(&harness);
    let event = event("a", 1);
    let (mine, yours) = (EventClaim::new(&event, 1), EventClaim::new(&event, 2));
    let claim = |claim: &EventClaim| {
        harness
            .run(store.claim(&scope, std::slice::from_ref(claim)))
            .unwrap()
            .remove(0)
    };
    assert_eq!(claim(&mine), Claimed::New);
    harness
        .run(store.heartbeat(&scope, std::slice::from_ref(&mine)))
        .remove(0)
        .unwrap();
    assert_eq!(
        claim(&yours),
        Claimed::Held {
            nonce: 1,
            heartbeat: 1
        }
    );
    let conflict = harness
        .run(store.heartbeat(&scope, std::slice::from_ref(&yours)))
        .remove(0);
    assert!(conflict.unwrap_err().is(ErrorKind::Conflict));
    harness
        .run(store.release(&scope, std::slice::from_ref(&yours)))
        .remove(0)
        .unwrap();
    assert_eq!(
        claim(&yours),
        Claimed::Held {
            nonce: 1,
            heartbeat: 1
        }
    );
    harness
        .run(store.release(&scope, std::slice::from_ref(&mine)))
        .remove(0)
        .unwrap();
    assert_eq!(claim(&yours), Claimed::New);
}

#[test]
fn completed_records_go_by_purge_and_by_retention() {
    let harness = Harness::new(&[("idempotency_retention", "1h")]);
    let (store, scope) = records(&harness);
    assert_eq!(store.retention(), Some(3600 * SECOND));
    let claims: Vec<_> = (0..3).map(|n| EventClaim::new(&event("a", n), 1)).collect();
    harness.run(store.claim(&scope, &claims)).unwrap();
    harness
        .run(store.complete(&scope, &claims[..1]))
        .remove(0)
        .unwrap();
    harness.simulation.advance(60 * SECOND);
    harness
        .run(store.complete(&scope, &claims[1..2]))
        .remove(0)
        .unwrap();
    let before = harness.runtime.wall();
    assert_eq!(harness.run(store.purge(before)).unwrap(), 1);
    assert_eq!(harness.run(store.purge(before)).unwrap(), 0);
    let answers = harness.run(store.claim(&scope, &claims)).unwrap();
    assert_eq!(answers, [Claimed::New, Claimed::Completed, Claimed::Again]);
    harness.simulation.advance(3601 * SECOND);
    let answers = harness.run(store.claim(&scope, &claims)).unwrap();
    assert_eq!(answers, [Claimed::Again, Claimed::New, Claimed::Again]);
}

fn dead_letters(harness: &Harness) -> Arc<dyn DeadLetterStore> {
    harness
        .run(harness.resource.dead_letters(&harness.runtime))
        .unwrap()
}

fn dead_letter(harness: &Harness, group: &'static str, key: &'static str, data: u32) -> DeadLetter {
    let mut dead_letter = DeadLetter::new(
        event(key, data),
        StreamName::from("orders"),
        GroupName::from(group),
        DeadLetterReason::Exhausted,
        "no luck",
        harness.runtime.wall(),
    );
    dead_letter.partition = Some(PartitionId::from("0"));
    dead_letter.position = Some(Position::new(u64::from(data)));
    dead_letter
}

#[test]
fn dead_letters_are_listed_in_pages_shown_and_purged_and_buried_once() {
    let harness = Harness::new(&[]);
    let store = dead_letters(&harness);
    let all: Vec<DeadLetter> = (0..5)
        .map(|n| {
            dead_letter(
                &harness,
                ["billing", "audit"][n % 2],
                ["a", "b"][n / 3],
                n as u32,
            )
        })
        .collect();
    assert!(harness.run(store.put(&all)).iter().all(Result::is_ok));
    assert!(harness.run(store.put(&all[..2])).iter().all(Result::is_ok));
    let list = |query: DeadLetterQuery| harness.run(store.list(&query)).unwrap();
    let page = |after: Option<DeadLetterId>| {
        let mut query = DeadLetterQuery::default();
        query.limit = 2;
        query.after = after;
        list(query)
    };
    let first = page(None);
    let second = page(Some(first[1].id.clone()));
    let third = page(Some(second[1].id.clone()));
    let paged: Vec<_> = [first, second, third]
        .concat()
        .into_iter()
        .map(|it| it.dead_letter)
        .collect();
    assert_eq!(paged, all);
    let mut query = DeadLetterQuery::default();
    query.group = Some(GroupName::from("billing"));
    query.key = Some(SmallStr::literal("a"));
    assert_eq!(list(query.clone()).len(), 2);
    query.stream = Some(StreamName::from("other"));
    assert_eq!(list(query).len(), 0);
    let wrong = DeadLetterId(SmallStr::literal("first"));
    let mut query = DeadLetterQuery::default();
    query.after = Some(wrong.clone());
    assert!(
        harness
            .run(store.list(&query))
            .unwrap_err()
            .is(ErrorKind::Invalid)
    );

    let id = page(None)[0].id.clone();
    assert_eq!(
        harness
            .run(store.show_one(&id))
            .unwrap()
            .unwrap()
            .dead_letter,
        all[0]
    );
    let purged = harness.run(store.purge(&[id.clone(), wrong, id.clone()]));
    assert!(purged[0].is_ok() && purged[1].is_err());
    assert!(purged[2].as_ref().unwrap_err().is(ErrorKind::NotFound));
    assert!(harness.run(store.show_one(&id)).unwrap().is_none());
}

#[test]
fn a_redriven_dead_letter_is_marked_for_its_group_and_goes_once_it_is_stored() {
    let harness = Harness::new(&[("partitions", "1"), ("max_event_bytes", "1KiB")]);
    let store = dead_letters(&harness);
    let mut large = dead_letter(&harness, "billing", "b", 2);
    large.event = large.event.with_data("x".repeat(2_000));
    let all = [dead_letter(&harness, "billing", "a", 1), large];
    harness.run(store.put(&all)).remove(0).unwrap();
    let mut ids: Vec<_> = harness
        .run(store.list(&DeadLetterQuery::default()))
        .unwrap()
        .into_iter()
        .map(|it| it.id)
        .collect();
    ids.insert(1, DeadLetterId(SmallStr::literal("77")));
    let answers = harness.run(store.redrive(&ids, &*harness.producer()));
    let kinds: Vec<_> = answers
        .iter()
        .map(|it| it.as_ref().err().map(|e| e.kind()))
        .collect();
    assert_eq!(
        kinds,
        [None, Some(ErrorKind::NotFound), Some(ErrorKind::TooLarge)]
    );
    assert_eq!(
        harness
            .run(store.list(&DeadLetterQuery::default()))
            .unwrap()
            .len(),
        1
    );
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    let batch = harness.run(reader.read(10)).unwrap();
    assert_eq!(batch.records.len(), 1);
    assert_eq!(
        DeadLetter::target_group(&batch.records[0].event),
        Some("billing")
    );
    assert_eq!(batch.records[0].event.id(), all[0].event.id());
}

#[test]
fn a_dead_letter_that_fails_again_while_it_is_redriven_stays() {
    let harness = Harness::new(&[]);
    let store = dead_letters(&harness);
    let first = dead_letter(&harness, "billing", "a", 1);
    let mut again = first.clone();
    again.position = Some(Position::new(2));
    let list = || {
        harness
            .run(store.list(&DeadLetterQuery::default()))
            .unwrap()
    };
    harness
        .run(store.put(std::slice::from_ref(&first)))
        .remove(0)
        .unwrap();
    let old = list().remove(0).id;
    harness
        .run(store.put(std::slice::from_ref(&again)))
        .remove(0)
        .unwrap();
    let purged = harness.run(store.purge(&[old])).remove(0);
    assert!(purged.unwrap_err().is(ErrorKind::NotFound));
    let left: Vec<_> = list().into_iter().map(|it| it.dead_letter).collect();
    assert_eq!(left, [again]);
}

#[test]
fn a_key_is_held_until_released_even_where_its_dead_letter_is_gone() {
    let harness = Harness::new(&[]);
    let store = dead_letters(&harness);
    let mut holding = dead_letter(&harness, "billing", "a", 1);
    holding.holds_key = true;
    let all = [
        holding,
        dead_letter(&harness, "billing", "b", 2),
        dead_letter(&harness, "audit", "c", 3),
    ];
    harness.run(store.put(&all)).remove(0).unwrap();
    let (billing, audit, orders) = (
        GroupName::from("billing"),
        GroupName::from("audit"),
        StreamName::from("orders"),
    );
    let held = |group| harness.run(store.held_keys(group, &orders)).unwrap();
    assert_eq!(held(&billing), ["a"]);
    assert!(held(&audit).is_empty());
    let id = harness
        .run(store.list(&DeadLetterQuery::default()))
        .unwrap()
        .remove(0)
        .id;
    harness.run(store.purge(&[id])).remove(0).unwrap();
    assert_eq!(held(&billing), ["a"]);
    harness
        .run(store.release_key(&billing, &orders, "a"))
        .unwrap();
    assert!(held(&billing).is_empty());
}

#[test]
fn lag_counts_from_the_leases_checkpoint() {
    let harness = Harness::new(&[("partitions", "1")]);
    harness.send(&(0..10).map(|n| event("a", n)).collect::<Vec<_>>());
    let (leases, key) = leases(&harness);
    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    harness.simulation.advance(5 * SECOND);
    let lag = || {
        let lag = harness.run(admin.lag(&key.group)).unwrap().remove(0);
        (lag.events, lag.oldest)
    };
    assert_eq!(lag(), (10, Some(5 * SECOND)));
    let mut lease = free("0");
    lease.checkpoint = Checkpoint::At(Position::new(7));
    let mut lease = harness.run(leases.create(&key, lease)).unwrap();
    assert_eq!(lag(), (3, Some(5 * SECOND)));
    let mut next = renewed(&lease);
    next.checkpoint = Checkpoint::At(Position::new(10));
    lease = swapped(harness.run(leases.swap(&key, &lease, next)).unwrap());
    assert_eq!(lag(), (0, None));
    assert_eq!(lease.checkpoint, Checkpoint::At(Position::new(10)));
}
