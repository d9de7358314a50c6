#![doc = include_str!("../README.md")]

#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "eventhubs")]
mod eventhubs;
#[cfg(feature = "aws")]
mod http;
#[cfg(feature = "kinesis")]
mod kinesis;
#[cfg(feature = "pubsub")]
mod pubsub;
#[cfg(feature = "sqs")]
mod sqs;

#[cfg(feature = "dynamodb")]
pub use self::dynamodb::dynamodb;
#[cfg(feature = "eventhubs")]
pub use self::eventhubs::{EventHubs, EventHubsFault, EventHubsOptions, StoredEvent, Violation};
#[cfg(feature = "aws")]
pub use self::http::{HttpFault, HttpFaults, test_credentials};
#[cfg(feature = "kinesis")]
pub use self::kinesis::{KinesisServer, StoreOptions};
#[cfg(feature = "pubsub")]
pub use self::pubsub::{PubSub, PubSubFault, PubSubOptions};
#[cfg(feature = "sqs")]
pub use self::sqs::{Sqs, SqsLimits, SqsServer};
