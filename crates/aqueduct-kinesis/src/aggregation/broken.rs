use std::fmt;

use aqueduct_core::protobuf_wire::Malformed;

/// The reason why data is not a readable aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokenAggregate {
    /// The magic bytes are missing: an ordinary record.
    NotAggregated,
    /// The MD5 trailer does not match the message.
    Checksum,
    /// The Protobuf message is truncated, or lacks a required field.
    Malformed,
    /// A record refers to a key outside the tables.
    Index,
    /// A partition key is not UTF-8, or an explicit hash key is not a decimal number of 128 bits.
    Key,
}

impl BrokenAggregate {
    /// Returns whether Amazon's KCL delivers such a record unchanged. Of the others it delivers the
    /// inner records before the broken one and loses the rest.
    pub fn is_raw_for_kcl(self) -> bool {
        matches!(self, Self::NotAggregated | Self::Checksum | Self::Malformed)
    }
}

impl fmt::Display for BrokenAggregate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAggregated => "not an aggregated record",
            Self::Checksum => "the checksum of the aggregated record is wrong",
            Self::Malformed => "the aggregated record is cut short or malformed",
            Self::Index => "the aggregated record names a key that it does not have",
            Self::Key => "the aggregated record has an invalid key",
        })
    }
}

impl std::error::Error for BrokenAggregate {}

impl From<Malformed> for BrokenAggregate {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
