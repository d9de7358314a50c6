//! A member that leaves gives up what it has, also what it was about to take, and says what it
//! could not give up.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::common::{Harness, SECOND, owned};
use aqueduct_core::{ErrorKind, GroupKey, OwnerId};
use aqueduct_memory::{Applied, MemoryFault, Operation};

/// A stream whose leases exist and have no owner.
fn released(partitions: &'static str) -> Harness {
    let harness = Harness::new(partitions);
    harness.send(0, 40, 20);
    let first = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    harness.run(first.close()).unwrap();
    assert!(owners(&harness).iter().all(Option::is_none));
    harness
}

fn owners(harness: &Harness) -> Vec<Option<OwnerId>> {
    let leases = harness.leases();
    let key = GroupKey::new("billing", "orders");
    let rows = harness.run(leases.list(&key, &[])).unwrap();
    rows.into_iter().map(|row| row.owner).collect()
}

/// Another member has everything at once.
fn check_handed_off(harness: &Harness, partitions: usize) {
    assert!(owners(harness).iter().all(Option::is_none));
    let next = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    assert_eq!(owned(&next), partitions);
}

/// The fault of the writes that take the leases while their member closes.
fn leave_while_taking(fault: MemoryFault) -> (Harness, Duration) {
    let harness = released("3");
    let faults = harness.backend.faults("orders");
    let leaving = harness.open(&harness.runtime, harness.options());
    faults.next(Operation::LeaseWrite, 3, fault);
    while faults.hits(Operation::LeaseWrite) < 3 {
        harness.sleep(Duration::from_millis(1));
    }
    assert_eq!(owned(&leaving), 0);
    let began = harness.runtime.now();
    harness.run(leaving.close()).unwrap();
    let took = harness.runtime.now().since(began);
    (harness, took)
}

#[test]
fn what_is_being_taken_is_given_up_once_it_is_ours() {
    let (harness, took) = leave_while_taking(MemoryFault::late_response(SECOND * 5));
    check_handed_off(&harness, 3);
    assert!(took >= SECOND * 4 && took < SECOND * 7, "{took:?}");
}

#[test]
fn what_was_taken_unseen_is_given_up() {
    for applied in [Applied::Yes, Applied::No] {
        let (harness, took) = leave_while_taking(MemoryFault::lost_response(applied));
        check_handed_off(&harness, 3);
        assert!(took < SECOND * 5, "{took:?}");
    }
}

#[test]
fn what_the_store_answers_too_late_is_given_up() {
    // No call waits that long.
    let (harness, took) = leave_while_taking(MemoryFault::late_response(SECOND * 20));
    check_handed_off(&harness, 3);
    assert!(took < SECOND * 12, "{took:?}");
}

#[test]
fn a_close_tells_what_it_could_not_give_up() {
    let harness = released("2");
    let leaving = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    assert_eq!(owned(&leaving), 2);
    let faults = harness.backend.faults("orders");
    for operation in [Operation::LeaseWrite, Operation::LeaseRead] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    let began = harness.runtime.now();
    let error = harness.run(leaving.close()).unwrap_err();
    let took = harness.runtime.now().since(began);
    assert!(took < SECOND * 36, "{took:?}");
    assert!(error.is(ErrorKind::Unavailable) && !error.is_retryable());
    let said = error.to_string();
    assert!(said.contains("expire, within 30s"), "{said}");
    let again = harness.run(leaving.close()).unwrap_err();
    assert_eq!(again.to_string(), said);
    faults.clear();
    let next = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND * 60);
    assert_eq!(owned(&next), 2);
}

#[test]
fn leases_that_were_lost_to_an_outage_are_given_up_afterwards() {
    let harness = released("2");
    let faults = harness.backend.faults("orders");
    let leaving = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    for operation in [Operation::LeaseWrite, Operation::LeaseRead] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    while owned(&leaving) > 0 {
        harness.sleep(SECOND);
    }
    faults.clear();
    assert!(owners(&harness).iter().all(Option::is_some));
    harness.run(leaving.close()).unwrap();
    check_handed_off(&harness, 2);
}

#[test]
fn a_member_that_stood_still_gives_up_what_nobody_took() {
    let harness = released("2");
    let process = harness.simulation.process();
    let leaving = harness.open(&process.runtime(), harness.options());
    harness.sleep(SECOND);
    assert_eq!(owned(&leaving), 2);
    process.stall(true);
    harness.sleep(SECOND * 40);
    process.stall(false);
    harness.run(leaving.close()).unwrap();
    check_handed_off(&harness, 2);
}

#[test]
fn a_partition_that_was_just_handed_off_is_given_up() {
    let harness = released("2");
    let one = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    let mut options = harness.options();
    options.owner = Some("two".into());
    let two = harness.open(&harness.runtime, options);
    while !owners(&harness).contains(&Some("two".into())) {
        harness.sleep(Duration::from_millis(10));
    }
    assert_eq!(owned(&two), 0, "it does not know yet");
    harness.run(two.close()).unwrap();
    assert!(!owners(&harness).contains(&Some("two".into())));
    harness.sleep(SECOND * 20);
    assert_eq!(owned(&one), 2);
    let mut seen = harness.drink(&one);
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_request_of_a_member_that_leaves_is_withdrawn() {
    let harness = released("2");
    let one = harness.open(&harness.runtime, harness.options());
    harness.run(async {
        // A delivery that is out keeps the partition from being handed off at once.
        let out = harness.receive(&one, SECOND * 5).await;
        let mut options = harness.options();
        options.owner = Some("two".into());
        let two = aqueduct_group::Group::open(
            bench_log(&harness).await,
            harness.resource.leases(&harness.runtime).await.unwrap(),
            options,
            &harness.runtime,
        );
        let two = two.await.unwrap();
        let leases = harness.resource.leases(&harness.runtime).await.unwrap();
        let key = GroupKey::new("billing", "orders");
        loop {
            let rows = leases.list(&key, &[]).await.unwrap();
            if rows.iter().any(|row| row.wanted_by == Some("two".into())) {
                break;
            }
            harness.runtime.sleep(Duration::from_millis(10)).await;
        }
        two.close().await.unwrap();
        let rows = leases.list(&key, &[]).await.unwrap();
        assert!(rows.iter().all(|row| row.wanted_by.is_none()));
        assert!(rows.iter().all(|row| row.owner != Some("two".into())));
        drop(out);
    });
}

async fn bench_log(harness: &Harness) -> std::sync::Arc<dyn aqueduct_core::PartitionedLog> {
    match harness.resource.source(&harness.runtime).await.unwrap() {
        aqueduct_core::Source::Log(log) => log,
        _ => panic!("memory is a log"),
    }
}
