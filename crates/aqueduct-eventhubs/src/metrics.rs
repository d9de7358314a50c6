use aqueduct_core::PartitionId;
use metrics::{Counter, counter};

use crate::hub::Hub;

/// Counts what sending costs. Handles are taken when a producer is opened: install the recorder
/// first.
pub(crate) struct Sending {
    /// Batches sent, including failed ones.
    pub(crate) batches: Counter,
    /// Events in stored batches.
    pub(crate) events: Counter,
    /// Bytes of stored batches.
    pub(crate) bytes: Counter,
    /// Batches that were not stored, or may not be.
    pub(crate) failed: Counter,
}

impl Sending {
    pub(crate) fn new(hub: &Hub) -> Self {
        let stream = hub.config.hub.to_string();
        macro_rules! counted {
            ($name:literal) => {
                counter!(
                    concat!("aqueduct_eventhubs_send_", $name, "_total"),
                    "stream" => stream.clone(),
                )
            };
        }
        Self {
            batches: counted!("batches"),
            events: counted!("events"),
            bytes: counted!("bytes"),
            failed: counted!("failed_batches"),
        }
    }
}

/// Counts what a reader receives.
#[derive(Clone)]
pub(crate) struct Reading {
    /// Events returned.
    pub(crate) events: Counter,
    /// Links that were lost and opened again.
    pub(crate) reconnects: Counter,
}

impl Reading {
    pub(crate) fn new(hub: &Hub, partition: &PartitionId) -> Self {
        let (stream, partition) = (hub.config.hub.to_string(), partition.to_string());
        macro_rules! counted {
            ($name:literal) => {
                counter!(
                    concat!("aqueduct_eventhubs_receive_", $name, "_total"),
                    "stream" => stream.clone(), "partition" => partition.clone(),
                )
            };
        }
        Self {
            events: counted!("events"),
            reconnects: counted!("reconnects"),
        }
    }
}
