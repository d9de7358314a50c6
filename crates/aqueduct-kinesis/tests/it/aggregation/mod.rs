//! The aggregation format: against Amazon's libraries, by properties, and on hostile input.

mod hostile;
mod properties;
mod vectors;
