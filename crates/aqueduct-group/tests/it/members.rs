//! Several members: take-over, hand-off, resharding, hooks, and changes while no member runs.

#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use crate::common::{Harness, SECOND, number, owned};
use aqueduct_core::{
    Assignment, Checkpoint, ErrorKind, GroupKey, Position, RebalanceListener, Revocation, Start,
};
use aqueduct_group::Group;
use async_trait::async_trait;

#[test]
fn a_killed_member_is_replaced_and_nothing_is_lost() {
    let harness = Harness::new("2");
    harness.send(0, 100, 10);
    let process = harness.simulation.process();
    let first = harness.open(&process.runtime(), harness.options());
    let mut seen = Vec::new();
    harness.run(async {
        for delivery in harness.receive(&first, SECOND * 5).await.unwrap() {
            if seen.len() < 30 {
                seen.push(number(&delivery));
                delivery.ack().await.unwrap();
            }
        }
    });
    process.kill();
    let second = harness.open(&harness.runtime, harness.options());
    let began = harness.runtime.now();
    harness.run(async {
        let batch = harness.receive(&second, SECOND * 120).await.unwrap();
        let waited = harness.runtime.now().since(began);
        assert!(waited >= SECOND * 25 && waited < SECOND * 60, "{waited:?}");
        for delivery in batch {
            seen.push(number(&delivery));
            delivery.ack().await.unwrap();
        }
    });
    seen.extend(harness.drink(&second));
    assert!((0..100).all(|n| seen.contains(&n)));
}

#[test]
fn a_member_known_to_be_dead_is_replaced_at_once() {
    let harness = Harness::new("2");
    let process = harness.simulation.process();
    let mut options = harness.options();
    options.owner = Some("first".into());
    let first = harness.open(&process.runtime(), options);
    harness.sleep(SECOND);
    assert_eq!(owned(&first), 2);
    process.kill();
    harness
        .backend
        .faults("orders")
        .declare_dead(&"first".into());
    let second = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND);
    assert_eq!(owned(&second), 2);
}

#[test]
fn a_member_that_slept_too_long_may_not_settle() {
    let harness = Harness::new("1");
    harness.send(0, 1, 1);
    let process = harness.simulation.process();
    let first = harness.open(&process.runtime(), harness.options());
    let stale = harness
        .run(harness.receive(&first, SECOND * 5))
        .unwrap()
        .remove(0);
    process.stall(true);
    let second = harness.open(&harness.runtime, harness.options());
    let taken = harness
        .run(harness.receive(&second, SECOND * 120))
        .unwrap()
        .remove(0);
    assert!(taken.generation() > stale.generation());
    process.stall(false);
    harness.sleep(SECOND);
    assert_eq!(stale.revoked().reason(), Some(Revocation::Lost));
    let refused = harness.run(stale.ack()).unwrap_err();
    assert!(refused.error.is(ErrorKind::Revoked));
    harness.run(taken.ack()).unwrap();
}

#[derive(Default)]
struct Hooks(Mutex<Vec<String>>);

#[async_trait]
impl RebalanceListener for Hooks {
    async fn assigned(&self, assignment: &Assignment, start: &Checkpoint) {
        let partition = assignment.partition.as_ref().unwrap();
        self.0.lock().unwrap().push(format!("+{partition} {start}"));
    }

    async fn revoked(&self, assignment: &Assignment, why: Revocation) {
        let partition = assignment.partition.as_ref().unwrap();
        self.0.lock().unwrap().push(format!("-{partition} {why}"));
    }
}

