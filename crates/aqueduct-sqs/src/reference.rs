use aqueduct_aws::AwsOptions;
use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("sqs", OPTIONS), AwsOptions::TABLE]
}

/// The rows of the table `sqs`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["create"],
        "`never`",
        "`missing` creates a queue that does not exist. Never by default: queues cost money",
    ),
    OptionDoc::new(
        &["retention"],
        "the service's 4 days",
        "retention of a created queue, 1m to 14d; only with `create = \"missing\"`",
    ),
    OptionDoc::new(
        &["fifo"],
        "by the name",
        "`true` adds `.fifo` to a name without it; `false` refuses a name with it",
    ),
    OptionDoc::new(
        &["visibility"],
        "`60s`",
        "visibility time-out of a message, renewed while it is unsettled; messages of a dead consumer are redelivered after it",
    ),
    OptionDoc::new(
        &["wait"],
        "`20s`",
        "long-poll time of a receive request; at most a third of `visibility`",
    ),
    OptionDoc::new(
        &["receivers"],
        "`4`",
        "the most receive requests at once while the queue is busy; up to twice as many while responses are short",
    ),
    OptionDoc::new(
        &["max_unsettled", "max_unsettled_bytes"],
        "`1000`, `64MiB`",
        "the most messages and bytes in flight per consumer; the service allows 120,000 messages of all consumers together",
    ),
    OptionDoc::new(
        &["hold"],
        "`15m`",
        "a nack with a longer delay returns the message to the queue instead of waiting in this process",
    ),
    OptionDoc::new(
        &["native_redrive"],
        "`refuse`",
        "`accept` opens a FIFO queue that has its own redrive policy",
    ),
    OptionDoc::new(
        &["attempts"],
        "`runs`",
        "`receipts` starts at the service's receipt count",
    ),
    OptionDoc::new(
        &["delay"],
        "the queue's own",
        "hides each sent message for that long, up to 15m; not on a FIFO queue, which has only `DelaySeconds` of its own",
    ),
    OptionDoc::new(
        &["fair"],
        "`false`",
        "`true` sends the key to a standard queue as message group, for fairness among keys; Amazon charges for it",
    ),
];
