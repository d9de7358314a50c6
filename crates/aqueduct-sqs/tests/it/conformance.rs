//! Runs the conformance suite on the emulator with a virtual clock, or on the endpoint in
//! `AQUEDUCT_TEST_SQS_ENDPOINT` in real time.

use std::time::Duration;

use aqueduct_conformance::{LayerSet, Report, SuiteOptions, Verdict, cases, run};
use aqueduct_core::Runtime;
use aqueduct_runtime::Simulation;

use crate::common::{Queues, endpoint, real_time};

#[test]
fn a_fifo_queue_passes() {
    let report = on_emulator(1, true, LayerSet::plain());
    report.assert_passed();
    assert_shown(
        &report,
        &[
            "followers_of_a_failing_event_stay_innocent",
            "key_in_flight_is_not_delivered_elsewhere",
            "nack_supersedes_the_rest_of_its_run",
            "held_key_stays_until_released",
            "lost_response_says_unknown",
            "cut_connection_loses_nothing",
            "backlog_is_read_in_order",
            "wrong_credentials_say_so",
        ],
    );
}

#[test]
fn a_standard_queue_passes() {
    let report = on_emulator(2, false, LayerSet::plain());
    report.assert_passed();
    assert_shown(
        &report,
        &[
            "every_failure_of_an_event_is_counted",
            "long_handling_keeps_its_event",
            "delayed_event_is_not_delivered_early",
            "missing_stream_says_so",
        ],
    );
}

#[test]
fn queues_pass_behind_all_layers() {
    through(6, true);
    through(7, false);
}

#[test]
fn queues_of_the_endpoint_pass() {
    let Some(endpoint) = endpoint() else { return };
    let (tokio, runtime) = real_time();
    let reports = [true, false].map(|fifo| {
        let queues = Queues::at(&endpoint, fifo);
        let options = SuiteOptions::default().parallel(8);
        tokio.block_on(run(&queues, &runtime, options))
    });
    for report in reports {
        report.assert_passed();
    }
}

fn through(seed: u64, fifo: bool) {
    // Layers wrap consumers: cases that only send are the same without them.
    let sends = ["fields", "sending", "producer engine"];
    let others = cases().filter(|case| !sends.contains(&case.theme));
    let options = SuiteOptions::default().only(others.map(|case| case.name));
    on_emulator_with(seed, fifo, options.through(LayerSet::combined())).assert_passed();
}

fn on_emulator(seed: u64, fifo: bool, layers: LayerSet) -> Report {
    on_emulator_with(seed, fifo, SuiteOptions::default().through(layers))
}

fn on_emulator_with(seed: u64, fifo: bool, options: SuiteOptions) -> Report {
    let (tokio, _) = real_time();
    // The SDK needs a timer for its time-outs, even if none of them fires.
    let _entered = tokio.enter();
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(7 * 86_400));
    let runtime: Runtime = simulation.runtime();
    let queues = Queues::emulated(&runtime, fifo);
    let report = simulation.block_on(run(&queues, &runtime, options));
    report.unwrap()
}

fn assert_shown(report: &Report, cases: &[&str]) {
    for case in cases {
        let verdict = report.verdict(case);
        let passed = matches!(verdict, Some(Verdict::Passed));
        assert!(passed, "{case}: {verdict:?}");
    }
}
