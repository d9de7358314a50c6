//! Administration of streams: create, describe, lag.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
//! use aqueduct::admin::StreamSpec;
//! use aqueduct::{Client, GroupName};
//!
//! let client = Client::from_toml("[streams.orders]\nurl = \"memory:\"").await?;
//! let admin = client.admin("orders").await?;
//! admin.create(&StreamSpec::with_partitions(2)).await?;
//! assert_eq!(admin.describe().await?.partitions.len(), 2);
//!
//! let behind: u64 = admin.lag(&GroupName::from("billing")).await?.iter().map(|it| it.events).sum();
//! assert_eq!(behind, 0);
//! # Ok(()) }
//! ```

#[doc(inline)]
pub use aqueduct_core::{Admin, PartitionLag, StreamDescription, StreamSpec};
