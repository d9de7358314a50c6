use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("sqlite", OPTIONS)]
}

/// The rows of the table `sqlite`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["stream"],
        "the configuration's name",
        "the stream in the file; a file holds any number",
    ),
    OptionDoc::new(
        &["partitions"],
        "`4`",
        "partitions of a new stream, 1 to 1024. Four share the work among a few workers, and cost one process nothing: keys run in parallel within a partition too. An existing stream keeps what it has; `reshard` changes it",
    ),
    OptionDoc::new(
        &["retention"],
        "for ever",
        "how long events are kept. By default nothing is removed",
    ),
    OptionDoc::new(
        &["max_bytes"],
        "any",
        "how many bytes of packed events a stream keeps; the oldest go first",
    ),
    OptionDoc::new(
        &["max_event_bytes"],
        "`1MiB`",
        "the largest event; an event within the default fits every cloud service. It is kept with the stream: a configuration that names another value changes it for all who open the stream from then on and for `publish_in` at once; one that names none takes what the stream has",
    ),
    OptionDoc::new(
        &["create"],
        "`missing`",
        "`missing` creates folder, file and stream, since an embedded store is not provisioned by other means. `never` fails with `NotFound`",
    ),
    OptionDoc::new(
        &["sync"],
        "`full`",
        "*file*: `full`: acknowledged events survive a loss of power. `normal`: they survive the death of the process, but the last ones before a loss of power may be lost, and `durable` is no longer claimed",
    ),
    OptionDoc::new(
        &["wal_limit"],
        "`64MiB`",
        "*file*: the size that the write-ahead log stays under, at least 1MiB. Large enough that checkpoints cost little an event, small enough that opening after a crash is quick",
    ),
    OptionDoc::new(
        &["busy_timeout"],
        "`10s`",
        "*file*: how long a write waits for other processes before it fails with `Unavailable`",
    ),
    OptionDoc::new(
        &["dead_letter_retention"],
        "for ever",
        "*file*: how long dead letters are kept. By default until they are purged, since a person has to look at them",
    ),
    OptionDoc::new(
        &["idempotency_retention"],
        "for ever",
        "*file*: how long completed ids are kept: at least `retention` + `dead_letter_retention`, or it is refused, since an event that comes again would be handled again",
    ),
    OptionDoc::new(
        &["claim_life"],
        "`30s`",
        "*file*: how long the claim of an event from a queue lasts without a heartbeat before another consumer takes it over",
    ),
    OptionDoc::new(
        &["network"],
        "`refuse`",
        "*file*: `allow` accepts a network file system, for one machine at a time: see below",
    ),
];
