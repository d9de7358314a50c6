use allocation_counter::measure;

use super::*;

const BATCH: u64 = 64;

/// By then the table of keys has grown to its final size and sweeps in place.
const WARM: u64 = 50;

/// Fetches, takes and settles one batch; returns the allocations of the tracker alone.
fn turn(tracker: &mut Tracker, out: &mut Vec<Parts>, first: u64, keys: u64) -> u64 {
    let records: Vec<_> = (first..first + BATCH)
        .map(|position| record(position, Some(&format!("customer-{}", position % keys))))
        .collect();
    measure(|| {
        tracker.fetched(records, at(0));
        tracker.take(BATCH as usize, at(0), |parts| out.push(parts));
        assert_eq!(out.len() as u64, BATCH);
        for parts in out.drain(..) {
            ack(tracker, &parts).unwrap();
        }
    })
    .count_total
}

#[test]
fn an_event_from_reader_to_ack_floor_allocates_nothing() {
    for keys in [1, 7, u64::MAX] {
        let mut tracker = tracker();
        let mut out = Vec::with_capacity(BATCH as usize);
        let mut total = 0;
        for batch in 0..200 {
            let count = turn(&mut tracker, &mut out, 1 + batch * BATCH, keys);
            if batch >= WARM {
                total += count;
            }
        }
        assert_eq!(ack_floor(&tracker), Some(200 * BATCH));
        assert_eq!(total, 0, "{keys} keys");
    }
}
