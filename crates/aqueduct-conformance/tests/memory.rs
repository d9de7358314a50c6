//! The memory backend passes everything that it claims.

mod common;

use aqueduct_conformance::{Options, run};

use self::common::Memory;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_passes_what_it_claims() {
    let runtime = aqueduct_runtime::tokio();
    let report = run(&Memory::new(), &runtime, Options::default()).await;
    report.assert_passed();
}
