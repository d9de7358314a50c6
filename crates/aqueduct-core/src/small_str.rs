use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use smol_str::SmolStr;

/// A short immutable string that is cloned without allocating.
///
/// Up to 23 bytes are kept inline; longer text is shared; a `'static` literal is borrowed. Names,
/// keys and types are almost always short, so an event carries them without touching the heap.
///
/// ```
/// use aqueduct_core::{Event, StreamName, SmallStr};
///
/// const PLACED: SmallStr = SmallStr::literal("order.placed");
/// assert_eq!(Event::new(PLACED).kind(), "order.placed");
/// assert_eq!(StreamName::new(format!("orders-{}", 7)).as_str(), "orders-7");
/// ```
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SmallStr(SmolStr);

impl SmallStr {
    /// Creates a string that borrows a literal of any length.
    pub const fn literal(text: &'static str) -> Self {
        Self(SmolStr::new_static(text))
    }

    /// Returns the string slice.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl Deref for SmallStr {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for SmallStr {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl Borrow<str> for SmallStr {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for SmallStr {
    fn from(text: &str) -> Self {
        Self(SmolStr::new(text))
    }
}

impl From<String> for SmallStr {
    fn from(text: String) -> Self {
        Self(SmolStr::from(text))
    }
}

impl From<&String> for SmallStr {
    fn from(text: &String) -> Self {
        Self(SmolStr::new(text))
    }
}

impl From<&SmallStr> for SmallStr {
    fn from(text: &SmallStr) -> Self {
        text.clone()
    }
}

impl PartialEq<str> for SmallStr {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for SmallStr {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl fmt::Display for SmallStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SmallStr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Declares a newtype for a name, so that names of different things cannot be confused.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(SmallStr);

        impl $name {
            /// Creates a name.
            pub fn new(text: impl Into<SmallStr>) -> Self {
                Self(text.into())
            }

            /// Returns the name as a string slice.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// Returns the name as a string that is cheap to clone.
            pub fn text(&self) -> &SmallStr {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self::new(text)
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                self.as_str()
            }
        }
    };
}

name! {
    /// The name of a stream in the configuration.
    ///
    /// ```
    /// let orders = aqueduct_core::StreamName::from("orders");
    /// assert_eq!(orders.as_str(), "orders");
    /// ```
    StreamName
}
name! {
    /// The name of a partition as the backend writes it: `0`, `shardId-000000000000`.
    ///
    /// ```
    /// let shard = aqueduct_core::PartitionId::from("shardId-000000000000");
    /// assert_eq!(shard.to_string(), "shardId-000000000000");
    /// ```
    PartitionId
}
name! {
    /// The name of a group: readers that share the events of a stream.
    ///
    /// ```
    /// let billing = aqueduct_core::GroupName::from("billing");
    /// assert_eq!(billing.to_string(), "billing");
    /// ```
    GroupName
}
name! {
    /// The name of one member of a group, unique per run of a process.
    OwnerId
}
name! {
    /// The identity of a stream as its backend gives it: one that was deleted and created again under
    /// the same name has another.
    StreamId
}
name! {
    /// An opaque place in a partition, for services that do not resume by position.
    ///
    /// The engine orders by [`Position`](crate::Position) and never compares tokens; a checkpoint
    /// stores the token of its last record, and the reader resumes from it.
    ResumeToken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_text_and_literals_stay_off_the_heap() {
        assert!(!SmolStr::new("shardId-000000000000").is_heap_allocated());
        assert_eq!(SmallStr::from("orders"), "orders");
        assert_eq!(
            SmallStr::literal("orders"),
            SmallStr::from(String::from("orders"))
        );
    }
}
