//! Reads a stream as a log: partitions are shards, positions are sequence and sub-sequence numbers.

mod consumers;
mod context;
mod convert;
mod cursor;
mod deaggregate;
mod fan_out;
mod fetch;
mod log;
mod metrics;
mod polling;
mod rate_limiter;
mod reader;
mod records;
mod response;
mod server_time;
mod shard_client;
mod shard_iterator;
mod start;

pub(crate) use self::convert::{partition, timestamp};
pub(crate) use self::log::KinesisLog;
