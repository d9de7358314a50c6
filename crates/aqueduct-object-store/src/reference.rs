use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("object-store", OPTIONS)]
}

/// The rows of the README's option table `object-store`.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["endpoint"],
        "the service",
        "`az`, `s3`, `gs`: another server, such as an emulator; `http://` sends credentials in the clear",
    ),
    OptionDoc::new(
        &["access_key"],
        "from the environment",
        "`az`: a key of the storage account",
    ),
    OptionDoc::new(
        &["sas_token"],
        "from the environment",
        "`az`: a shared access signature, as in a URL's query; it needs reading, writing, deleting and listing",
    ),
    OptionDoc::new(
        &["region"],
        "from the environment",
        "`s3`: the bucket's region",
    ),
    OptionDoc::new(
        &["service_account"],
        "from the environment",
        "`gs`: the path of a service account's key file",
    ),
    OptionDoc::new(&["timeout"], "`8s`", "the limit for one request"),
    OptionDoc::new(
        &["event_hubs"],
        "–",
        "`az`: the fully qualified namespace: leases have the layout of Microsoft's event processors",
    ),
    OptionDoc::new(
        &["hub"],
        "the stream",
        "the event hub in the names of blobs",
    ),
    OptionDoc::new(
        &["consumer_group"],
        "the group",
        "the consumer group in the names of blobs",
    ),
    OptionDoc::new(
        &["checkpoint_blobs"],
        "`60s`",
        "the least time between two writes of a checkpoint blob; `0s`: with each commit; a release writes it in any case",
    ),
    OptionDoc::new(
        &["processor_watch"],
        "`40s`",
        "how long an ownership of a processor must be unchanged before a member joins; `0s` disables the check",
    ),
    OptionDoc::new(
        &["idempotency_retention"],
        "for ever",
        "the minimum time that completed records are kept; something else must remove them",
    ),
];
