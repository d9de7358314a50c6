use std::time::Duration;

use googleapis_tonic_google_pubsub_v1::google::pubsub::v1::PubsubMessage;
use prost_types::Timestamp;

/// Time since the Unix epoch.
pub(in crate::pubsub) type Time = Duration;

/// A published message.
#[derive(Debug)]
pub(super) struct Message {
    /// The place in the order of publishing; also its message id.
    pub(super) number: u64,
    pub(super) published: Time,
    /// Bytes of data, attributes and ordering key: the unit of limits and flow control.
    pub(super) size: usize,
    pub(super) wire: PubsubMessage,
}

/// Returns the bytes of data, attributes and ordering key.
pub(super) fn size_of(message: &PubsubMessage) -> usize {
    let attributes = message.attributes.iter();
    message.data.len()
        + message.ordering_key.len()
        + attributes
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
}

pub(in crate::pubsub) fn timestamp(time: Time) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
    }
}

/// Returns the time of a timestamp; zero for one before the epoch.
pub(in crate::pubsub) fn time(timestamp: &Timestamp) -> Time {
    let seconds = u64::try_from(timestamp.seconds).unwrap_or_default();
    Time::new(seconds, u32::try_from(timestamp.nanos).unwrap_or_default())
}

pub(in crate::pubsub) fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}

/// Returns `None` for a negative duration.
pub(in crate::pubsub) fn duration(duration: &prost_types::Duration) -> Option<Duration> {
    let seconds = u64::try_from(duration.seconds).ok()?;
    let nanos = u32::try_from(duration.nanos).ok()?;
    Some(Duration::new(seconds, nanos))
}
