//! The memory backend passes everything that it claims through every layer.

use aqueduct_conformance::{LayerSet, SuiteOptions, run};
use aqueduct_runtime::Simulation;

use crate::common::Memory;

fn passes_through(name: &str) {
    let named = |set: &LayerSet| set.name() == name;
    let Some(set) = LayerSet::standard().into_iter().find(named) else {
        panic!("no standard set is named `{name}`");
    };
    let simulation = Simulation::new(5);
    let runtime = simulation.runtime();
    let fixture = Memory::small();
    let options = SuiteOptions::default().through(set);
    match simulation.block_on(run(&fixture, &runtime, options)) {
        Ok(report) => report.assert_passed(),
        Err(stalled) => panic!("{stalled}"),
    }
}

#[test]
fn dead_letters() {
    passes_through("dead letters");
}

#[test]
fn idempotency() {
    passes_through("idempotency");
}

#[test]
fn a_reject_policy() {
    passes_through("a reject policy");
}

#[test]
fn all_layers() {
    passes_through("all layers");
}
