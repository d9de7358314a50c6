//! Restarts after crashes, and isolation of one handler from all others of its process.

use std::sync::Arc;

use crate::common::{Bench, SECOND, number};
use aqueduct_core::{BatchConsumer, Delivery};
use aqueduct_group::{GroupOptions, IsolationGate, request_cost};
use aqueduct_memory::Operation;

/// Kills a process that holds `out` deliveries, once its lease tells of them.
fn die(bench: &Bench, life: usize, mut options: GroupOptions) {
    let process = bench.simulation.process();
    options.owner = Some(format!("life-{life}").into());
    let consumer = bench.open(&process.runtime(), options);
    let out = bench.run(bench.receive(&consumer, SECOND * 30)).unwrap();
    bench.sleep(SECOND * 15);
    std::mem::forget(out);
    process.kill();
    let faults = bench.backend.faults("orders");
    faults.declare_dead(&format!("life-{life}").into());
}

#[test]
fn an_event_that_keeps_failing_after_one_crash_costs_what_is_stated() {
    for crashes in [1, 2, 3] {
        let bench = Bench::new("1");
        bench.send(0, 50, 50);
        for life in 0..crashes {
            die(&bench, life, bench.options());
        }
        let faults = bench.backend.faults("orders");
        let before = faults.hits(Operation::LeaseWrite);
        let began = bench.runtime.now();
        let consumer = bench.open(&bench.runtime, bench.options());
        let mut sent = 50;
        bench.run(async {
            while bench.runtime.now().since(began) < SECOND * 600 {
                bench.send_later(sent, 5).await;
                sent += 5;
                let batch = bench.receive(&consumer, SECOND / 10).await;
                for delivery in batch.into_iter().flatten() {
                    match number(&delivery) {
                        0 => delivery.nack(SECOND / 100).await.unwrap(),
                        _ => delivery.ack().await.unwrap(),
                    }
                }
            }
        });
        let stated = request_cost(&bench.options(), 1, 1);
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
    let bench = Bench::new("1");
    bench.send(0, 1_500, 1_500);
    for life in 0..2 {
        die(&bench, life, bench.options());
    }
    let faults = bench.backend.faults("orders");
    let before = faults.hits(Operation::LeaseWrite);
    let consumer = bench.open(&bench.runtime, bench.options());
    assert_eq!(bench.drink(&consumer).len(), 1_500);
    let writes = faults.hits(Operation::LeaseWrite) - before;
    assert!(writes < 150, "{writes} writes for 1,500 events");
}

/// Receives from a partition in isolation mode until an event runs alone.
fn suspect(bench: &Bench, consumer: &Arc<dyn BatchConsumer>) -> Option<Delivery> {
    bench.run(async {
        let batch = bench.receive(consumer, SECOND * 3).await;
        batch.into_iter().flatten().next()
    })
}

#[test]
fn a_suspect_runs_alone_in_the_process_also_beside_other_streams() {
    let gate = Arc::new(IsolationGate::new());
    let (bench, other) = (Bench::new("1"), Bench::new("1"));
    bench.send(0, 3, 3);
    for life in 0..2 {
        die(&bench, life, bench.options());
    }
    // Both members are of one process, whose clock is that of the first stream.
    let mut options = bench.options();
    options.isolation = Some(gate.clone());
    let suspected = bench.open(&bench.runtime, options.clone());
    let beside = bench
        .run(aqueduct_group::Group::open(
            other.log(),
            other.leases(),
            options,
            &bench.runtime,
        ))
        .unwrap();
    other.send(0, 3, 1);
    let out = bench
        .run(bench.receive(&beside, SECOND * 5))
        .expect("nothing is suspected here");
    assert_eq!(out.len(), 3);
    assert!(
        suspect(&bench, &suspected).is_none(),
        "a handler runs beside it"
    );
    for delivery in out {
        bench.run(delivery.ack()).unwrap();
    }
    let first = suspect(&bench, &suspected).expect("the process is quiet");
    other.send(3, 3, 1);
    assert!(bench.run(bench.receive(&beside, SECOND * 20)).is_none());
    bench.run(first.ack()).unwrap();
    for _ in 0..2 {
        let next = suspect(&bench, &suspected).unwrap();
        bench.run(next.ack()).unwrap();
    }
    let after = bench.run(bench.receive(&beside, SECOND * 20)).unwrap();
    assert_eq!(after.len(), 3, "what was held back flows again");
}

#[test]
fn a_suspect_that_hangs_does_not_stop_the_process() {
    let bench = Bench::new("2");
    bench.send(0, 8, 8);
    for life in 0..2 {
        die(&bench, life, bench.options());
    }
    let consumer = bench.open(&bench.runtime, bench.options());
    let hangs = suspect(&bench, &consumer).unwrap();
    let home = hangs.partition().cloned();
    assert!(bench.run(bench.receive(&consumer, SECOND * 290)).is_none());
    let mut others = 0;
    bench.run(async {
        while let Some(batch) = bench.receive(&consumer, SECOND * 60).await {
            for delivery in batch {
                assert_ne!(delivery.partition(), home.as_ref());
                assert_eq!(delivery.attempt(), 1);
                delivery.ack().await.unwrap();
                others += 1;
            }
        }
    });
    assert!(others > 0, "the other partition waits for ever");
    bench.run(hangs.ack()).unwrap();
    assert_eq!(bench.drink(&consumer).len() + others + 1, 8);
}
