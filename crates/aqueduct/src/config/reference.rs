use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every configuration key except those of a backend, which
/// [`Backend::options`](crate::Backend::options) returns.
///
/// ```
/// let tables = aqueduct::config::reference();
/// let client = tables.iter().find(|table| table.title == "client").unwrap();
/// assert!(client.names().any(|name| name == "source"));
/// ```
pub fn reference() -> Vec<OptionTable> {
    vec![
        OptionTable::new("client", CLIENT),
        OptionTable::new("streams.NAME.producer", PRODUCER),
        OptionTable::new("groups.NAME", GROUP),
        OptionTable::new("layers.NAME", LAYERS),
        OptionTable::new("routes.NAME", ROUTES),
        OptionTable::new("routes.NAME.rules", RULES),
        OptionTable::new("pipelines.NAME", PIPELINES),
    ]
}

const CLIENT: &[OptionDoc] = &[
    OptionDoc::new(
        &["source"],
        "none",
        "the source of events without one, set when they are sent; without it they are refused, as CloudEvents requires one",
    ),
    OptionDoc::new(
        &["create"],
        "the backend's",
        "`\"missing\"` or `\"never\"` for every stream, store and URL of a group that does not set it",
    ),
    OptionDoc::new(
        &["layers"],
        "none",
        "the layers of every stream, store and group that names none; see `[layers.NAME]`",
    ),
    OptionDoc::new(
        &["receive_bytes"],
        "no limit",
        "bytes of unsettled events in the whole process; the limits per partition suffice until one process owns very many",
    ),
];

const PRODUCER: &[OptionDoc] = &[
    OptionDoc::new(&["source"], "the client's", "the client's"),
    OptionDoc::new(
        &["linger"],
        "`0s`",
        "waiting at an idle stream costs latency and saves nothing",
    ),
    OptionDoc::new(
        &["batch_wait"],
        "`5ms`",
        "how long an event waits for others while a request is in flight, so that a slow one does not stop the rest",
    ),
    OptionDoc::new(
        &["max_batch_events"],
        "5000",
        "fills the requests of a service that takes many events in a record; no request waits to be full, and the backend's limit applies if it is lower",
    ),
    OptionDoc::new(&["max_batch_bytes"], "`4MiB`", "the same in bytes"),
    OptionDoc::new(&["max_buffered_events"], "20000", "callers wait beyond it"),
    OptionDoc::new(&["max_buffered_bytes"], "`64MiB`", "callers wait beyond it"),
    OptionDoc::new(&["in_flight"], "4", "requests at a time, of disjoint keys"),
    OptionDoc::new(
        &["attempts"],
        "10",
        "with this back-off the deadline comes first while a service is unavailable",
    ),
    OptionDoc::new(
        &["deadline"],
        "`2m`",
        "longer than a failover of the services takes",
    ),
    OptionDoc::new(
        &["first", "max"],
        "`50ms`, `10s`",
        "the back-off between tries, with full jitter",
    ),
    OptionDoc::new(
        &["resend_unknown"],
        "`false`",
        "an event whose fate is unknown may be stored twice; set `true` if consumers deduplicate",
    ),
    OptionDoc::new(
        &["request_timeout"],
        "`30s`",
        "then the fate of its events is unknown",
    ),
    OptionDoc::new(&["drain"], "`30s`", "how long `close` waits for outcomes"),
];

