//! One member: deliveries, settlements, limits and the end.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::{Harness, SECOND, number, owned};
use aqueduct_core::{
    Capability, Checkpoint, ErrorKind, GroupKey, GroupName, LeaseStore, Retry, Revocation,
    Settlement, Start, StreamSpec,
};
use aqueduct_group::{ByteBudget, Group, OnGap};
use aqueduct_memory::{Applied, MemoryFault, Operation};

#[test]
fn all_is_delivered_in_order_and_not_again() {
    let harness = Harness::new("4");
    harness.send(0, 1_000, 10);
    let consumer = harness.open(&harness.runtime, harness.options());
    assert!(consumer.capabilities().claims.has(Capability::DelayedNack));
    let seen = harness.drink(&consumer);
    assert_eq!(seen.len(), 1_000);
    for key in 0..10 {
        let of_key: Vec<_> = seen.iter().filter(|n| *n % 10 == key).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
    harness.run(consumer.flush()).unwrap();
    harness.run(consumer.close()).unwrap();
    harness.run(consumer.close()).unwrap();
    let rows = harness.run(
        harness
            .leases()
            .list(&GroupKey::new("billing", "orders"), &[]),
    );
    assert!(rows.unwrap().iter().all(|row| row.owner.is_none()));
    let after = harness.open(&harness.runtime, harness.options());
    assert!(harness.drink(&after).is_empty());
    assert!(
        after
            .status()
            .partitions
            .iter()
            .all(|it| it.lag_events == Some(0))
    );
}

#[test]
fn a_nack_holds_its_key_and_lets_the_others_flow() {
    let harness = Harness::new("1");
    harness.send(0, 6, 2);
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.run(async {
        let mut batch = harness.receive(&consumer, SECOND * 5).await.unwrap();
        assert_eq!(batch.len(), 6);
        let follower = batch.remove(2);
        let first = batch.remove(0);
        first.nack(SECOND * 10).await.unwrap();
        assert_eq!(follower.revoked().reason(), Some(Revocation::Superseded));
        assert!(
            follower
                .ack()
                .await
                .unwrap_err()
                .error
                .is(ErrorKind::Superseded)
        );
        for delivery in batch.into_iter().filter(|it| number(it) % 2 == 1) {
            delivery.ack().await.unwrap();
        }
        assert!(harness.receive(&consumer, SECOND * 9).await.is_none());
        let mut again = harness.receive(&consumer, SECOND * 2).await.unwrap();
        assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [0]);
        assert_eq!(again[0].attempt(), 2);
        again.remove(0).ack().await.unwrap();
        let rest = harness.receive(&consumer, SECOND).await.unwrap();
        assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), [2, 4]);
        assert!(rest.iter().all(|delivery| delivery.attempt() == 1));
    });
}

#[test]
fn a_cancelled_receive_takes_nothing() {
    let harness = Harness::new("2");
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.run(async {
        for _ in 0..50 {
            assert!(harness.receive(&consumer, SECOND / 50).await.is_none());
        }
    });
    harness.send(0, 10, 3);
    harness.run(async {
        let mut seen = 0;
        while seen < 10 {
            for delivery in harness
                .receive(&consumer, SECOND)
                .await
                .into_iter()
                .flatten()
            {
                assert_eq!(delivery.attempt(), 1);
                delivery.ack().await.unwrap();
                seen += 1;
            }
        }
    });
}

#[test]
fn a_batch_waits_to_fill_up_where_it_is_told_to() {
    let harness = Harness::new("1");
    let mut options = harness.options();
    options.max_batch_wait = SECOND * 5;
    let consumer = harness.open(&harness.runtime, options);
    harness.send(0, 3, 3);
    harness.run(async {
        // Given up in the middle: what was collected comes with the next call.
        assert!(harness.receive(&consumer, SECOND * 3).await.is_none());
        let began = harness.runtime.now();
        let batch = harness.receive(&consumer, SECOND * 5).await.unwrap();
        assert_eq!(batch.len(), 3);
        assert!(batch.iter().all(|delivery| delivery.attempt() == 1));
        assert!(harness.runtime.now().since(began) <= SECOND * 3);
    });
}

