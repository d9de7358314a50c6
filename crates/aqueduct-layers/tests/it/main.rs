//! Dead letters and idempotency around a consumer that redelivers in place, with stores that fail,
//! on a clock and with faults that follow from a seed.
#![allow(clippy::unwrap_used)]

mod allocations;
mod dead_letters;
mod fake_partition;
mod flaky;
mod idempotency;
mod leased;
mod seeds;
mod warnings;