const GROUP: &[OptionDoc] = &[
    OptionDoc::new(
        &["stream"],
        "required",
        "a stream's name, or a list of them",
    ),
    OptionDoc::new(
        &["requires"],
        "none",
        "capabilities that the group needs: `Client::check()` compares them without connecting",
    ),
    OptionDoc::new(
        &["leases"],
        "the stream's own store",
        "a stream's or store's name, or a URL",
    ),
    OptionDoc::new(
        &["idempotency"],
        "`false`",
        "`true` (the stream's own store), a name or a URL: an event that comes twice is handled once",
    ),
    OptionDoc::new(
        &["handlers"],
        "`default`",
        "tells two workers of one group with different handlers apart in idempotency records",
    ),
    OptionDoc::new(
        &["dead_letters"],
        "none",
        "a stream's or store's name, or a URL",
    ),
    OptionDoc::new(
        &["dead_letter_retention"],
        "for ever",
        "how long dead letters may wait to be redriven: completed ids must live that much longer",
    ),
    OptionDoc::new(
        &["on_exhausted"],
        "`dead_letter`, or `block` without dead letters",
        "what follows the last attempt; `divert_key` holds the rest of the key too (over dead letters that cannot be listed, until a restart)",
    ),
    OptionDoc::new(
        &["on_reject"],
        "none",
        "required without `dead_letters`: `stop` ends the worker at a rejected event, `drop` acknowledges it",
    ),
    OptionDoc::new(
        &["redelivery.attempts"],
        "5",
        "enough to outlast a restart of a service that the handler calls",
    ),
    OptionDoc::new(
        &["redelivery.first", "redelivery.max"],
        "`200ms`, `30s`",
        "the wait before the next attempt, doubling, with full jitter",
    ),
    OptionDoc::new(
        &["concurrency"],
        "64",
        "concurrent runs of handlers: most of them wait for other services",
    ),
    OptionDoc::new(
        &["timeout"],
        "`5m`",
        "of one call of a handler: longer than any normal call, short enough that a hang is noticed",
    ),
    OptionDoc::new(
        &["unhandled"],
        "by kind",
        "the action for an event that no handler takes: `ack` or `reject`. By default another type is acknowledged and counted, and a record that is not a CloudEvent is rejected",
    ),
    OptionDoc::new(
        &["start"],
        "`earliest`",
        "where a group that never ran begins: `latest` or a time lose events on purpose",
    ),
    OptionDoc::new(
        &["on_gap"],
        "`fail`",
        "the action if retention removed events before they were read: `earliest` and `latest` continue",
    ),
    OptionDoc::new(
        &["drain"],
        "`30s`",
        "how long a stop, or a hand-off, lets handlers finish",
    ),
    OptionDoc::new(
        &["lease_ttl"],
        "`30s`",
        "a crash elsewhere is noticed within a minute; sets `renew_every` to a third and `lease_margin` to a tenth",
    ),
    OptionDoc::new(
        &["renew_every", "lease_margin"],
        "`10s`, `3s`",
        "two renewals may fail; how early an owner counts its lease as lost",
    ),
    OptionDoc::new(
        &["commit_interval"],
        "`5s`",
        "what a crash may deliver again",
    ),
    OptionDoc::new(
        &["commit_min", "commit_count"],
        "`1s`, 10000",
        "settled events that bring a commit forward, and the least time between two",
    ),
    OptionDoc::new(
        &["max_unsettled", "max_unsettled_bytes"],
        "10000, `64MiB`",
        "per partition; beyond it fetching waits",
    ),
    OptionDoc::new(
        &["max_parked"],
        "5000",
        "per partition, events held behind failing keys",
    ),
    OptionDoc::new(
        &["max_span"],
        "100000",
        "per partition, from the first unsettled event to the newest settled one",
    ),
    OptionDoc::new(&["max_partitions"], "all", "how many this member owns"),
    OptionDoc::new(
        &["layers"],
        "the client's",
        "the layers around its handlers and settlements, the outermost first",
    ),
    OptionDoc::new(
        &["fetch_events", "fetch_bytes"],
        "1000, `1MiB`",
        "of one read",
    ),
];

