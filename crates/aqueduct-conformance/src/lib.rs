//! The conformance suite: one list of cases that tests Aqueduct's guarantees on any backend and
//! through any layer.
#![doc = include_str!("../README.md")]

mod bench;
mod case;
mod cases;
mod context;
mod fixture;
mod layering;
mod member;
mod report;
mod runner;
mod stop;
mod tap;
mod together;
mod workload;
mod wrap;

pub use self::case::{CaseInfo, Need, cases};
pub use self::fixture::{Fault, Faults, Fixture, Lack, Subject, Timing};
pub use self::layering::{LayerContext, LayerSet};
pub use self::report::{CaseReport, Report, Verdict};
pub use self::runner::{Options, run, run_through};
pub use self::together::Together;
