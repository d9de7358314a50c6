//! Reads a stream as a log: partitions are shards, positions are sequence and sub-sequence numbers.

mod answer;
mod call;
mod fan_out;
mod feed;
mod log;
mod metrics;
mod pace;
mod place;
mod polling;
mod reader;
mod records;
mod server_time;
mod start;
mod unpack;

pub(crate) use self::log::{KinesisLog, partition, timestamp};
