use aqueduct_core::PartitionId;
use metrics::{Counter, Gauge, counter, gauge};

use crate::stream::Kinesis;

/// What is counted of reading one shard.
#[derive(Clone)]
pub(super) struct Metrics {
    /// GetRecords and GetShardIterator, failed ones too.
    pub(super) requests: Counter,
    /// Requests that the service refused for now.
    pub(super) throttled: Counter,
    /// Iterators made after the first.
    pub(super) renewals: Counter,
    /// Subscriptions begun.
    pub(super) subscriptions: Counter,
    /// Records as the service stores them.
    pub(super) records: Counter,
    /// Their data, in bytes.
    pub(super) bytes: Counter,
    /// Events, after taking aggregated records apart.
    pub(super) events: Counter,
    /// Inner records of another shard.
    pub(super) out_of_range: Counter,
    /// Aggregated records that are damaged.
    pub(super) broken: Counter,
    /// How far the last answer was behind the tip, in seconds.
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
