//! Runs the conformance suite in real time: on the emulator in process, or on the endpoint in
//! `AQUEDUCT_TEST_PUBSUB_ENDPOINT`.

use aqueduct_conformance::{LayerSet, SuiteOptions, run};

use crate::common::{Place, Topics, with_emulator};

#[test]
fn ordered_subscriptions_pass() {
    pass("", LayerSet::plain());
}

#[test]
fn unordered_subscriptions_pass() {
    pass("&ordering=false", LayerSet::plain());
}

#[test]
fn subscriptions_with_exactly_once_delivery_pass() {
    pass("&exactly_once=true", LayerSet::plain());
}

#[test]
fn ordered_subscriptions_pass_behind_all_layers() {
    pass("", LayerSet::combined());
}

fn pass(options: &'static str, layers: LayerSet) {
    with_emulator(|place: Place| async move {
        let topics = Topics::new(options).await;
        let suite = SuiteOptions::default().parallel(4).through(layers);
        let report = run(&topics, &place.runtime, suite).await;
        println!("{report}");
        report.assert_passed();
    });
}
