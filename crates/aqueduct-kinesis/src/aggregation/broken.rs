use std::fmt;

/// Why data is no aggregate, or one that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BrokenAggregate {
    /// It does not begin like an aggregate: an ordinary record.
    NotAggregated,
    /// The MD5 at the end is not the one of the message.
    Checksum,
    /// The message is no Protobuf of an aggregate: cut short, or a required field is missing.
    Malformed,
    /// A record names a key that the tables do not have.
    Index,
    /// A partition key is not UTF-8, or an explicit hash key no decimal number of 128 bits.
    Key,
}

impl BrokenAggregate {
    /// Whether Amazon's KCL delivers such a record as it is. Of the others it delivers the inner
    /// records before the broken one and loses the rest.
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
