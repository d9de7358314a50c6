use aqueduct_aws::AwsOptions;
use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("dynamodb", OPTIONS), AwsOptions::TABLE]
}

/// The rows of the README's option table `dynamodb`.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["layout"],
        "`kcl`",
        "`kcl`, `kcl-multi` or `shared`; see Layouts",
    ),
    OptionDoc::new(
        &["stream_ids"],
        "–",
        "for `kcl-multi`: `ACCOUNT:STREAM:CREATION_EPOCH`, separated by commas",
    ),
    OptionDoc::new(&["state_table"], "`TABLE-aqueduct`", "the second table"),
    OptionDoc::new(
        &["create"],
        "`missing`",
        "`never` returns `NotFound` if a table is missing",
    ),
    OptionDoc::new(
        &["idempotency_retention"],
        "for ever",
        "the minimum time that completed records are kept",
    ),
    OptionDoc::new(
        &["kcl_watch"],
        "`20s`",
        "how long a lease of a KCL worker must be unchanged before a member joins; `0s` disables the check",
    ),
    OptionDoc::new(
        &["kcl_at_timestamp"],
        "–",
        "the start time in the KCL application's configuration",
    ),
];
