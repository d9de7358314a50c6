//! Backends: the services behind URLs, and how to add others.
//!
//! Memory and the features' backends are known by their schemes.
//! [`ClientBuilder::backend`](crate::ClientBuilder::backend) adds one, or shares one between
//! clients:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
//! use aqueduct::{Client, Event, MemoryBackend, Start};
//!
//! let memory = MemoryBackend::new();
//! let client = || async {
//!     Client::builder()
//!         .toml("[client]\nsource = \"/shop\"\n[streams.orders]\nurl = \"memory:\"")
//!         .backend("memory", memory.clone())
//!         .build()
//!         .await
//! };
//! client().await?.producer("orders").await?.send(Event::new("order.placed")).await?;
//! let mut reader = client().await?.reader("orders", Start::Earliest).await?;
//! assert!(reader.next().await?.is_some());
//! # Ok(()) }
//! ```

#[doc(inline)]
pub use aqueduct_core::{Backend, Options, Resource, Runtime, Source, Url};
#[cfg(feature = "dynamodb")]
#[doc(inline)]
pub use aqueduct_dynamodb::DynamoDbBackend;
#[cfg(feature = "eventhubs")]
#[doc(inline)]
pub use aqueduct_eventhubs::EventHubsBackend;
#[cfg(feature = "kinesis")]
#[doc(inline)]
pub use aqueduct_kinesis::KinesisBackend;
#[doc(inline)]
pub use aqueduct_memory::MemoryBackend;
#[cfg(feature = "object-store")]
#[doc(inline)]
pub use aqueduct_object_store::ObjectStoreBackend;
#[cfg(feature = "pubsub")]
#[doc(inline)]
pub use aqueduct_pubsub::PubSubBackend;
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use aqueduct_sqlite::SqliteBackend;
#[cfg(feature = "sqs")]
#[doc(inline)]
pub use aqueduct_sqs::SqsBackend;