#[test]
fn a_busy_owner_is_asked_drains_and_hands_off() {
    let harness = Harness::new("4");
    harness.send(0, 40, 20);
    let hooks = Arc::new(Hooks::default());
    let mut options = harness.options();
    options.rebalance_listener = Some(hooks.clone());
    let first = harness.open(&harness.runtime, options);
    let mut out = Vec::new();
    while out.len() < 40 {
        out.extend(harness.run(harness.receive(&first, SECOND * 5)).unwrap());
    }
    let second = harness.open(&harness.runtime, harness.options());
    harness.sleep(SECOND * 20);
    // It drains, and what is settled meanwhile is not delivered again.
    for delivery in out {
        harness.run(delivery.ack()).unwrap();
    }
    harness.sleep(SECOND * 120);
    assert_eq!((owned(&first), owned(&second)), (2, 2));
    assert!(harness.drink(&second).is_empty());
    let said = hooks.0.lock().unwrap().clone();
    let count = |what: &str| said.iter().filter(|it| it.contains(what)).count();
    assert_eq!(count("earliest"), 4, "{said:?}");
    assert_eq!(count("handed_off"), 2, "{said:?}");
    harness.run(first.close()).unwrap();
    assert_eq!(
        hooks
            .0
            .lock()
            .unwrap()
            .iter()
            .filter(|it| it.contains("shutdown"))
            .count(),
        2
    );
    harness.sleep(SECOND * 60);
    assert_eq!(owned(&second), 4);
}

#[test]
fn children_start_when_their_parents_are_settled() {
    let harness = Harness::new("1");
    harness.send(0, 30, 10);
    let consumer = harness.open(&harness.runtime, harness.options());
    let admin = harness
        .run(harness.resource.admin(&harness.runtime))
        .unwrap();
    let out = harness.run(harness.receive(&consumer, SECOND * 5)).unwrap();
    harness.run(admin.reshard(2)).unwrap();
    harness.send(30, 30, 10);
    harness.sleep(SECOND * 90);
    assert_eq!(owned(&consumer), 1, "the parent is not settled");
    for delivery in out {
        harness.run(delivery.ack()).unwrap();
    }
    let seen = harness.drink(&consumer);
    assert_eq!(seen.len(), 30);
    assert!(seen.iter().all(|n| *n >= 30));
    assert_eq!(owned(&consumer), 2);
}

#[test]
fn a_reset_is_refused_while_a_member_lives_and_begins_a_replay() {
    let harness = Harness::new("2");
    harness.send(0, 10, 5);
    let consumer = harness.open(&harness.runtime, harness.options());
    assert_eq!(harness.drink(&consumer).len(), 10);
    let (log, leases, options) = (harness.log(), harness.leases(), harness.options());
    let reset = || {
        Group::reset(
            &*log,
            &*leases,
            &Start::Earliest,
            &options,
            &harness.runtime,
        )
    };
    let refused = harness.run(reset()).unwrap_err();
    assert!(refused.is(ErrorKind::Conflict), "{refused}");
    harness.run(consumer.close()).unwrap();
    assert_eq!(harness.run(reset()).unwrap().replay, 1);
    let consumer = harness.open(&harness.runtime, harness.options());
    let batch = harness.run(harness.receive(&consumer, SECOND * 5)).unwrap();
    assert_eq!(batch[0].assignment().replay, 1);
    drop(batch);
    assert_eq!(harness.drink(&consumer).len(), 10);
}

