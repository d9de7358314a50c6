use aqueduct_core::{OptionDoc, OptionTable};

/// Returns the documentation of every option of this backend.
pub(crate) fn tables() -> Vec<OptionTable> {
    vec![OptionTable::new("memory", OPTIONS)]
}

/// The rows of the table `memory`, as the README has them.
const OPTIONS: &[OptionDoc] = &[
    OptionDoc::new(
        &["create"],
        "`missing`",
        "`missing` makes the stream when it is first opened, since nothing outside of the process could have; `never` answers `NotFound`",
    ),
    OptionDoc::new(
        &["partitions"],
        "`4`",
        "1 to 1024. Four, so that key order and balance are tried by whoever tries anything, at little cost",
    ),
    OptionDoc::new(
        &["retention"],
        "none",
        "how long events are kept, such as `1h`. A test must not lose events to a clock that nobody asked for",
    ),
    OptionDoc::new(
        &["max_events"],
        "`250000`",
        "the events kept in a partition, the newest: a program that runs on does not grow for ever. A reader that falls behind is told (`PositionExpired`), never skipped",
    ),
    OptionDoc::new(
        &["max_event_bytes"],
        "`1MiB`",
        "the largest event, by `Event::approximate_size`: what fits here fits the strictest cloud, about",
    ),
    OptionDoc::new(
        &["idempotency_retention"],
        "none",
        "how long completed records are kept; without it for ever, or until purged. Not below `retention`",
    ),
];
