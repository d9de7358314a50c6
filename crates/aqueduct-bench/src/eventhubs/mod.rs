//! Event Hubs: an AMQP client alone, and Aqueduct on it, in the same run.

pub(crate) mod consume;
mod hub;
pub(crate) mod publish;
mod raw;

/// The partitions of a hub.
const PARTITIONS: usize = 4;

/// The events of one call, and of one batch of the client, without a round trip.
const FULL: usize = 1_000;

/// The same with a round trip: a batch of many keys is smaller in a program that sends what it has.
const SMALL: usize = 100;

pub(crate) use self::hub::{fill, namespace};
