//! The memory backend passes everything that it claims through every layer.

mod common;

use aqueduct_conformance::{LayerSet, Options, run_through};

use self::common::Memory;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_passes_through_every_layer() {
    let runtime = aqueduct_runtime::tokio();
    let layers: Vec<LayerSet> = LayerSet::standard()
        .into_iter()
        .filter(|set| set.name() != LayerSet::plain().name())
        .collect();
    for report in run_through(&Memory::new(), &runtime, layers, Options::default()).await {
        report.assert_passed();
    }
}
