//! Runs the conformance suite, on the endpoint in `AQUEDUCT_TEST_PUBSUB_ENDPOINT` too.

use aqueduct_conformance::{LayerSet, Options, run};

use crate::common::{Topics, endpoint, real_time};

#[test]
fn topics_of_the_endpoint_pass() {
    let Some(endpoint) = endpoint() else { return };
    let (tokio, runtime) = real_time();
    let extra = std::env::var("X").unwrap_or_default();
    let topics = Topics::at(&endpoint, Box::leak(extra.into_boxed_str()));
    let mut options = Options::default().parallel(8).through(LayerSet::plain());
    if let Ok(only) = std::env::var("AQUEDUCT_TEST_ONLY") {
        options = options.only([only.as_str()]);
    }
    let report = tokio.block_on(run(&topics, &runtime, options));
    println!("{report}");
    report.assert_passed();
}
