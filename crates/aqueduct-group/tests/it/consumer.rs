//! One member: deliveries, settlements, limits and the end.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use crate::common::{Bench, SECOND, number, owned};
use aqueduct_core::{
    Capability, Checkpoint, ErrorKind, GroupKey, GroupName, LeaseStore, Retry, Revocation,
    Settlement, Start, StreamSpec,
};
use aqueduct_group::{ByteBudget, Group, OnGap};
use aqueduct_memory::{Applied, MemoryFault, Operation};

#[test]
fn all_is_delivered_in_order_and_not_again() {
    let bench = Bench::new("4");
    bench.send(0, 1_000, 10);
    let consumer = bench.open(&bench.runtime, bench.options());
    assert!(consumer.capabilities().claims.has(Capability::DelayedNack));
    let seen = bench.drink(&consumer);
    assert_eq!(seen.len(), 1_000);
    for key in 0..10 {
        let of_key: Vec<_> = seen.iter().filter(|n| *n % 10 == key).collect();
        assert!(of_key.is_sorted(), "key {key}: {of_key:?}");
    }
    bench.run(consumer.flush()).unwrap();
    bench.run(consumer.close()).unwrap();
    bench.run(consumer.close()).unwrap();
    let rows = bench.run(
        bench
            .leases()
            .list(&GroupKey::new("billing", "orders"), &[]),
    );
    assert!(rows.unwrap().iter().all(|row| row.owner.is_none()));
    let after = bench.open(&bench.runtime, bench.options());
    assert!(bench.drink(&after).is_empty());
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
    let bench = Bench::new("1");
    bench.send(0, 6, 2);
    let consumer = bench.open(&bench.runtime, bench.options());
    bench.run(async {
        let mut batch = bench.receive(&consumer, SECOND * 5).await.unwrap();
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
        assert!(bench.receive(&consumer, SECOND * 9).await.is_none());
        let mut again = bench.receive(&consumer, SECOND * 2).await.unwrap();
        assert_eq!(again.iter().map(number).collect::<Vec<_>>(), [0]);
        assert_eq!(again[0].attempt(), 2);
        again.remove(0).ack().await.unwrap();
        let rest = bench.receive(&consumer, SECOND).await.unwrap();
        assert_eq!(rest.iter().map(number).collect::<Vec<_>>(), [2, 4]);
        assert!(rest.iter().all(|delivery| delivery.attempt() == 1));
    });
}

#[test]
fn a_cancelled_receive_takes_nothing() {
    let bench = Bench::new("2");
    let consumer = bench.open(&bench.runtime, bench.options());
    bench.run(async {
        for _ in 0..50 {
            assert!(bench.receive(&consumer, SECOND / 50).await.is_none());
        }
    });
    bench.send(0, 10, 3);
    bench.run(async {
        let mut seen = 0;
        while seen < 10 {
            for delivery in bench.receive(&consumer, SECOND).await.into_iter().flatten() {
                assert_eq!(delivery.attempt(), 1);
                delivery.ack().await.unwrap();
                seen += 1;
            }
        }
    });
}

#[test]
fn a_batch_waits_to_fill_up_where_it_is_told_to() {
    let bench = Bench::new("1");
    let mut options = bench.options();
    options.max_batch_wait = SECOND * 5;
    let consumer = bench.open(&bench.runtime, options);
    bench.send(0, 3, 3);
    bench.run(async {
        // Given up in the middle: what was collected comes with the next call.
        assert!(bench.receive(&consumer, SECOND * 3).await.is_none());
        let began = bench.runtime.now();
        let batch = bench.receive(&consumer, SECOND * 5).await.unwrap();
        assert_eq!(batch.len(), 3);
        assert!(batch.iter().all(|delivery| delivery.attempt() == 1));
        assert!(bench.runtime.now().since(began) <= SECOND * 3);
    });
}

