//! The cases, by theme.

mod admin;
mod fields;
mod idempotency;
mod leases;
mod leases_group;
mod letters;
mod log;
mod outcomes;

use crate::case::Case;

/// Every theme and its cases, in the order of the report.
pub(crate) const THEMES: &[(&str, &[Case])] = &[
    ("fields", fields::CASES),
    ("sending", outcomes::CASES),
    ("log", log::CASES),
    ("leases", leases::CASES),
    ("leases of a group", leases_group::CASES),
    ("idempotency", idempotency::CASES),
    ("letters", letters::CASES),
    ("administration", admin::CASES),
];
