//! Events as AMQP messages, and messages as events.

mod decode;
mod encode;
mod foreign;
mod json;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use self::decode::{Place, Stamps, damaged, decode};
pub(crate) use self::encode::{encode, is_partition_key};

/// The annotation of the partition key, where every SDK of Event Hubs looks for it.
pub(crate) const PARTITION_KEY: &str = "x-opt-partition-key";

/// The prefix of CloudEvents attributes that we write: JMS clients can select by it.
const PREFIX: &str = "cloudEvents_";

/// The prefix of CloudEvents attributes that others write.
const OTHER_PREFIX: &str = "cloudEvents:";

/// The property with the types of attributes that AMQP cannot tell apart: `NAME=TYPE` and spaces.
const TYPES: &str = "aqueduct-types";

/// The property that is true for an event without data: the body of a message may be empty, not
/// absent.
const NO_DATA: &str = "aqueduct-no-data";

/// The attribute of a foreign event that has everything of its message but the data, as JSON.
const FOREIGN: &str = "amqpmessage";