#[test]
fn a_reject_without_letters_gives_the_delivery_back() {
    let bench = Bench::new("1");
    bench.send(0, 1, 1);
    let consumer = bench.open(&bench.runtime, bench.options());
    bench.run(async {
        let delivery = bench.receive(&consumer, SECOND).await.unwrap().remove(0);
        let refused = delivery.reject("no customer").await.unwrap_err();
        assert!(refused.error.is(ErrorKind::Unsupported));
        assert_eq!(refused.error.retry(), Retry::Never);
        let later = Settlement::Defer { delay: SECOND };
        refused.delivery.settle(later).await.unwrap();
        let again = bench
            .receive(&consumer, SECOND * 2)
            .await
            .unwrap()
            .remove(0);
        assert_eq!(again.attempt(), 1);
        drop(again);
        let again = bench
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
    let bench = Bench::new("1");
    bench.send(0, 1, 1);
    let consumer = bench.open(&bench.runtime, bench.options());
    consumer.pause(true);
    bench.run(async {
        assert!(bench.receive(&consumer, SECOND * 120).await.is_none());
        assert_eq!(owned(&consumer), 1);
        assert!(consumer.status().paused);
        consumer.pause(false);
        assert_eq!(bench.receive(&consumer, SECOND).await.unwrap().len(), 1);
    });
}

#[test]
fn drained_it_settles_what_is_out_and_closed_it_revokes() {
    let bench = Bench::new("1");
    bench.send(0, 3, 3);
    let consumer = bench.open(&bench.runtime, bench.options());
    bench.run(async {
        let mut batch = bench.receive(&consumer, SECOND).await.unwrap();
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
    let after = bench.open(&bench.runtime, bench.options());
    assert_eq!(bench.drink(&after).len(), 2);
}

#[test]
fn a_blocked_key_is_named_and_lets_the_others_flow() {
    let bench = Bench::new("1");
    let mut options = bench.options();
    options.max_parked = 5;
    options.max_unsettled = 20;
    let consumer = bench.open(&bench.runtime, options);
    bench.send(0, 400, 4);
    let mut others = 0;
    bench.run(async {
        while let Some(batch) = bench.receive(&consumer, SECOND * 60).await {
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
    bench.sleep(SECOND * 7_200);
    assert_eq!(bench.drink(&consumer).len() + others, 400);
}

#[test]
fn a_gap_is_never_skipped_in_silence() {
    for (on_gap, sent_later) in [(OnGap::Fail, 0), (OnGap::Earliest, 5), (OnGap::Latest, 0)] {
        let bench = Bench::new("1");
        bench.send(0, 10, 1);
        let mut options = bench.options();
        options.on_gap = on_gap;
        let consumer = bench.open(&bench.runtime, options.clone());
        bench.run(async {
            for delivery in bench.receive(&consumer, SECOND).await.unwrap() {
                delivery.ack().await.unwrap();
            }
        });
        bench.run(consumer.close()).unwrap();
        bench.send(10, 10, 1);
        let partition = bench.run(bench.log().partitions()).unwrap().remove(0).id;
        let faults = bench.backend.faults("orders");
        faults.drop_oldest(&partition, 15).unwrap();
        let consumer = bench.open(&bench.runtime, options);
        if on_gap == OnGap::Fail {
            let failed = bench.run(consumer.receive_batch(10)).unwrap_err();
            assert!(failed.is(ErrorKind::PositionExpired));
            assert!(failed.to_string().contains("on_gap"), "{failed}");
            continue;
        }
        assert_eq!(bench.drink(&consumer).len(), sent_later);
        bench.send(20, 3, 1);
        assert_eq!(bench.drink(&consumer), [20, 21, 22]);
    }
}

#[test]
fn a_partition_that_was_quiet_beyond_its_retention_is_no_gap() {
    for quiet in [true, false] {
        let bench = Bench::new("1");
        bench.send(0, 10, 1);
        let mut options = bench.options();
        options.retention = Some(SECOND * 3_600);
        let consumer = bench.open(&bench.runtime, options.clone());
        assert_eq!(bench.drink(&consumer).len(), 10);
        bench.sleep(SECOND * 30);
        bench.run(consumer.close()).unwrap();
        if !quiet {
            bench.sleep(SECOND * 3_600);
        }
        let partition = bench.run(bench.log().partitions()).unwrap().remove(0).id;
        bench.send(10, 5, 1);
        // All that was settled is gone, and the position with it.
        let faults = bench.backend.faults("orders");
        faults.drop_oldest(&partition, 12).unwrap();
        let consumer = bench.open(&bench.runtime, options);
        let received = bench.run(consumer.receive_batch(10));
        match quiet {
            true => assert_eq!(received.unwrap().len(), 3),
            false => assert!(received.unwrap_err().is(ErrorKind::PositionExpired)),
        }
    }
}

#[test]
fn a_gap_stops_its_own_partition_alone() {
    let bench = Bench::new("2");
    bench.send(0, 40, 20);
    let consumer = bench.open(&bench.runtime, bench.options());
    assert_eq!(bench.drink(&consumer).len(), 40);
    bench.run(consumer.close()).unwrap();
    bench.send(40, 40, 20);
    let partition = bench.run(bench.log().partitions()).unwrap().remove(0).id;
    let faults = bench.backend.faults("orders");
    faults.drop_oldest(&partition, 25).unwrap();
    let consumer = bench.open(&bench.runtime, bench.options());
    let seen = bench.drink(&consumer);
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
    bench.send(80, 40, 20);
    assert!(!bench.drink(&consumer).is_empty());
    bench.run(consumer.close()).unwrap();
}

#[test]
fn latest_begins_with_the_next_event() {
    let bench = Bench::new("2");
    bench.send(0, 10, 4);
    let mut options = bench.options();
    options.start = Start::Latest;
    let consumer = bench.open(&bench.runtime, options);
    bench.send(10, 4, 4);
    assert_eq!(bench.drink(&consumer).len(), 4);
}

#[test]
fn a_recreated_stream_is_not_read_with_the_positions_of_the_old_one() {
    let bench = Bench::new("1");
    let elsewhere = Bench::new("1");
    let leases = elsewhere.leases();
    let open = |leases: Arc<dyn LeaseStore>| {
        bench.run(Group::open(
            bench.log(),
            leases,
            bench.options(),
            &bench.runtime,
        ))
    };
    let consumer = open(leases.clone()).unwrap();
    bench.send(0, 2, 1);
    assert_eq!(bench.drink(&consumer), [0, 1]);
    bench.run(consumer.close()).unwrap();
    bench.run(open(leases.clone()).unwrap().close()).unwrap();

    let admin = bench.run(bench.resource.admin(&bench.runtime)).unwrap();
    bench.run(admin.delete()).unwrap();
    bench
        .run(admin.create(&StreamSpec::with_partitions(1)))
        .unwrap();
    bench.send(10, 5, 1);
    let refused = open(leases.clone()).err().unwrap();
    assert!(
        refused.is(ErrorKind::Conflict) && !refused.is_retryable(),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("recreated"), "{refused}");

    let (log, options) = (bench.log(), bench.options());
    bench
        .run(Group::reset(
            &*log,
            &*leases,
            &Start::Earliest,
            &options,
            &bench.runtime,
        ))
        .unwrap();
    assert_eq!(bench.drink(&open(leases).unwrap()), [10, 11, 12, 13, 14]);
}

#[test]
fn an_outage_of_the_store_is_told_and_loses_nothing() {
    let bench = Bench::new("2");
    bench.send(0, 20, 5);
    let consumer = bench.open(&bench.runtime, bench.options());
    assert_eq!(bench.drink(&consumer).len(), 20);
    let faults = bench.backend.faults("orders");
    for operation in [Operation::LeaseRead, Operation::LeaseWrite] {
        faults.chance(operation, 1.0, MemoryFault::refused(ErrorKind::Unavailable));
    }
    bench.sleep(SECOND * 60);
    assert!(consumer.status().unreachable_since.is_some());
    assert_eq!(owned(&consumer), 0, "not renewed in time: lost");
    faults.clear();
    bench.send(20, 20, 5);
    let seen = bench.drink(&consumer);
    assert!((20..40).all(|n| seen.contains(&n)), "{seen:?}");
    assert!(consumer.status().unreachable_since.is_none());
}

#[test]
fn lost_answers_do_not_lose_the_lease() {
    let bench = Bench::new("1");
    let consumer = bench.open(&bench.runtime, bench.options());
    bench.sleep(SECOND * 5);
    let generation = consumer.status().partitions[0].generation;
    let faults = bench.backend.faults("orders");
    let lost = MemoryFault::lost_response(Applied::Maybe);
    faults.chance(Operation::LeaseWrite, 0.3, lost);
    bench.send(0, 50, 5);
    assert_eq!(bench.drink(&consumer).len(), 50);
    bench.sleep(SECOND * 600);
    assert_eq!(consumer.status().partitions[0].generation, generation);
}

#[test]
fn a_budget_bounds_the_process() {
    let bench = Bench::new("4");
    bench.send(0, 4_000, 400);
    let budget = Arc::new(ByteBudget::new(20_000, 1_000));
    let mut options = bench.options();
    options.budget = Some(budget.clone());
    options.fetch_events = 10;
    let consumer = bench.open(&bench.runtime, options);
    bench.sleep(SECOND * 10);
    assert!(
        budget.used() > 15_000 && budget.used() < 40_000,
        "{}",
        budget.used()
    );
    assert_eq!(bench.drink(&consumer).len(), 4_000);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_cannot_work_is_refused_when_opened() {
    let bench = Bench::new("1");
    let mut options = bench.options();
    options.renew_every = SECOND * 20;
    let refused = bench.try_open(&bench.runtime, options).err().unwrap();
    assert!(refused.is(ErrorKind::Config), "{refused}");
    let nameless = aqueduct_group::GroupOptions::new(GroupName::new(""));
    assert!(bench.try_open(&bench.runtime, nameless).is_err());
}

#[test]
fn a_commit_comes_on_time_and_by_count() {
    let bench = Bench::new("1");
    let mut options = bench.options();
    options.commit_count = 10;
    let consumer = bench.open(&bench.runtime, options);
    bench.send(0, 12, 12);
    let key = GroupKey::new("billing", "orders");
    let stored = || bench.run(bench.leases().list(&key, &[])).unwrap()[0].checkpoint;
    bench.sleep(SECOND * 2);
    let mut batch = bench.run(bench.receive(&consumer, SECOND)).unwrap();
    let rest = batch.split_off(10);
    for delivery in batch {
        bench.run(delivery.ack()).unwrap();
    }
    bench.sleep(SECOND * 2);
    let by_count = stored();
    assert!(matches!(by_count, Checkpoint::At(_)), "{by_count}");
    for delivery in rest {
        bench.run(delivery.ack()).unwrap();
    }
    bench.sleep(SECOND * 2);
    assert_eq!(stored(), by_count);
    bench.sleep(SECOND * 5);
    assert_ne!(stored(), by_count);
}
