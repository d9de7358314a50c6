//! The memory backend passes everything that it claims through every layer.

mod common;

use aqueduct_conformance::{LayerSet, Options, run};

use self::common::Memory;

async fn passes_through(name: &str) {
    let runtime = aqueduct_runtime::tokio();
    let set = LayerSet::standard()
        .into_iter()
        .find(|set| set.name() == name);
    let options = Options::default().through(set.unwrap());
    run(&Memory::new(), &runtime, options).await.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters() {
    passes_through("dead letters").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idempotency() {
    passes_through("idempotency").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reject_policy() {
    passes_through("a reject policy").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_layers() {
    passes_through("all layers").await;
}
