use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("memory", OPTIONS)]
}

/// The rows of the README's option table `memory`.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["create"],
        "`missing`",
        "`missing` creates the stream when it is first opened, since no other process can have created it; `never` returns `NotFound`",
    ),
    OptionDoc::new(
        &["partitions"],
        "`4`",
        "1 to 1024. Four partitions exercise key order and balancing in every test, at little cost",
    ),
    OptionDoc::new(
        &["retention"],
        "none",
        "how long events are kept, such as `1h`. No limit by default, so that a test never loses events to the clock",
    ),
    OptionDoc::new(
        &["max_events"],
        "`250000`",
        "the number of newest events kept in each partition, which bounds memory. A reader that falls behind gets `PositionExpired`; events are never skipped silently",
    ),
    OptionDoc::new(
        &["max_event_bytes"],
        "`1MiB`",
        "the largest event, by `Event::approximate_size`: about the limit of the strictest cloud service",
    ),
    OptionDoc::new(
        &["idempotency_retention"],
        "none",
        "how long completed records are kept; by default until purged. Must not be below `retention`",
    ),
];
