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
        "how long a queue that is created keeps messages, 1m to 14d; only with `create = \"missing\"`",
    ),
    OptionDoc::new(
        &["fifo"],
        "by the name",
        "`true` adds `.fifo` to a name without it; `false` refuses a name with it",
    ),
    OptionDoc::new(
        &["visibility"],
        "`60s`",
        "how long a message stays hidden before that is renewed: what a dead consumer held comes again after it",
    ),
    OptionDoc::new(
        &["wait"],
        "`20s`",
        "how long a request waits for messages; never more than a third of `visibility`",
    ),
    OptionDoc::new(
        &["receivers"],
        "`4`",
        "the most requests that wait side by side while the queue is full",
    ),
    OptionDoc::new(
        &["max_unsettled", "max_unsettled_bytes"],
        "`1000`, `64MiB`",
        "what a consumer holds at the most",
    ),
    OptionDoc::new(
        &["hold"],
        "`15m`",
        "a longer delay of a nack waits in the queue instead of here",
    ),
    OptionDoc::new(
        &["native_redrive"],
        "`refuse`",
        "`accept` opens a FIFO queue that has a redrive policy of its own",
    ),
    OptionDoc::new(
        &["attempts"],
        "`runs`",
        "`receipts` starts at the service's receipt count",
    ),
    OptionDoc::new(
        &["fair"],
        "`false`",
        "`true` tells a standard queue the key as message group, so that it is fair among keys, which Amazon charges for",
    ),
];