#[test]
fn one_position_is_skipped_and_one_partition_sought() {
    let harness = Harness::new("1");
    harness.send(0, 5, 1);
    let (log, leases, options) = (harness.log(), harness.leases(), harness.options());
    let id = harness.run(log.partitions()).unwrap().remove(0).id;
    let consumer = harness.open(&harness.runtime, options.clone());
    let batch = harness.run(harness.receive(&consumer, SECOND * 5)).unwrap();
    let positions: Vec<Position> = batch.iter().filter_map(|it| it.position()).collect();
    harness.run(async {
        for delivery in batch.into_iter().take(2) {
            delivery.ack().await.unwrap();
        }
        consumer.close().await.unwrap();
    });
    let skip = |at| Group::skip(&*log, &*leases, &id, at, &options, &harness.runtime);
    let refused = harness.run(skip(positions[3])).unwrap_err();
    assert!(
        refused.to_string().contains(&positions[2].to_string()),
        "{refused}"
    );
    harness.run(skip(positions[2])).unwrap();
    let consumer = harness.open(&harness.runtime, options.clone());
    assert_eq!(harness.drink(&consumer), [3, 4]);
    harness.run(consumer.close()).unwrap();
    let to = Checkpoint::At(positions[0]);
    let seek = Group::seek(&*log, &*leases, &id, to, &options, &harness.runtime);
    harness.run(seek).unwrap();
    let key = GroupKey::new("billing", "orders");
    assert_eq!(
        harness.run(leases.list(&key, &[])).unwrap()[0].checkpoint,
        to
    );
    let replay = || harness.run(leases.group(&key)).unwrap().unwrap().replay;
    assert_eq!(replay(), 1, "what was handled is handled again");
    let consumer = harness.open(&harness.runtime, options.clone());
    assert_eq!(harness.drink(&consumer), [1, 2, 3, 4]);
    harness.run(consumer.close()).unwrap();
    let to = Checkpoint::At(positions[4]);
    let seek = Group::seek(&*log, &*leases, &id, to, &options, &harness.runtime);
    harness.run(seek).unwrap();
    assert_eq!(replay(), 1, "nothing comes again");
}

#[test]
fn seeking_back_leaves_the_other_partitions_where_they_are() {
    let harness = Harness::new("3");
    harness.send(0, 30, 30);
    let (log, leases, options) = (harness.log(), harness.leases(), harness.options());
    let consumer = harness.open(&harness.runtime, options.clone());
    assert_eq!(harness.drink(&consumer).len(), 30);
    harness.run(consumer.close()).unwrap();
    let id = harness.run(log.partitions()).unwrap().remove(1).id;
    let to = Checkpoint::Start(aqueduct_core::ReadFrom::Earliest);
    let seek = Group::seek(&*log, &*leases, &id, to, &options, &harness.runtime);
    harness.run(seek).unwrap();
    let consumer = harness.open(&harness.runtime, options.clone());
    harness.run(async {
        let batch = harness.receive(&consumer, SECOND * 5).await.unwrap();
        assert!(batch.len() < 30);
        for delivery in batch {
            assert_eq!(delivery.assignment().partition, Some(id.clone()));
            assert_eq!(delivery.assignment().replay, 1);
            delivery.ack().await.unwrap();
        }
    });
    assert!(harness.drink(&consumer).is_empty());
}

#[test]
fn poison_is_found_and_nobody_else_gains_an_attempt() {
    let harness = Harness::new("1");
    harness.send(0, 20, 20);
    let mut done = Vec::new();
    for life in 0..12 {
        let process = harness.simulation.process();
        let mut options = harness.options();
        options.owner = Some(format!("life-{life}").into());
        let consumer = harness.open(&process.runtime(), options);
        harness.run(async {
            loop {
                let Some(batch) = harness.receive(&consumer, SECOND * 5).await else {
                    return;
                };
                for delivery in batch {
                    let attempt = delivery.attempt();
                    assert!(number(&delivery) == 7 || attempt == 1, "an innocent");
                    // The layer above buries what failed three times.
                    if number(&delivery) == 7 && attempt <= 3 {
                        std::mem::forget(delivery);
                        return;
                    }
                    done.push(number(&delivery));
                    delivery.ack().await.unwrap();
                }
            }
        });
        process.kill();
        let faults = harness.backend.faults("orders");
        faults.declare_dead(&format!("life-{life}").into());
        if done.contains(&7) && (8..20).all(|n| done.contains(&n)) {
            assert!(life <= 6, "found after {life} lives");
            return;
        }
    }
    panic!("never found: {done:?}");
}

