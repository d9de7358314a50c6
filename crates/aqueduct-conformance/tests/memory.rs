//! The memory backend passes everything that it claims.

mod common;

use aqueduct_conformance::{Options, run};
use aqueduct_runtime::Simulation;

use self::common::Memory;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_passes_what_it_claims() {
    let runtime = aqueduct_runtime::tokio();
    let report = run(&Memory::new(), &runtime, Options::default()).await;
    report.assert_passed();
}

/// Virtual time: the order of events is drawn from the seed, and nothing waits.
#[test]
fn memory_passes_in_simulation() {
    for seed in 1..=2 {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        let fixture = Memory::new();
        let report = simulation.block_on(run(&fixture, &runtime, Options::default()));
        report.unwrap().assert_passed();
    }
}
