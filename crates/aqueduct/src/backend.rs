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
/// Leases and idempotency records in Amazon DynamoDB. Known by its scheme; give one to clients to share connections:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::Client;
/// use aqueduct::backend::DynamoDbBackend;
///
/// let backend = DynamoDbBackend::new();
/// let toml = "[stores.leases]\nurl = \"dynamodb://shop-leases\"";
/// let client = Client::builder().toml(toml).backend("dynamodb", backend.clone()).build().await?;
/// client.check() // without connecting
/// # }
/// ```
#[cfg(feature = "dynamodb")]
#[doc(inline)]
pub use aqueduct_dynamodb::DynamoDbBackend;
/// Streams of Azure Event Hubs. Known by its scheme; give one to clients to share connections:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::Client;
/// use aqueduct::backend::EventHubsBackend;
///
/// let backend = EventHubsBackend::new();
/// let toml = "[streams.orders]\nurl = \"eventhubs://shop/orders\"";
/// let client = Client::builder().toml(toml).backend("eventhubs", backend.clone()).build().await?;
/// client.check() // without connecting
/// # }
/// ```
#[cfg(feature = "eventhubs")]
#[doc(inline)]
pub use aqueduct_eventhubs::EventHubsBackend;
/// Streams of Amazon Kinesis. Known by its scheme; give one to clients to share connections:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::Client;
/// use aqueduct::backend::KinesisBackend;
///
/// let backend = KinesisBackend::new();
/// let toml = "[streams.orders]\nurl = \"kinesis://orders\"";
/// let client = Client::builder().toml(toml).backend("kinesis", backend.clone()).build().await?;
/// client.check() // without connecting
/// # }
/// ```
#[cfg(feature = "kinesis")]
#[doc(inline)]
pub use aqueduct_kinesis::KinesisBackend;
#[doc(inline)]
pub use aqueduct_memory::MemoryBackend;
/// Leases, idempotency records and dead letters on Azure Blob Storage, S3 and Google Cloud Storage. Known by its scheme; give one to clients to share connections:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::Client;
/// use aqueduct::backend::ObjectStoreBackend;
///
/// let backend = ObjectStoreBackend::new();
/// let toml = "[stores.leases]\nurl = \"s3://shop-leases\"";
/// let client = Client::builder().toml(toml).backend("s3", backend.clone()).build().await?;
/// client.check() // without connecting
/// # }
/// ```
#[cfg(feature = "object-store")]
#[doc(inline)]
pub use aqueduct_object_store::ObjectStoreBackend;
/// Topics of Google Pub/Sub. Known by its scheme; give one to clients to share connections:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::Client;
/// use aqueduct::backend::PubSubBackend;
///
/// let backend = PubSubBackend::new();
/// let toml = "[streams.orders]\nurl = \"pubsub://shop/orders\"";
/// let client = Client::builder().toml(toml).backend("pubsub", backend.clone()).build().await?;
/// client.check() // without connecting
/// # }
/// ```
#[cfg(feature = "pubsub")]
#[doc(inline)]
pub use aqueduct_pubsub::PubSubBackend;
#[cfg(feature = "sqlite")]
#[doc(inline)]
pub use aqueduct_sqlite::SqliteBackend;
/// Queues of Amazon SQS. Known by its scheme; give one to clients to share connections:
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::Client;
/// use aqueduct::backend::SqsBackend;
///
/// let backend = SqsBackend::new();
/// let toml = "[streams.orders]\nurl = \"sqs://orders\"";
/// let client = Client::builder().toml(toml).backend("sqs", backend.clone()).build().await?;
/// client.check() // without connecting
/// # }
/// ```
#[cfg(feature = "sqs")]
#[doc(inline)]
pub use aqueduct_sqs::SqsBackend;