/// Runs two members and kills one in the middle; returns the handled events and the trace.
fn crash(seed: u64) -> (Vec<usize>, u64) {
    let harness = Harness::seeded(seed, "3");
    harness.send(0, 200, 20);
    let process = harness.simulation.process();
    let first = harness.open(&process.runtime(), harness.options());
    let second = harness.open(&harness.runtime, harness.options());
    let mut seen = Vec::new();
    let batch = harness.run(harness.receive(&first, SECOND * 5));
    for delivery in batch.into_iter().flatten().take(20) {
        seen.push(number(&delivery));
        harness.run(delivery.ack()).unwrap();
    }
    process.kill();
    seen.extend(harness.drink(&second));
    (seen, harness.simulation.fingerprint())
}

#[test]
fn the_same_seed_takes_the_same_way() {
    let mut traces = Vec::new();
    for seed in 0..20 {
        let (seen, trace) = crash(seed);
        assert!((0..200).all(|n| seen.contains(&n)), "seed {seed}: {seen:?}");
        assert_eq!(crash(seed), (seen, trace), "seed {seed}");
        traces.push(trace);
    }
    traces.sort_unstable();
    traces.dedup();
    assert!(traces.len() > 10, "different seeds take different ways");
}

/// A partition with a backlog, taken over once from an owner that died with ten events out.
fn taken_over(harness: &Harness) -> std::sync::Arc<dyn aqueduct_core::BatchConsumer> {
    harness.send(0, 10, 10);
    let process = harness.simulation.process();
    let mut options = harness.options();
    options.owner = Some("first".into());
    let first = harness.open(&process.runtime(), options);
    let out = harness.run(harness.receive(&first, SECOND * 5)).unwrap();
    assert_eq!(out.len(), 10);
    harness.sleep(SECOND * 15);
    std::mem::forget(out);
    process.kill();
    harness
        .backend
        .faults("orders")
        .declare_dead(&"first".into());
    harness.open(&harness.runtime, harness.options())
}

#[test]
fn what_is_announced_after_a_crash_reaches_those_who_wait() {
    for seed in 0..20 {
        let harness = Harness::seeded(seed, "1");
        let second = taken_over(&harness);
        let batch = harness.run(harness.receive(&second, SECOND * 5)).unwrap();
        assert_eq!(batch.len(), 10);
        for delivery in batch {
            harness.run(delivery.ack()).unwrap();
        }
        // Nothing else wakes whoever waits: no settlement, no further event.
        harness.run(async {
            let receiving = harness.receive(&second, SECOND * 30);
            let sending = async {
                harness.runtime.sleep(SECOND).await;
                harness.send_later(10, 10).await;
            };
            let (batch, ()) = futures::join!(receiving, sending);
            let batch = batch.expect("announced, and not handed out");
            assert_eq!(batch.len(), 10, "seed {seed}");
        });
    }
}

#[test]
fn one_poison_and_slow_innocents_in_other_partitions() {
    for seed in 0..10 {
        let harness = Harness::seeded(seed, "4");
        harness.send(0, 40, 40);
        let mut buried = false;
        for life in 0..40 {
            let process = harness.simulation.process();
            let mut options = harness.options();
            options.owner = Some(format!("life-{life}").into());
            let consumer = harness.open(&process.runtime(), options);
            let died = harness.run(async {
                while let Some(batch) = harness.receive(&consumer, SECOND * 20).await {
                    for delivery in batch {
                        if number(&delivery) == 7 && delivery.attempt() <= 3 {
                            std::mem::forget(delivery);
                            return true;
                        }
                        let innocent = number(&delivery) != 7;
                        assert!(
                            !innocent || delivery.attempt() == 1,
                            "seed {seed}: an innocent"
                        );
                        buried |= !innocent;
                        // Slow: most of a life goes by while one of them runs.
                        harness.runtime.sleep(SECOND * 3).await;
                        delivery.ack().await.unwrap();
                    }
                }
                false
            });
            process.kill();
            let faults = harness.backend.faults("orders");
            faults.declare_dead(&format!("life-{life}").into());
            if !died {
                break;
            }
        }
        assert!(buried, "seed {seed}: never found");
    }
}
