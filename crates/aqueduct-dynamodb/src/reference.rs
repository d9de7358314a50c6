use aqueduct_aws::AwsOptions;
use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("dynamodb", OPTIONS), AwsOptions::TABLE]
}

/// The rows of the table `dynamodb`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["layout"],
        "`kcl`",
        "`kcl`, `kcl-multi` or `shared`, below",
    ),
    OptionDoc::new(
        &["stream_ids"],
        "–",
        "for `kcl-multi`: `ACCOUNT:STREAM:CREATION_EPOCH`, with commas in between",
    ),
    OptionDoc::new(&["state_table"], "`TABLE-aqueduct`", "the second table"),
    OptionDoc::new(
        &["create"],
        "`missing`",
        "`never` refuses where a table is missing",
    ),
    OptionDoc::new(
        &["idempotency_retention"],
        "for ever",
        "how long completed records are kept at least",
    ),
    OptionDoc::new(
        &["kcl_watch"],
        "`20s`",
        "how long a lease of a KCL worker must stand still before a member joins; `0s` does not look",
    ),
    OptionDoc::new(
        &["kcl_at_timestamp"],
        "–",
        "the time that the KCL application is configured to start at",
    ),
];
