use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![
        OptionTable::new("pubsub", OPTIONS),
        OptionTable::new("pubsub.sending", SENDING),
        OptionTable::new("pubsub.reading", READING),
    ]
}

/// The rows of the table `pubsub`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["endpoint"],
        "`PUBSUB_EMULATOR_HOST`, else the service",
        "`http://HOST:PORT` or `https://HOST`; no credentials are sent over `http`",
    ),
    OptionDoc::new(
        &["create"],
        "`never`",
        "`missing` creates a topic or subscription that does not exist. Never by default: they cost money",
    ),
    OptionDoc::new(
        &["retention"],
        "none",
        "retention of a created topic, 10m to 31d. The subscription that is created for a group then begins with the oldest message kept, and a group can be replayed",
    ),
    OptionDoc::new(
        &["filter", "exactly_once"],
        "none, `false`",
        "filter and exactly-once delivery of a created subscription",
    ),
    OptionDoc::new(
        &["subscription_retention", "retain_acked"],
        "the service's 7 days, `false`",
        "how long a created subscription keeps a message, 10m to 31d, and whether it keeps acknowledged ones for a replay",
    ),
    OptionDoc::new(
        &["dead_letter_topic", "max_delivery_attempts"],
        "none, the service's 5",
        "dead letter policy of a created subscription; the service's account needs the right to publish to the topic",
    ),
];

const SENDING: &[OptionDoc] = &[
    OptionDoc::new(
        &["encoding"],
        "`cloudevents`",
        "`raw` sends the data alone; readers see a foreign message",
    ),
    OptionDoc::new(
        &["ordering"],
        "`true`",
        "the key is the ordering key, one request a key. `false` sends many keys in one request, and consumers receive them in any order; created subscriptions are unordered then",
    ),
    OptionDoc::new(
        &["publish_timeout"],
        "`20s`",
        "time limit of one publish request; its outcome is unknown then",
    ),
    OptionDoc::new(
        &["channels"],
        "`2`",
        "gRPC connections for publishing, of about 100 requests at once each",
    ),
];

const READING: &[OptionDoc] = &[
    OptionDoc::new(
        &["subscription"],
        "`{topic}.{group}`",
        "the subscription of a group. Without `{group}` all groups share one",
    ),
    OptionDoc::new(
        &["streams"],
        "`8`",
        "streams of one consumer; one alone receives a fraction of what eight do",
    ),
    OptionDoc::new(
        &["ack_deadline"],
        "`60s`",
        "acknowledgement deadline, 10s to 600s, renewed while a message is unsettled; the messages of a dead consumer come again after it",
    ),
    OptionDoc::new(
        &["max_lease"],
        "`1h`",
        "how long a message is renewed; after it the message comes again",
    ),
    OptionDoc::new(
        &["silence"],
        "`2m`",
        "a stream that brought no message for that long is opened anew, on a new connection",
    ),
    OptionDoc::new(
        &["max_unsettled", "max_unsettled_bytes"],
        "`10000`, `100MiB`",
        "the most messages and bytes in flight per consumer, counted here",
    ),
    OptionDoc::new(
        &["attempts"],
        "`runs`",
        "`receipts` starts at the service's delivery attempt, which it counts on subscriptions with a dead letter policy",
    ),
    OptionDoc::new(
        &["native_dead_letters"],
        "`refuse`",
        "`accept` opens an ordered subscription that has its own dead letter policy",
    ),
    OptionDoc::new(
        &["compressed"],
        "`refuse`",
        "a subscription whose message transform compresses: `zlib` decompresses the data here, `accept` leaves it to the handlers",
    ),
    OptionDoc::new(
        &["presence"],
        "`label`",
        "members note themselves in a label of the subscription every 20 s, so that a replay is refused while they live; `off` for consumers without the right to update it",
    ),
    OptionDoc::new(
        &["scan_wait"],
        "`1s`",
        "how long a listing of dead letters waits for a further one",
    ),
];
