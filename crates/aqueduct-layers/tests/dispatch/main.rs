//! Dispatch against a producer that fails in every way, on a clock and with faults that follow
//! from a seed.

mod cases;
mod faulty;
mod seeds;
