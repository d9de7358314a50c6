//! The one error type: what happened, whether a retry helps, whether there may be an effect.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
//! use aqueduct::{Client, ErrorKind};
//!
//! let client = Client::from_toml("[streams.orders]\nurl = \"memory:\"").await?;
//! let error = client.producer("orderz").await.unwrap_err();
//! assert_eq!(error.kind(), ErrorKind::Config);
//! assert!(!error.is_retryable());
//! assert_eq!(error.to_string(), "unknown stream `orderz`; declared: orders");
//! # Ok(()) }
//! ```

#[doc(inline)]
pub use aqueduct_core::{Effect, Error, ErrorKind, Result, Retry};
