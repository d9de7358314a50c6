use metrics::{Counter, counter};

use crate::stream::Kinesis;

/// Counts what sending costs. Handles are taken when a producer is opened: install the recorder
/// first.
pub(crate) struct Metrics {
    /// PutRecords requests, including failed ones.
    pub(crate) requests: Counter,
    /// Records sent, including failed ones.
    pub(crate) records: Counter,
    /// Events in stored records.
    pub(crate) events: Counter,
    /// Bytes of data and partition keys of stored records.
    pub(crate) bytes: Counter,
    /// PUT payload units of stored records, as provisioned streams are billed.
    pub(crate) payload_units: Counter,
    /// Records that the service refused individually.
    pub(crate) failed_records: Counter,
    /// Records refused because their shard was over its limit; each is sent again.
    pub(crate) throttled_records: Counter,
    /// Events stored on a shard where readers of their key do not look; each is sent again.
    pub(crate) wrong_shard: Counter,
}

/// The billing unit of provisioned streams.
pub(crate) const PAYLOAD_UNIT: usize = 25_000;

impl Metrics {
    pub(crate) fn new(kinesis: &Kinesis) -> Self {
        let stream = kinesis.name.to_string();
        macro_rules! counted {
            ($name:literal) => {
                counter!(
                    concat!("aqueduct_kinesis_put_", $name, "_total"),
                    "stream" => stream.clone(),
                )
            };
        }
        Self {
            requests: counted!("requests"),
            records: counted!("records"),
            events: counted!("events"),
            bytes: counted!("bytes"),
            payload_units: counted!("payload_units"),
            failed_records: counted!("failed_records"),
            throttled_records: counted!("throttled_records"),
            wrong_shard: counted!("wrong_shard_events"),
        }
    }
}
