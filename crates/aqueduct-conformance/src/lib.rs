//! The conformance suite: one list of cases that tests Aqueduct's guarantees on any backend and
//! through any layer.
#![doc = include_str!("../README.md")]

mod case;
mod cases;
mod combined;
mod context;
mod fixture;
mod harness;
mod layering;
mod member;
mod observer;
mod report;
mod runner;
mod stop;
mod workload;
mod wrap;

pub use self::case::{CaseInfo, Need, cases};
pub use self::combined::Combined;
pub use self::fixture::{Fault, Faults, Fixture, Lack, Subject, Timing};
pub use self::layering::{LayerContext, LayerSet};
pub use self::report::{CaseReport, Report, Verdict};
pub use self::runner::{SuiteOptions, run, run_through};
