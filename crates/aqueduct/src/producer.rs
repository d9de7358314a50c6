//! Sending: one event, many, or a pipeline.
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
//! "#).await?;
//! let orders = client.producer("orders").await?;
//!
//! let receipt = orders.send(Event::new("order.placed").with_key("VINET")).await?; // stored
//! assert!(receipt.partition.is_some());
//!
//! let pending = orders.enqueue(Event::new("order.paid").with_key("VINET")).await?; // accepted
//! pending.await?; // stored
//!
//! match orders.send_all(vec![Event::new("a"), Event::new("b")]).await {
//!     Ok(receipts) => assert_eq!(receipts.len(), 2),
//!     Err(failure) => println!("{} of 2 stored", failure.stored()),
//! }
//! client.close().await
//! # }
//! ```

#[doc(inline)]
pub use aqueduct_core::{Lane, Receipt};
#[doc(inline)]
pub use aqueduct_producer::{EventSink, PartialFailure, Pending, Producer};
