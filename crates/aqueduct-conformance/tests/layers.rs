//! The memory backend passes everything that it claims through every layer.

mod common;

use aqueduct_conformance::{LayerSet, Options, run};

use self::common::Memory;

async fn passes_through(name: &str) {
    let runtime = aqueduct_runtime::tokio();
    let named = |set: &LayerSet| set.name() == name;
    let Some(set) = LayerSet::standard().into_iter().find(named) else {
        panic!("there is no standard set `{name}`");
    };
    let options = Options::default().through(set);
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