#[test]
fn a_reject_without_dead_letters_gives_the_delivery_back() {
    let harness = Harness::new("1");
    harness.send(0, 1, 1);
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.run(async {
        let delivery = harness.receive(&consumer, SECOND).await.unwrap().remove(0);
        let refused = delivery.reject("no customer").await.unwrap_err();
        assert!(refused.error.is(ErrorKind::Unsupported));
        assert_eq!(refused.error.retry(), Retry::Never);
        let later = Settlement::Defer { delay: SECOND };
        refused.delivery.settle(later).await.unwrap();
        let again = harness
            .receive(&consumer, SECOND * 2)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(again.attempt(), 1);
        drop(again);
        let again = harness
            .receive(&consumer, SECOND * 2)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(again.attempt(), 2);
        again.ack().await.unwrap();
    });
}

#[test]
fn a_pause_holds_back_and_keeps_the_leases() {
    let harness = Harness::new("1");
    harness.send(0, 1, 1);
    let consumer = harness.open(&harness.runtime, harness.options());
    consumer.pause(true);
    harness.run(async {
        assert!(harness.receive(&consumer, SECOND * 120).await.is_none());
        assert_eq!(owned(&consumer), 1);
        assert!(consumer.status().paused);
        consumer.pause(false);
        assert_eq!(harness.receive(&consumer, SECOND).await.unwrap().len(), 1);
    });
}

#[test]
fn drained_it_settles_what_is_out_and_closed_it_revokes() {
    let harness = Harness::new("1");
    harness.send(0, 3, 3);
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.run(async {
        let mut batch = harness.receive(&consumer, SECOND).await.unwrap();
        consumer.drain().await.unwrap();
        assert!(consumer.receive_batch(10).await.unwrap().is_empty());
        batch.remove(0).ack().await.unwrap();
        consumer.flush().await.unwrap();
        consumer.close().await.unwrap();
        let late = batch.remove(0);
        assert_eq!(late.revoked().wait().await, Revocation::Shutdown);
        assert!(late.ack().await.unwrap_err().error.is(ErrorKind::Closed));
        assert!(consumer.flush().await.unwrap_err().is(ErrorKind::Closed));
        assert!(consumer.receive_batch(10).await.unwrap().is_empty());
    });
    let after = harness.open(&harness.runtime, harness.options());
    assert_eq!(harness.drink(&after).len(), 2);
}

#[test]
fn a_blocked_key_is_named_and_lets_the_others_flow() {
    let harness = Harness::new("1");
    let mut options = harness.options();
    options.max_parked = 5;
    options.max_unsettled = 20;
    let consumer = harness.open(&harness.runtime, options);
    harness.send(0, 400, 4);
    let mut others = 0;
    harness.run(async {
        while let Some(batch) = harness.receive(&consumer, SECOND * 60).await {
            for delivery in batch {
                if number(&delivery) % 4 == 1 {
                    delivery.nack(SECOND * 7_200).await.ok();
                } else {
                    others += 1;
                    delivery.ack().await.unwrap();
                }
            }
        }
    });
    let status = consumer.status().partitions.remove(0);
    let blocked = status.blocked_by.unwrap();
    assert_eq!(blocked.key.as_deref(), Some("k1"));
    assert!((10..60).contains(&others), "{others} flow before the limit");
    assert!(status.parked <= 25 && status.unsettled <= 20);
    // It goes on by itself.
    harness.sleep(SECOND * 7_200);
    assert_eq!(harness.drink(&consumer).len() + others, 400);
}

#[test]
fn a_gap_is_never_skipped_in_silence() {
    for (on_gap, sent_later) in [(OnGap::Fail, 0), (OnGap::Earliest, 5), (OnGap::Latest, 0)] {
        let harness = Harness::new("1");
        harness.send(0, 10, 1);
        let mut options = harness.options();
        options.on_gap = on_gap;
        let consumer = harness.open(&harness.runtime, options.clone());
        harness.run(async {
            for delivery in harness.receive(&consumer, SECOND).await.unwrap() {
                delivery.ack().await.unwrap();
            }
        });
        harness.run(consumer.close()).unwrap();
        harness.send(10, 10, 1);
        let partition = harness
            .run(harness.log().partitions())
            .unwrap()
            .remove(0)
            .id;
        let faults = harness.backend.faults("orders");
        faults.drop_oldest(&partition, 15).unwrap();
        let consumer = harness.open(&harness.runtime, options);
        if on_gap == OnGap::Fail {
            let failed = harness.run(consumer.receive_batch(10)).unwrap_err();
            assert!(failed.is(ErrorKind::PositionExpired));
            assert!(failed.to_string().contains("on_gap"), "{failed}");
            continue;
        }
        assert_eq!(harness.drink(&consumer).len(), sent_later);
        harness.send(20, 3, 1);
        assert_eq!(harness.drink(&consumer), [20, 21, 22]);
    }
}

