//! A member that leaves gives up what it has, also what it was about to take, and says what it
//! could not give up.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::common::{Bench, SECOND, owned};
use aqueduct_core::{ErrorKind, GroupKey, OwnerId};
use aqueduct_memory::{Applied, MemoryFault, Operation};

/// A stream whose leases exist and have no owner.
fn released(partitions: &'static str) -> Bench {
    let bench = Bench::new(partitions);
    bench.send(0, 40, 20);
    let first = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND);
    bench.run(first.close()).unwrap();
    assert!(owners(&bench).iter().all(Option::is_none));
    bench
}

fn owners(bench: &Bench) -> Vec<Option<OwnerId>> {
    let leases = bench.leases();
    let key = GroupKey::new("billing", "orders");
    let rows = bench.run(leases.list(&key, &[])).unwrap();
    rows.into_iter().map(|row| row.owner).collect()
}

/// Another member has everything at once.
fn check_handed_off(bench: &Bench, partitions: usize) {
    assert!(owners(bench).iter().all(Option::is_none));
    let next = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND);
    assert_eq!(owned(&next), partitions);
}

/// The fault of the writes that take the leases while their member closes.
fn leave_while_taking(fault: MemoryFault) -> (Bench, Duration) {
    let bench = released("3");
    let faults = bench.backend.faults("orders");
    let leaving = bench.open(&bench.runtime, bench.options());
    faults.next(Operation::LeaseWrite, 3, fault);
    while faults.hits(Operation::LeaseWrite) < 3 {
        bench.sleep(Duration::from_millis(1));
    }
    assert_eq!(owned(&leaving), 0);
    let began = bench.runtime.now();
    bench.run(leaving.close()).unwrap();
    let took = bench.runtime.now().since(began);
    (bench, took)
}

#[test]
fn what_is_being_taken_is_given_up_once_it_is_ours() {
    let (bench, took) = leave_while_taking(MemoryFault::late_response(SECOND * 5));
    check_handed_off(&bench, 3);
    assert!(took >= SECOND * 4 && took < SECOND * 7, "{took:?}");
}

#[test]
fn what_was_taken_unseen_is_given_up() {
    for applied in [Applied::Yes, Applied::No] {
        let (bench, took) = leave_while_taking(MemoryFault::lost_response(applied));
        check_handed_off(&bench, 3);
        assert!(took < SECOND * 5, "{took:?}");
    }
}

#[test]
fn what_the_store_answers_too_late_is_given_up() {
    // No call waits that long.
    let (bench, took) = leave_while_taking(MemoryFault::late_response(SECOND * 20));
    check_handed_off(&bench, 3);
    assert!(took < SECOND * 12, "{took:?}");
}

#[test]
fn a_close_tells_what_it_could_not_give_up() {
    let bench = released("2");
    let leaving = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND);
    assert_eq!(owned(&leaving), 2);
    let faults = bench.backend.faults("orders");
    for operation in [Operation::LeaseWrite, Operation::LeaseRead] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    let began = bench.runtime.now();
    let error = bench.run(leaving.close()).unwrap_err();
    let took = bench.runtime.now().since(began);
    assert!(took < SECOND * 36, "{took:?}");
    assert!(error.is(ErrorKind::Unavailable) && !error.is_retryable());
    let said = error.to_string();
    assert!(said.contains("expire, within 30s"), "{said}");
    let again = bench.run(leaving.close()).unwrap_err();
    assert_eq!(again.to_string(), said);
    faults.clear();
    let next = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND * 60);
    assert_eq!(owned(&next), 2);
}

#[test]
fn leases_that_were_lost_to_an_outage_are_given_up_afterwards() {
    let bench = released("2");
    let faults = bench.backend.faults("orders");
    let leaving = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND);
    for operation in [Operation::LeaseWrite, Operation::LeaseRead] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    while owned(&leaving) > 0 {
        bench.sleep(SECOND);
    }
    faults.clear();
    assert!(owners(&bench).iter().all(Option::is_some));
    bench.run(leaving.close()).unwrap();
    check_handed_off(&bench, 2);
}

#[test]
fn a_member_that_stood_still_gives_up_what_nobody_took() {
    let bench = released("2");
    let process = bench.simulation.process();
    let leaving = bench.open(&process.runtime(), bench.options());
    bench.sleep(SECOND);
    assert_eq!(owned(&leaving), 2);
    process.stall(true);
    bench.sleep(SECOND * 40);
    process.stall(false);
    bench.run(leaving.close()).unwrap();
    check_handed_off(&bench, 2);
}

#[test]
fn a_partition_that_was_just_handed_off_is_given_up() {
    let bench = released("2");
    let one = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND);
    let mut options = bench.options();
    options.owner = Some("two".into());
    let two = bench.open(&bench.runtime, options);
    while !owners(&bench).contains(&Some("two".into())) {
        bench.sleep(Duration::from_millis(10));
    }
    assert_eq!(owned(&two), 0, "it does not know yet");
    bench.run(two.close()).unwrap();
    assert!(!owners(&bench).contains(&Some("two".into())));
    bench.sleep(SECOND * 20);
    assert_eq!(owned(&one), 2);
    let mut seen = bench.drink(&one);
    seen.sort_unstable();
    assert_eq!(seen, (0..40).collect::<Vec<_>>());
}

#[test]
fn a_request_of_a_member_that_leaves_is_withdrawn() {
    let bench = released("2");
    let one = bench.open(&bench.runtime, bench.options());
    bench.run(async {
        // A delivery that is out keeps the partition from being handed off at once.
        let out = bench.receive(&one, SECOND * 5).await;
        let mut options = bench.options();
        options.owner = Some("two".into());
        let two = aqueduct_group::Group::open(
            bench_log(&bench).await,
            bench.resource.leases(&bench.runtime).await.unwrap(),
            options,
            &bench.runtime,
        );
        let two = two.await.unwrap();
        let leases = bench.resource.leases(&bench.runtime).await.unwrap();
        let key = GroupKey::new("billing", "orders");
        loop {
            let rows = leases.list(&key, &[]).await.unwrap();
            if rows.iter().any(|row| row.wanted_by == Some("two".into())) {
                break;
            }
            bench.runtime.sleep(Duration::from_millis(10)).await;
        }
        two.close().await.unwrap();
        let rows = leases.list(&key, &[]).await.unwrap();
        assert!(rows.iter().all(|row| row.wanted_by.is_none()));
        assert!(rows.iter().all(|row| row.owner != Some("two".into())));
        drop(out);
    });
}

async fn bench_log(bench: &Bench) -> std::sync::Arc<dyn aqueduct_core::PartitionedLog> {
    match bench.resource.source(&bench.runtime).await.unwrap() {
        aqueduct_core::Source::Log(log) => log,
        _ => panic!("memory is a log"),
    }
}
