use aqueduct_aws::AwsOptions;
use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![
        OptionTable::new("kinesis", OPTIONS),
        OptionTable::new("kinesis.sending", SENDING),
        OptionTable::new("kinesis.reading", READING),
        AwsOptions::TABLE,
    ]
}

/// The rows of the table `kinesis`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["create"],
        "`never`",
        "`missing` makes the stream and waits for it. Never by default: streams cost money",
    ),
    OptionDoc::new(
        &["partitions", "retention"],
        "on demand, 24 h",
        "how a missing stream is made",
    ),
    OptionDoc::new(&["encoding"], "`cloudevents-json`", "see below"),
    OptionDoc::new(
        &["responses"],
        "`direct`",
        "`sdk` leaves the responses of PutRecords and GetRecords to the SDK, which allocates for each field of each record",
    ),
];

/// The rows of the table `kinesis.sending`, as the README has them.
const SENDING: &[OptionDoc] = &[
    OptionDoc::new(
        &["aggregation"],
        "`auto`",
        "`on`, `off`; `auto` is on for the encodings of CloudEvents and off for `raw`, whose readers may not know of it",
    ),
    OptionDoc::new(
        &["aggregation_bytes"],
        "`256KiB`",
        "the largest aggregated record; at most what the stream takes",
    ),
    OptionDoc::new(
        &["request_bytes"],
        "`4MiB`",
        "the largest request. The service takes 10 MiB, and took 5 until 2025 as some emulators still do",
    ),
    OptionDoc::new(
        &["max_record_bytes"],
        "what the stream says, else `1MiB`",
        "data and partition key of a record; 256 bytes of it are kept for the key",
    ),
    OptionDoc::new(
        &["rate_limit"],
        "`auto`",
        "`off` sends without a rate limit",
    ),
    OptionDoc::new(
        &["shards_refresh"],
        "`60s`",
        "the age at which the list of shards is read again, beside the calls",
    ),
];

/// The rows of the table `kinesis.reading`, as the README has them.
const READING: &[OptionDoc] = &[
    OptionDoc::new(
        &["read"],
        "`polling`",
        "`fan_out`: SubscribeToShard, 2 MiB/s per shard of its own, at a price",
    ),
    OptionDoc::new(
        &["poll_interval"],
        "`1s`",
        "the least time between two polls of one reader: a shard gives five a second to all who poll it. It grows, up to five times, while the service throttles; an idle reader waits up to five intervals, at most a second unless the interval is longer",
    ),
    OptionDoc::new(
        &["consumer"],
        "the group's name",
        "the registered consumer of `fan_out`; it is registered where it is missing, and stays",
    ),
    OptionDoc::new(
        &["fan_out_fallback"],
        "`false`",
        "whether to poll where the service refuses a subscription",
    ),
    OptionDoc::new(
        &["broken_aggregates"],
        "`reject`",
        "a damaged aggregate goes to the dead letters; `raw` delivers it as one foreign event that says so",
    ),
];
