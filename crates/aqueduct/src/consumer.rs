//! The pull loop, and following a stream without a group.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
//! use aqueduct::{Client, Event};
//!
//! let client = Client::from_toml(r#"
//!     [client]
//!     source = "/shop"
//!
//!     [streams.orders]
//!     url = "memory:"
//!
//!     [groups.archive]
//!     stream = "orders"
//!     on_reject = "drop"
//! "#).await?;
//! client.producer("orders").await?.send(Event::new("order.placed")).await?;
//!
//! let consumer = client.consumer("archive").await?;
//! while let Some(delivery) = consumer.receive().await? {
//!     println!("{}", delivery.event().kind());
//!     delivery.ack().await?;
//!     consumer.flush().await?; // the ack is durable
//! #   break;
//! }
//! consumer.close().await
//! # }
//! ```

#[doc(inline)]
pub use aqueduct_core::{
    Assignment, BlockedBy, Checkpoint, ConsumerStatus, Delivery, PartitionId, PartitionStatus,
    Position, ReadFrom, RebalanceListener, Revocation, SettleError, Settlement, Start,
};

#[doc(inline)]
pub use crate::client::{Consumer, ReadEvent, Reader};
