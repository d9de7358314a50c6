//! The memory backend passes everything that it claims in real time; its own tests run the suite in virtual
//! time, from several seeds and through every layer.

use aqueduct_conformance::{SuiteOptions, run};
use aqueduct_runtime::Simulation;

use crate::common::Memory;
use crate::common::tokens::Tokens;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_passes_what_it_claims() {
    let runtime = aqueduct_runtime::tokio();
    let report = run(&Memory::new(), &runtime, SuiteOptions::default()).await;
    report.assert_passed();
}

/// Checks that order and resume token may differ: the log refuses to resume by position.
#[test]
fn a_log_that_resumes_by_token_passes() {
    let simulation = Simulation::new(5);
    let runtime = simulation.runtime();
    let fixture = Memory::wrapped(Tokens::over);
    let report = simulation.block_on(run(&fixture, &runtime, SuiteOptions::default()));
    report.unwrap().assert_passed();
}

/// Checks that the same seed gives the same run.
#[test]
fn a_run_is_repeatable() {
    let trace = |seed| {
        let simulation = Simulation::new(seed);
        let runtime = simulation.runtime();
        let mut options = SuiteOptions::default().only(["member", "nack", "exhausted", "start"]);
        options.print = false;
        let fixture = Memory::small();
        let report = simulation.block_on(run(&fixture, &runtime, options));
        report.unwrap().assert_passed();
        simulation.fingerprint()
    };
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

#[test]
fn themes_select_cases_and_an_unknown_one_is_a_failure() {
    let simulation = Simulation::new(5);
    let runtime = simulation.runtime();
    let fixture = Memory::small();
    let run_themes = |themes: &[&str]| {
        let options = SuiteOptions::default().themes(themes.iter().copied());
        simulation
            .block_on(run(&fixture, &runtime, options))
            .unwrap()
    };
    let report = run_themes(&["fields"]);
    report.assert_passed();
    assert!(report.verdict("every_field_round_trips").is_some());
    assert!(report.verdict("two_groups_see_all").is_none());
    let unknown = run_themes(&["fields", "feelds"]);
    let failed: Vec<_> = unknown.failed().map(|case| case.case.clone()).collect();
    assert_eq!(failed, ["feelds"]);
}