const LAYERS: &[OptionDoc] = &[
    OptionDoc::new(
        &["tracing"],
        "–",
        "spans around sending and handling with OpenTelemetry's messaging names, through `tracing`; a W3C trace context in each event (`traceparent`, `tracestate`), continued by its handler and by what the handler sends",
    ),
    OptionDoc::new(
        &["tracing.sampled"],
        "`true`",
        "whether a trace that begins here is marked as recorded",
    ),
    OptionDoc::new(
        &["timeout"],
        "–",
        "ends operations that take too long with `TimedOut`; at least one of its limits must be set",
    ),
    OptionDoc::new(
        &["timeout.send"],
        "off",
        "of one attempt to send a batch; its events then have an unknown fate",
    ),
    OptionDoc::new(
        &["timeout.settle"],
        "off",
        "of one settlement, which may be tried again",
    ),
    OptionDoc::new(
        &["timeout.handler"],
        "off",
        "of one call of a handler, which is cancelled and counts as a failed attempt",
    ),
];

const ROUTES: &[OptionDoc] = &[
    OptionDoc::new(
        &["default"],
        "required",
        "the streams of an event that matches no rule; `\"refuse\"` makes sending it an error, `\"drop\"` sends it nowhere",
    ),
    OptionDoc::new(
        &["rules"],
        "none",
        "rules with conditions, `[[routes.NAME.rules]]`, before those by pattern and in their order",
    ),
    OptionDoc::new(
        &["match"],
        "`\"first\"`",
        "which of `rules` counts for an event: the `\"first\"` that holds, or `\"all\"` of them",
    ),
    OptionDoc::new(
        &["attributes.NAME"],
        "none",
        "rules on an attribute; attributes come before everything else, in alphabetical order",
    ),
    OptionDoc::new(&["key"], "none", "rules on the key; before `subject`"),
    OptionDoc::new(&["subject"], "none", "rules on the subject; before `type`"),
    OptionDoc::new(&["type"], "none", "rules on the type; before `source`"),
    OptionDoc::new(&["source"], "none", "rules on the source"),
];

const RULES: &[OptionDoc] = &[
    OptionDoc::new(
        &["to"],
        "required, or `weights`",
        "a stream, a list of streams that all get the event, `\"drop\"` or `\"refuse\"`",
    ),
    OptionDoc::new(
        &["balance"],
        "all of `to`",
        "sends to one of `to`: `\"key\"` keeps the order of a key, `\"least-in-flight\"` and `\"round-robin\"` do not",
    ),
    OptionDoc::new(
        &["weights.STREAM"],
        "none",
        "instead of `to`: one of these streams, as often as its weight says; keys do not keep their order",
    ),
    OptionDoc::new(
        &["type", "source", "subject", "key", "attributes.NAME"],
        "anything",
        "patterns that the event must match, each of them",
    ),
    OptionDoc::new(
        &["older_than"],
        "none",
        "holds for events whose own time lies further back",
    ),
    OptionDoc::new(
        &["from", "until"],
        "none",
        "a window of the event's own time, RFC 3339; `until` is not in it",
    ),
    OptionDoc::new(
        &["when"],
        "none",
        "an expression in the Common Expression Language, such as `data.total > 100`; feature `cel`",
    ),
];

const PIPELINES: &[OptionDoc] = &[
    OptionDoc::new(
        &["group"],
        "required",
        "the group whose events the pipeline takes; its attempts, dead letters and concurrency are the pipeline's",
    ),
    OptionDoc::new(
        &["filter"],
        "every event",
        "an expression in the Common Expression Language; events for which it is false are acknowledged. Feature `cel`",
    ),
    OptionDoc::new(
        &["set.subject", "set.key", "set.attributes.NAME"],
        "unchanged",
        "set on each event before it is routed; id and source stay, so that targets know a copy",
    ),
    OptionDoc::new(
        &["to"],
        "required, or `route`",
        "a stream, or a list of streams that all get the event",
    ),
    OptionDoc::new(
        &["route"],
        "required, or `to`",
        "one of `[routes]`, or a router in code; an event that it refuses is rejected",
    ),
];
