//! Producer against a producer that fails in every way, on a clock and with faults that follow
//! from a seed.

#![allow(clippy::unwrap_used)]

mod allocations;
mod cases;
mod deadlines;
mod faulty;
mod refused;
mod seeds;
