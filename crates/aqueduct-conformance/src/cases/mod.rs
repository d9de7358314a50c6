//! The cases, by theme.

mod admin;
mod bounds;
mod closing;
mod consuming;
mod dead;
mod dead_letters;
mod fields;
mod idempotency;
mod leases;
mod leases_group;
mod leases_requests;
mod log;
mod log_changes;
mod members;
mod once;
mod opening;
mod outcomes;
mod poison;
mod producing;
mod queues;
mod resharding;
mod resuming;
mod settling;
mod starts;

use crate::case::Case;

/// Every theme and its cases, in the order of the report.
pub(crate) const THEMES: &[(&str, &[Case])] = &[
    ("fields", fields::CASES),
    ("opening", opening::CASES),
    ("sending", outcomes::CASES),
    ("producer engine", producing::CASES),
    ("log", log::CASES),
    ("changes of a log", log_changes::CASES),
    ("leases", leases::CASES),
    ("leases of a group", leases_group::CASES),
    ("requests for leases", leases_requests::CASES),
    ("idempotency", idempotency::CASES),
    ("dead_letters", dead_letters::CASES),
    ("administration", admin::CASES),
    ("consuming", consuming::CASES),
    ("closing", closing::CASES),
    ("settling", settling::CASES),
    ("members", members::CASES),
    ("starts and gaps", starts::CASES),
    ("resuming", resuming::CASES),
    ("resharding", resharding::CASES),
    ("bounds", bounds::CASES),
    ("dead letters", dead::CASES),
    ("poison", poison::CASES),
    ("queues", queues::CASES),
    ("handling once", once::CASES),
];
