use std::fmt;

use aqueduct_core::HashRange;
use aqueduct_core::protobuf_wire::{Field, Fields};
use bytes::Bytes;
use md5::{Digest as _, Md5};

use super::{BrokenAggregate, DIGEST, MAGIC, is_aggregated};
use crate::hash::{hash_of, parse_hash};

/// A record of an aggregate.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InnerRecord<'a> {
    /// The index in the aggregate, from 0: the sub-sequence number of its position. Dropped records
    /// count, so the index is the same on every shard.
    pub index: u64,
    /// The partition key.
    pub partition_key: &'a str,
    /// The explicit hash key, if it has one.
    pub explicit_hash_key: Option<u128>,
    /// The data: a slice of the aggregate's data.
    pub data: Bytes,
}

impl InnerRecord<'_> {
    /// Returns the hash key: the explicit one, else the MD5 of the partition key.
    pub fn hash(&self) -> u128 {
        self.explicit_hash_key
            .unwrap_or_else(|| hash_of(self.partition_key))
    }
}

impl fmt::Debug for InnerRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InnerRecord")
            .field("index", &self.index)
            .field("data", &self.data.len())
            .finish_non_exhaustive()
    }
}

/// The records of an aggregate that lie in the range of a shard.
#[derive(Debug)]
#[non_exhaustive]
pub struct Within<'a> {
    /// The records within the range, in order.
    pub records: Vec<InnerRecord<'a>>,
    /// The number of records outside the range: another shard has them, or their producer sends
    /// them again.
    pub dropped: usize,
}

/// Returns the records of an aggregate, in order. An aggregate may be empty.
///
/// Data is not copied. Memory grows with the records present, never with a count that the
/// aggregate states: at most about 17 bytes per byte of `data`.
pub fn split(data: &Bytes) -> Result<Vec<InnerRecord<'_>>, BrokenAggregate> {
    let tables = Tables::read(data)?;
    let mut records = Vec::with_capacity(tables.records);
    tables.each(data, |_, record| records.push(record))?;
    Ok(records)
}

/// Returns the records of an aggregate within `range`, in order.
///
/// Each key is hashed once.
pub fn split_within(data: &Bytes, range: HashRange) -> Result<Within<'_>, BrokenAggregate> {
    let tables = Tables::read(data)?;
    let whole = range.first == 0 && range.last == u128::MAX;
    let mut known = vec![None; if whole { 0 } else { tables.keys.len() }];
    let mut records = Vec::with_capacity(tables.records);
    tables.each(data, |key, record| {
        let within = whole
            || match record.explicit_hash_key {
                Some(hash) => range.contains(hash),
                None => {
                    *known[key].get_or_insert_with(|| range.contains(hash_of(record.partition_key)))
                }
            };
        if within {
            records.push(record);
        }
    })?;
    Ok(Within {
        dropped: tables.records - records.len(),
        records,
    })
}

/// The key tables that the records of an aggregate refer to.
struct Tables<'a> {
    message: &'a [u8],
    keys: Vec<&'a str>,
    hashes: Vec<u128>,
    records: usize,
}

impl<'a> Tables<'a> {
    fn read(data: &'a [u8]) -> Result<Self, BrokenAggregate> {
        if !is_aggregated(data) {
            return Err(BrokenAggregate::NotAggregated);
        }
        let (message, digest) = data[MAGIC.len()..].split_at(data.len() - MAGIC.len() - DIGEST);
        if Md5::digest(message)[..] != *digest {
            return Err(BrokenAggregate::Checksum);
        }
        let mut tables = Self {
            message,
            keys: Vec::new(),
            hashes: Vec::new(),
            records: 0,
        };
        let mut fields = Fields::new(message);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Bytes(key)) => tables.keys.push(text(key)?),
                (2, Field::Bytes(hash)) => {
                    let hash = parse_hash(text(hash)?).ok_or(BrokenAggregate::Key)?;
                    tables.hashes.push(hash);
                }
                (3, Field::Bytes(_)) => tables.records += 1,
                _ => {}
            }
        }
        Ok(tables)
    }

    /// Visits each record with the index of its partition key.
    fn each(
        &self,
        data: &'a Bytes,
        mut give: impl FnMut(usize, InnerRecord<'a>),
    ) -> Result<(), BrokenAggregate> {
        let mut fields = Fields::new(self.message);
        let mut index = 0;
        while let Some(field) = fields.next()? {
            let (3, Field::Bytes(record)) = field else {
                continue;
            };
            let raw = RawRecord::read(record)?;
            let key = usize::try_from(raw.key).map_err(|_| BrokenAggregate::Index)?;
            let partition_key = *self.keys.get(key).ok_or(BrokenAggregate::Index)?;
            let explicit_hash_key = match raw.hash {
                Some(hash) => {
                    let hash = usize::try_from(hash).map_err(|_| BrokenAggregate::Index)?;
                    Some(*self.hashes.get(hash).ok_or(BrokenAggregate::Index)?)
                }
                None => None,
            };
            let inner = InnerRecord {
                index,
                partition_key,
                explicit_hash_key,
                data: data.slice_ref(raw.data),
            };
            give(key, inner);
            index += 1;
        }
        Ok(())
    }
}

/// A record whose keys are still indices.
struct RawRecord<'a> {
    key: u64,
    hash: Option<u64>,
    data: &'a [u8],
}

impl<'a> RawRecord<'a> {
    #[inline]
    fn read(record: &'a [u8]) -> Result<Self, BrokenAggregate> {
        let (mut key, mut hash, mut data) = (None, None, None);
        let mut fields = Fields::new(record);
        while let Some(field) = fields.next()? {
            match field {
                (1, Field::Number(index)) => key = Some(index),
                (2, Field::Number(index)) => hash = Some(index),
                (3, Field::Bytes(bytes)) => data = Some(bytes),
                _ => {}
            }
        }
        match (key, data) {
            (Some(key), Some(data)) => Ok(Self { key, hash, data }),
            _ => Err(BrokenAggregate::Malformed),
        }
    }
}

fn text(bytes: &[u8]) -> Result<&str, BrokenAggregate> {
    std::str::from_utf8(bytes).map_err(|_| BrokenAggregate::Key)
}
