//! The fast path allocates per batch, not per event.

use crate::common::{Harness, event};
use aqueduct_core::{Event, ReadFrom};

#[test]
fn sending_and_reading_a_batch_allocates_a_few_times() {
    const BATCHES: usize = 100;
    const EVENTS: usize = 100;
    let harness = Harness::new(&[("partitions", "1"), ("max_events", "1000")]);
    let producer = harness.producer();
    let mut reader = harness.reader("0", ReadFrom::Earliest);
    let keys = ["VINET", "TOMSP", "HANAR"];
    let events: Vec<Event> = (0..EVENTS)
        .map(|n| event(keys[n % 3], "x".repeat(100)))
        .collect();
    let mut exchange = || {
        harness.run(async {
            producer.send_batch(&events).await.into_result().unwrap();
            assert_eq!(reader.read(EVENTS).await.unwrap().records.len(), EVENTS);
        });
    };
    (0..20).for_each(|_| exchange());
    let counted = allocation_counter::measure(|| (0..BATCHES).for_each(|_| exchange()));
    let allocations = counted.count_total;
    assert!(
        allocations <= BATCHES as u64 * 12,
        "{allocations} for {BATCHES} batches of {EVENTS}"
    );
}