#[test]
fn a_partition_that_was_quiet_beyond_its_retention_is_no_gap() {
    for quiet in [true, false] {
        let harness = Harness::new("1");
        harness.send(0, 10, 1);
        let mut options = harness.options();
        options.retention = Some(SECOND * 3_600);
        let consumer = harness.open(&harness.runtime, options.clone());
        assert_eq!(harness.drink(&consumer).len(), 10);
        harness.sleep(SECOND * 30);
        harness.run(consumer.close()).unwrap();
        if !quiet {
            harness.sleep(SECOND * 3_600);
        }
        let partition = harness
            .run(harness.log().partitions())
            .unwrap()
            .remove(0)
            .id;
        harness.send(10, 5, 1);
        // All that was settled is gone, and the position with it.
        let faults = harness.backend.faults("orders");
        faults.drop_oldest(&partition, 12).unwrap();
        let consumer = harness.open(&harness.runtime, options);
        let received = harness.run(consumer.receive_batch(10));
        match quiet {
            true => assert_eq!(received.unwrap().len(), 3),
            false => assert!(received.unwrap_err().is(ErrorKind::PositionExpired)),
        }
    }
}

#[test]
fn a_gap_stops_its_own_partition_alone() {
    let harness = Harness::new("2");
    harness.send(0, 40, 20);
    let consumer = harness.open(&harness.runtime, harness.options());
    assert_eq!(harness.drink(&consumer).len(), 40);
    harness.run(consumer.close()).unwrap();
    harness.send(40, 40, 20);
    let partition = harness
        .run(harness.log().partitions())
        .unwrap()
        .remove(0)
        .id;
    let faults = harness.backend.faults("orders");
    faults.drop_oldest(&partition, 25).unwrap();
    let consumer = harness.open(&harness.runtime, harness.options());
    let seen = harness.drink(&consumer);
    assert!(
        (10..40).contains(&seen.len()),
        "the other one flows: {seen:?}"
    );
    let status = consumer.status().partitions;
    for it in status {
        let failure = it.read_failure.map(|failure| failure.error.to_string());
        assert_eq!(failure.is_some(), it.partition == partition);
        let said = failure.unwrap_or_else(|| "are gone, the oldest left is".to_owned());
        assert!(said.contains("are gone, the oldest left is"), "{said}");
    }
    harness.send(80, 40, 20);
    assert!(!harness.drink(&consumer).is_empty());
    harness.run(consumer.close()).unwrap();
}

#[test]
fn latest_begins_with_the_next_event() {
    let harness = Harness::new("2");
    harness.send(0, 10, 4);
    let mut options = harness.options();
    options.start = Start::Latest;
    let consumer = harness.open(&harness.runtime, options);
    harness.send(10, 4, 4);
    assert_eq!(harness.drink(&consumer).len(), 4);
}

#[test]
fn a_recreated_stream_is_not_read_with_the_positions_of_the_old_one() {
    let harness = Harness::new("1");
    let elsewhere = Harness::new("1");
    let leases = elsewhere.leases();
    let open = |leases: Arc<dyn LeaseStore>| {
        harness.run(Group::open(
            harness.log(),
            leases,
            harness.options(),
            &harness.runtime,
        ))
    };
    let consumer = open(leases.clone()).unwrap();
    harness.send(0, 2, 1);
    assert_eq!(harness.drink(&consumer), [0, 1]);
    harness.run(consumer.close()).unwrap();
    harness.run(open(leases.clone()).unwrap().close()).unwrap();

    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    harness.run(admin.delete()).unwrap();
    harness
        .run(admin.create(&StreamSpec::with_partitions(1)))
        .unwrap();
    harness.send(10, 5, 1);
    let refused = open(leases.clone()).err().unwrap();
    assert!(
        refused.is(ErrorKind::Conflict) && !refused.is_retryable(),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("recreated"), "{refused}");

    let (log, options) = (harness.log(), harness.options());
    harness
        .run(Group::reset(
            &*log,
            &*leases,
            &Start::Earliest,
            &options,
            &harness.runtime,
        ))
        .unwrap();
    assert_eq!(harness.drink(&open(leases).unwrap()), [10, 11, 12, 13, 14]);
}

