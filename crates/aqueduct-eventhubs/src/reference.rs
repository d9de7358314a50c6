use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![
        OptionTable::new("eventhubs", OPTIONS),
        OptionTable::new("eventhubs.sending", SENDING),
        OptionTable::new("eventhubs.reading", READING),
    ]
}

/// The rows of the table `eventhubs`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["connection_string"],
        "`$EVENTHUBS_CONNECTION_STRING`",
        "of the namespace or of the hub; `UseDevelopmentEmulator=true` connects without encryption. Write `${VARIABLE}` rather than a key",
    ),
    OptionDoc::new(
        &["endpoint"],
        "the namespace",
        "connects to another host: `amqps://HOST:PORT`, or `amqp://HOST:PORT` without encryption",
    ),
    OptionDoc::new(
        &["transport"],
        "`amqp`",
        "`amqp` connects to port 5671; `websocket` carries AMQP in a WebSocket, port 443, where a firewall lets only that out",
    ),
    OptionDoc::new(
        &["ca_file"],
        "the system's certificates",
        "a PEM file with the certificates to trust instead",
    ),
    OptionDoc::new(
        &["encoding"],
        "`cloudevents`",
        "the AMQP binding of CloudEvents; `raw` is the data alone",
    ),
    OptionDoc::new(
        &["timeout"],
        "`20s`",
        "the limit of one attempt: to connect, to send a batch, to read properties",
    ),
    OptionDoc::new(
        &["idle_timeout"],
        "`15s`",
        "a connection that is silent for so long is given up. The service is asked for a sign of life every half of it",
    ),
];

/// The rows of the table `eventhubs.sending`, as the README has them.
const SENDING: &[OptionDoc] = &[
    OptionDoc::new(
        &["partitioner"],
        "`client`",
        "who chooses the partition of a key: `client` lets events of many keys share a batch; `service` sends a batch per key",
    ),
    OptionDoc::new(
        &["links"],
        "`4`",
        "the links for events without a key, and with `service` for all",
    ),
];

/// The rows of the table `eventhubs.reading`, as the README has them.
const READING: &[OptionDoc] = &[
    OptionDoc::new(
        &["consumer_group"],
        "the group's name",
        "the consumer group, which must exist. A reader without a group uses `$Default`",
    ),
    OptionDoc::new(
        &["prefetch"],
        "`1000`",
        "the most events that the service may send ahead of a reader; fewer if they are large",
    ),
];
