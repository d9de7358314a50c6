//! Status, lag and flushes tell what is true now, also while nothing works.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use crate::common::{Harness, SECOND, owned};
use aqueduct_core::{ErrorKind, GroupKey};
use aqueduct_memory::{MemoryFault, Operation};

#[test]
fn reads_that_are_denied_for_hours_are_reported_until_one_succeeds() {
    let harness = Harness::new("1");
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND * 5);
    let faults = harness.backend.faults("orders");
    faults.next(
        Operation::Read,
        1,
        MemoryFault::refused(ErrorKind::Unavailable),
    );
    for _ in 0..50 {
        harness.sleep(Duration::from_millis(100));
        let status = consumer.status().partitions.remove(0);
        assert!(status.read_failure.is_none(), "one failure is tried again");
    }
    let began = harness.runtime.now();
    for operation in [Operation::Read, Operation::Open] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Denied));
    }
    harness.sleep(SECOND * 6 * 3_600);
    let failure = consumer.status().partitions.remove(0).read_failure.unwrap();
    assert!(failure.error.is(ErrorKind::Denied));
    assert!(failure.since.since(began) < SECOND * 5);
    faults.clear();
    harness.sleep(SECOND * 20);
    assert!(consumer.status().partitions[0].read_failure.is_none());
}

#[test]
fn lag_grows_while_a_reader_is_full_or_paused() {
    for paused in [true, false] {
        let harness = Harness::new("1");
        let mut options = harness.options();
        options.max_unsettled = 100;
        options.fetch_events = 100;
        let consumer = harness.open(&harness.runtime, options);
        consumer.pause(paused);
        harness.send(0, 200, 10);
        harness.sleep(SECOND * 10);
        let lag = || consumer.status().partitions[0].lag_events;
        assert_eq!(lag(), Some(200));
        harness.send(200, 2_000, 10);
        harness.sleep(SECOND * 10);
        assert_eq!(lag(), Some(2_200));
        let late = consumer.status().partitions[0].lag_time.unwrap();
        assert!(late >= SECOND * 9, "{late:?}");
    }
}

#[test]
fn health_does_not_flap_on_one_failed_listing() {
    let harness = Harness::new("1");
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    let faults = harness.backend.faults("orders");
    let before = faults.hits(Operation::LeaseRead);
    faults.next(
        Operation::LeaseRead,
        1,
        MemoryFault::refused(ErrorKind::Unavailable),
    );
    for _ in 0..4_000 {
        harness.sleep(Duration::from_millis(10));
        assert!(consumer.status().unreachable_since.is_none());
    }
    assert!(faults.hits(Operation::LeaseRead) > before);
}

#[test]
fn a_flush_after_a_lost_lease_fails_once() {
    let harness = Harness::new("1");
    harness.send(0, 5, 5);
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND * 2);
    let faults = harness.backend.faults("orders");
    for operation in [Operation::LeaseRead, Operation::LeaseWrite] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    harness.run(async {
        for delivery in harness.receive(&consumer, SECOND).await.unwrap() {
            delivery.ack().await.unwrap();
        }
    });
    while owned(&consumer) > 0 {
        harness.sleep(SECOND);
    }
    let failed = harness.run(consumer.flush()).unwrap_err();
    assert!(failed.is(ErrorKind::Revoked), "{failed}");
    faults.clear();
    assert_eq!(harness.drink(&consumer).len(), 5, "they come again");
    harness.run(consumer.flush()).unwrap();
}

#[test]
fn what_a_shutdown_cancels_is_given_back_uncounted() {
    let harness = Harness::new("1");
    harness.send(0, 1, 1);
    for _ in 0..6 {
        let mut options = harness.options();
        options.drain = Duration::from_millis(300);
        let consumer = harness.open(&harness.runtime, options);
        harness.run(async {
            let batch = harness.receive(&consumer, SECOND * 5).await.unwrap();
            assert_eq!(batch[0].attempt(), 1, "nothing failed");
            consumer.drain().await.unwrap();
            drop(batch);
            consumer.close().await.unwrap();
        });
        let key = GroupKey::new("billing", "orders");
        let row = harness
            .run(harness.leases().list(&key, &[]))
            .unwrap()
            .remove(0);
        assert_eq!((row.owner, row.attempts, row.unclean), (None, None, 0));
    }
}

#[test]
fn a_new_group_starts_at_once_after_a_hundred_reshards() {
    let harness = Harness::new("2");
    harness.send(0, 10, 5);
    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    for generation in 0..100 {
        harness.run(admin.reshard(2 + generation % 2)).unwrap();
    }
    harness.send(10, 10, 5);
    let consumer = harness.open(&harness.runtime, harness.options());
    assert_eq!(harness.drink(&consumer).len(), 20);
}
