//! Receiving and acknowledging costs no allocation per event, only some per batch.

use crate::common::{Bench, SECOND};

#[test]
fn receiving_and_acknowledging_allocates_per_batch_alone() {
    let bench = Bench::new("1");
    bench.send(0, 9_000, 9_000);
    let mut options = bench.options();
    options.commit_interval = SECOND * 3_600;
    options.commit_count = 1_000_000;
    let consumer = bench.open(&bench.runtime, options);
    bench.sleep(SECOND * 5);
    let mut received = 0;
    let mut drink = |batches: usize| {
        bench.run(async {
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
