//! The aggregation format of Amazon's Kinesis Producer Library (KPL): many records in one.
//!
//! An aggregate is the four bytes `F3 89 9A C2`, the Protobuf message below, and the MD5 of that
//! message.
//!
//! ```proto
//! message AggregatedRecord {
//!   repeated string partition_key_table     = 1;
//!   repeated string explicit_hash_key_table = 2;  // decimal numbers of 128 bits
//!   repeated Record records                 = 3;
//! }
//! message Record {
//!   required uint64 partition_key_index     = 1;
//!   optional uint64 explicit_hash_key_index = 2;
//!   required bytes  data                    = 3;
//!   repeated Tag    tags                    = 4;  // never written, ignored
//! }
//! ```
//!
//! [`Aggregate`] writes it, byte for byte as Amazon's libraries do. [`split`] and
//! [`split_within`] read it without copying data, in whatever order the fields come.
//!
//! # Shards that split or merge
//!
//! An aggregate goes to one shard, and its records must all lie there. After a split it may
//! reach a shard that does not hold all of them. Then the Kinesis Client Library (KCL) delivers
//! **none** of its records, on either shard. [`split_within`] drops those outside alone, so that
//! nothing that any producer counts as stored is lost. A producer that wants KCL consumers to
//! see every record therefore takes no record of an aggregate as stored unless the shard of the
//! receipt holds them all.
//!
//! # Broken aggregates
//!
//! | what is wrong | KCL | here |
//! |---|---|---|
//! | the checksum ([`BrokenAggregate::Checksum`]) | delivers the record as it is | [`split`] fails, the caller chooses |
//! | the Protobuf ([`BrokenAggregate::Malformed`]) | delivers the record as it is | likewise |
//! | an index outside its table, a bad hash key | delivers the records before it, loses the rest | likewise |

mod aggregate;
mod broken;
mod digest;
mod split;
mod tables;

pub use aggregate::Aggregate;
pub(crate) use aggregate::seal;
pub use broken::BrokenAggregate;
pub use split::{InnerRecord, Within, split, split_within};

/// The partition key of an aggregate of several records, as in the KPL: the explicit hash key
/// decides the shard, and each byte of the key counts against the record limit.
pub const OUTER_KEY: &str = "a";

/// The magic bytes of an aggregate.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// The length of the checksum at the end.
const DIGEST: usize = 16;

/// Returns whether data begins like an aggregate and is longer than an empty one. [`split`]
/// decides whether it is one.
pub fn is_aggregated(data: &[u8]) -> bool {
    data.len() > MAGIC.len() + DIGEST && data.starts_with(&MAGIC)
}
