use aqueduct_core::GroupName;
use metrics::{Counter, Gauge, Histogram};

/// The worker's metrics, looked up once: a look-up costs more than an increment.
pub(crate) struct Counters {
    /// Outcomes by kind.
    pub(crate) acked: Counter,
    pub(crate) failed: Counter,
    pub(crate) rejected: Counter,
    /// Events of a type that no handler takes.
    pub(crate) unhandled: Counter,
    /// Of these, records that are not CloudEvents.
    pub(crate) foreign: Counter,
    /// Settlements that were refused: superseded or revoked.
    pub(crate) unsettled: Counter,
    /// The duration of calls of handlers.
    pub(crate) seconds: Histogram,
    /// Deliveries that the worker holds.
    pub(crate) in_hand: Gauge,
}

impl Counters {
    pub(crate) fn new(group: &GroupName) -> Self {
        let group = group.to_string();
        let outcome = |outcome: &'static str| metrics::counter!("aqueduct_worker_outcomes", "group" => group.clone(), "outcome" => outcome);
        Self {
            acked: outcome("ack"),
            failed: outcome("retry"),
            rejected: outcome("reject"),
            unhandled: metrics::counter!("aqueduct_worker_unhandled", "group" => group.clone()),
            foreign: metrics::counter!("aqueduct_worker_foreign_records", "group" => group.clone()),
            unsettled: metrics::counter!("aqueduct_worker_unsettled", "group" => group.clone()),
            seconds: metrics::histogram!("aqueduct_worker_handler_seconds", "group" => group.clone()),
            in_hand: metrics::gauge!("aqueduct_worker_in_hand", "group" => group.clone()),
        }
    }
}