#[test]
fn an_outage_of_the_store_is_told_and_loses_nothing() {
    let harness = Harness::new("2");
    harness.send(0, 20, 5);
    let consumer = harness.open(&harness.runtime, harness.options());
    assert_eq!(harness.drink(&consumer).len(), 20);
    let faults = harness.backend.faults("orders");
    for operation in [Operation::LeaseRead, Operation::LeaseWrite] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    harness.sleep(SECOND * 60);
    assert!(consumer.status().unreachable_since.is_some());
    assert_eq!(owned(&consumer), 0, "not renewed in time: lost");
    faults.clear();
    harness.send(20, 20, 5);
    let seen = harness.drink(&consumer);
    assert!((20..40).all(|n| seen.contains(&n)), "{seen:?}");
    assert!(consumer.status().unreachable_since.is_none());
}

#[test]
fn lost_answers_do_not_lose_the_lease() {
    let harness = Harness::new("1");
    let consumer = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND * 5);
    let generation = consumer.status().partitions[0].generation;
    let faults = harness.backend.faults("orders");
    let lost = MemoryFault::lost_response(Applied::Maybe);
    faults.chance(Operation::LeaseWrite, 0.3, lost);
    harness.send(0, 50, 5);
    assert_eq!(harness.drink(&consumer).len(), 50);
    harness.sleep(SECOND * 600);
    assert_eq!(consumer.status().partitions[0].generation, generation);
}

#[test]
fn a_budget_bounds_the_process() {
    let harness = Harness::new("4");
    harness.send(0, 4_000, 400);
    let budget = Arc::new(ByteBudget::new(20_000, 1_000));
    let mut options = harness.options();
    options.budget = Some(budget.clone());
    options.fetch_events = 10;
    let consumer = harness.open(&harness.runtime, options);
    harness.sleep(SECOND * 10);
    assert!(
        budget.used() > 15_000 && budget.used() < 40_000,
        "{}",
        budget.used()
    );
    assert_eq!(harness.drink(&consumer).len(), 4_000);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_cannot_work_is_refused_when_opened() {
    let harness = Harness::new("1");
    let mut options = harness.options();
    options.renew_every = SECOND * 20;
    let refused = harness.try_open(&harness.runtime, options).err().unwrap();
    assert!(refused.is(ErrorKind::Config), "{refused}");
    let nameless = aqueduct_group::GroupOptions::new(GroupName::new(""));
    assert!(harness.try_open(&harness.runtime, nameless).is_err());
}

#[test]
fn a_commit_comes_on_time_and_by_count() {
    let harness = Harness::new("1");
    let mut options = harness.options();
    options.commit_count = 10;
    let consumer = harness.open(&harness.runtime, options);
    harness.send(0, 12, 12);
    let key = GroupKey::new("billing", "orders");
    let stored = || harness.run(harness.leases().list(&key, &[])).unwrap()[0].checkpoint;
    harness.sleep(SECOND * 2);
    let mut batch = harness.run(harness.receive(&consumer, SECOND)).unwrap();
    let rest = batch.split_off(10);
    for delivery in batch {
        harness.run(delivery.ack()).unwrap();
    }
    harness.sleep(SECOND * 2);
    let by_count = stored();
    assert!(matches!(by_count, Checkpoint::At(_)), "{by_count}");
    for delivery in rest {
        harness.run(delivery.ack()).unwrap();
    }
    harness.sleep(SECOND * 2);
    assert_eq!(stored(), by_count);
    harness.sleep(SECOND * 5);
    assert_ne!(stored(), by_count);
}
