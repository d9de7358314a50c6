use metrics::{Counter, counter};

use crate::stream::Kinesis;

/// What sending costs. Handles are taken once, when a producer is opened: install the recorder
/// before.
pub(crate) struct Metrics {
    /// PutRecords, failed ones too.
    pub(crate) requests: Counter,
    /// Records in them, those that failed too.
    pub(crate) records: Counter,
    /// Events in those that were stored.
    pub(crate) events: Counter,
    /// Data and partition keys of the records that were stored.
    pub(crate) bytes: Counter,
    /// PUT payload units of the records that were stored, as provisioned streams are billed.
    pub(crate) payload_units: Counter,
    /// Records that the service refused one by one.
    pub(crate) failed_records: Counter,
    /// Records that were refused because the shard takes no more; each is sent twice.
    pub(crate) throttled_records: Counter,
    /// Events that were stored where readers of their key do not look, and are sent again.
    pub(crate) wrong_shard: Counter,
}

/// The unit that provisioned streams are billed in.
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
