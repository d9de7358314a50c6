use aqueduct_core::PartitionId;
use metrics::{Counter, Gauge, counter, gauge};

use crate::stream::Kinesis;

/// The metrics of reading one shard.
#[derive(Clone)]
pub(super) struct Metrics {
    /// GetRecords and GetShardIterator requests, including failed ones.
    pub(super) requests: Counter,
    /// Requests that the service throttled.
    pub(super) throttled: Counter,
    /// Shard iterators requested after the first.
    pub(super) renewals: Counter,
    /// Subscriptions started.
    pub(super) subscriptions: Counter,
    /// Records as the service stores them, before deaggregation.
    pub(super) records: Counter,
    /// Their data, in bytes.
    pub(super) bytes: Counter,
    /// Events, after deaggregation.
    pub(super) events: Counter,
    /// Inner records whose key belongs to another shard.
    pub(super) out_of_range: Counter,
    /// Aggregated records that are damaged.
    pub(super) broken: Counter,
    /// How far the last response was behind the tip, in seconds.
    pub(super) behind: Gauge,
}

impl Metrics {
    pub(super) fn new(kinesis: &Kinesis, shard: &PartitionId) -> Self {
        let stream = kinesis.name.to_string();
        macro_rules! counted {
            ($name:literal) => {
                counter!(
                    concat!("aqueduct_kinesis_read_", $name, "_total"),
                    "stream" => stream.clone(),
                )
            };
        }
        Self {
            requests: counted!("requests"),
            throttled: counted!("throttled"),
            renewals: counted!("iterator_renewals"),
            subscriptions: counted!("subscriptions"),
            records: counted!("records"),
            bytes: counted!("bytes"),
            events: counted!("events"),
            out_of_range: counted!("out_of_range"),
            broken: counted!("broken_aggregates"),
            behind: gauge!(
                "aqueduct_kinesis_behind_seconds",
                "stream" => stream.clone(),
                "shard" => shard.to_string(),
            ),
        }
    }
}
