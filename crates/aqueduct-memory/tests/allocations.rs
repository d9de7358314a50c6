//! The fast path allocates per batch, not per event.
#![allow(clippy::unwrap_used)]

mod common;

use std::alloc::System;

use aqueduct_core::{Event, ReadFrom};
use common::{Bench, event};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[test]
fn sending_and_reading_a_batch_allocates_a_few_times() {
    const BATCHES: usize = 100;
    const EVENTS: usize = 100;
    let bench = Bench::new(&[("partitions", "1"), ("max_events", "1000")]);
    let producer = bench.producer();
    let mut reader = bench.reader("0", ReadFrom::Earliest);
    let keys = ["VINET", "TOMSP", "HANAR"];
    let events: Vec<Event> = (0..EVENTS)
        .map(|n| event(keys[n % 3], "x".repeat(100)))
        .collect();
    let mut exchange = || {
        bench.run(async {
            producer.send_batch(&events).await.into_result().unwrap();
            assert_eq!(reader.read(EVENTS).await.unwrap().records.len(), EVENTS);
        });
    };
    (0..20).for_each(|_| exchange());
    let region = Region::new(ALLOCATOR);
    (0..BATCHES).for_each(|_| exchange());
    let change = region.change();
    let allocations = change.allocations + change.reallocations;
    assert!(
        allocations <= BATCHES * 12,
        "{allocations} for {BATCHES} batches of {EVENTS}"
    );
}
