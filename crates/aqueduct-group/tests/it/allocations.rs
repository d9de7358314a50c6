//! Receiving and acknowledging costs no allocation per event, only some per batch.

use crate::common::{Harness, SECOND};

#[test]
fn receiving_and_acknowledging_allocates_per_batch_alone() {
    let harness = Harness::new("1");
    harness.send(0, 9_000, 9_000);
    let mut options = harness.options();
    options.commit_interval = SECOND * 3_600;
    options.commit_count = 1_000_000;
    let consumer = harness.open(&harness.runtime, options);
    harness.sleep(SECOND * 5);
    let mut received = 0;
    let mut drink = |batches: usize| {
        harness.run(async {
            for _ in 0..batches {
                let batch = consumer.receive_batch(100).await.unwrap();
                received += batch.len();
                for delivery in batch {
                    delivery.ack().await.unwrap();
                }
            }
        });
    };
    drink(30);
    let counted = allocation_counter::measure(|| drink(30));
    assert_eq!(received, 6_000);
    let per_batch = counted.count_total as f64 / 30.0;
    assert!(per_batch <= 3.0, "{per_batch} allocations per batch of 100");
}
