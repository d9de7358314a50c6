//! Events: CloudEvents 1.0, with a key.
//!
//! ```
//! use aqueduct::Event;
//!
//! let event = Event::json("order.placed", &7)?
//!     .with_key("VINET")
//!     .with_subject("order 7")
//!     .with_attribute("priority", 3)?;
//! let number: u32 = event.decode_json()?;
//! assert_eq!(number, 7);
//! # Ok::<(), aqueduct::Error>(())
//! ```

#[doc(inline)]
pub use aqueduct_core::{
    AttributeValue, Attributes, Event, EventClaim, EventId, GroupName, IdempotencyScope, SmallStr,
    StreamName, Timestamp,
};
