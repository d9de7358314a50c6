//! Restarts after crashes, and isolation of one handler from all others of its process.

use std::sync::Arc;

use crate::common::{Harness, SECOND, number};
use aqueduct_core::{BatchConsumer, Delivery};
use aqueduct_group::{GroupOptions, IsolationGate, request_cost};
use aqueduct_memory::Operation;

/// Kills a process that holds `out` deliveries, once its lease tells of them.
fn die(harness: &Harness, life: usize, mut options: GroupOptions) {
    let process = harness.simulation.process();
    options.owner = Some(format!("life-{life}").into());
    let consumer = harness.open(&process.runtime(), options);
    let out = harness
        .run(harness.receive(&consumer, SECOND * 30))
        .unwrap();
    harness.sleep(SECOND * 15);
    std::mem::forget(out);
    process.kill();
    let faults = harness.backend.faults("orders");
    faults.declare_dead(&format!("life-{life}").into());
}

#[test]
fn an_event_that_keeps_failing_after_one_crash_costs_what_is_stated() {
    for crashes in [1, 2, 3] {
        let harness = Harness::new("1");
        harness.send(0, 50, 50);
        for life in 0..crashes {
            die(&harness, life, harness.options());
        }
        let faults = harness.backend.faults("orders");
        let before = faults.hits(Operation::LeaseWrite);
        let began = harness.runtime.now();
        let consumer = harness.open(&harness.runtime, harness.options());
        let mut sent = 50;
        harness.run(async {
            while harness.runtime.now().since(began) < SECOND * 600 {
                harness.send_later(sent, 5).await;
                sent += 5;
                let batch = harness.receive(&consumer, SECOND / 10).await;
                for delivery in batch.into_iter().flatten() {
                    match number(&delivery) {
                        0 => delivery.nack(SECOND / 100).await.unwrap(),
                        _ => delivery.ack().await.unwrap(),
                    }
                }
            }
        });
        let stated = request_cost(&harness.options(), 1, 1);
        let most = stated.busy_writes / 6.0 + f64::from(stated.crash_writes) + 5.0;
        let writes = faults.hits(Operation::LeaseWrite) - before;
        assert!(
            (writes as f64) < most,
            "{writes} writes after {crashes} crashes"
        );
    }
}

#[test]
fn a_range_in_which_nothing_dies_costs_few_writes() {
    let harness = Harness::new("1");
    harness.send(0, 1_500, 1_500);
    for life in 0..2 {
        die(&harness, life, harness.options());
    }
    let faults = harness.backend.faults("orders");
    let before = faults.hits(Operation::LeaseWrite);
    let consumer = harness.open(&harness.runtime, harness.options());
    assert_eq!(harness.drink(&consumer).len(), 1_500);
    let writes = faults.hits(Operation::LeaseWrite) - before;
    assert!(writes < 150, "{writes} writes for 1,500 events");
}

/// Receives from a partition in isolation mode until an event runs alone.
fn suspect(harness: &Harness, consumer: &Arc<dyn BatchConsumer>) -> Option<Delivery> {
    harness.run(async {
        let batch = harness.receive(consumer, SECOND * 3).await;
        batch.into_iter().flatten().next()
    })
}

#[test]
fn a_suspect_runs_alone_in_the_process_also_beside_other_streams() {
    let gate = Arc::new(IsolationGate::new());
    let (harness, other) = (Harness::new("1"), Harness::new("1"));
    harness.send(0, 3, 3);
    for life in 0..2 {
        die(&harness, life, harness.options());
    }
    // Both members are of one process, whose clock is that of the first stream.
    let mut options = harness.options();
    options.isolation = Some(gate.clone());
    let suspected = harness.open(&harness.runtime, options.clone());
    let beside = harness
        .run(aqueduct_group::Group::open(
            other.log(),
            other.leases(),
            options,
            &harness.runtime,
        ))
        .unwrap();
    other.send(0, 3, 1);
    let out = harness
        .run(harness.receive(&beside, SECOND * 5))
        .expect("nothing is suspected here");
    assert_eq!(out.len(), 3);
    assert!(
        suspect(&harness, &suspected).is_none(),
        "a handler runs beside it"
    );
    for delivery in out {
        harness.run(delivery.ack()).unwrap();
    }
    let first = suspect(&harness, &suspected).expect("the process is quiet");
    other.send(3, 3, 1);
    assert!(harness.run(harness.receive(&beside, SECOND * 20)).is_none());
    harness.run(first.ack()).unwrap();
    for _ in 0..2 {
        let next = suspect(&harness, &suspected).unwrap();
        harness.run(next.ack()).unwrap();
    }
    let after = harness.run(harness.receive(&beside, SECOND * 20)).unwrap();
    assert_eq!(after.len(), 3, "what was held back flows again");
}

#[test]
fn a_suspect_that_hangs_does_not_stop_the_process() {
    let harness = Harness::new("2");
    harness.send(0, 8, 8);
    for life in 0..2 {
        die(&harness, life, harness.options());
    }
    let consumer = harness.open(&harness.runtime, harness.options());
    let hangs = suspect(&harness, &consumer).unwrap();
    let home = hangs.partition().cloned();
    assert!(
        harness
            .run(harness.receive(&consumer, SECOND * 290))
            .is_none()
    );
    let mut others = 0;
    harness.run(async {
        while let Some(batch) = harness.receive(&consumer, SECOND * 60).await {
            for delivery in batch {
                assert_ne!(delivery.partition(), home.as_ref());
                assert_eq!(delivery.attempt(), 1);
                delivery.ack().await.unwrap();
                others += 1;
            }
        }
    });
    assert!(others > 0, "the other partition waits for ever");
    harness.run(hangs.ack()).unwrap();
    assert_eq!(harness.drink(&consumer).len() + others + 1, 8);
}
