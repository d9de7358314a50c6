//! Scenarios on AWS services, compared with the AWS SDK in the same run.

mod canned;
mod client;
pub(crate) mod kinesis_adapter;
pub(crate) mod kinesis_consume;
pub(crate) mod kinesis_leases;
pub(crate) mod kinesis_limited;
pub(crate) mod kinesis_publish;
pub(crate) mod server;
pub(crate) mod sqs;
