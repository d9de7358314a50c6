#![doc = include_str!("../README.md")]

#[cfg(feature = "dynamodb")]
mod dynamodb;
#[cfg(feature = "eventhubs")]
mod eventhubs;
#[cfg(feature = "aws")]
mod http;
#[cfg(feature = "kinesis")]
mod kinesis;
#[cfg(any(feature = "dynamodb", feature = "kinesis", feature = "sqs"))]
mod listen;
#[cfg(feature = "serve")]
mod proxy;
#[cfg(feature = "pubsub")]
mod pubsub;
#[cfg(feature = "kinesis")]
mod refusals;
#[cfg(any(feature = "dynamodb", feature = "kinesis", feature = "sqs"))]
mod skew;
#[cfg(feature = "sqs")]
mod sqs;

#[cfg(feature = "dynamodb")]
pub use self::dynamodb::{DynamoDbServer, dynamodb};
#[cfg(feature = "eventhubs")]
pub use self::eventhubs::{EventHubs, EventHubsFault, EventHubsOptions, StoredEvent, Violation};
#[cfg(feature = "aws")]
pub use self::http::{HttpFault, HttpFaults, test_credentials};
#[cfg(feature = "kinesis")]
pub use self::kinesis::{KinesisServer, StoreOptions};
#[cfg(any(feature = "dynamodb", feature = "kinesis", feature = "sqs"))]
pub use self::listen::{ListenOptions, TlsIdentity};
#[cfg(feature = "serve")]
pub use self::proxy::Proxy;
#[cfg(feature = "pubsub")]
pub use self::pubsub::{PubSub, PubSubFault, PubSubOptions};
#[cfg(feature = "sqs")]
pub use self::sqs::{Sqs, SqsLimits, SqsServer};
