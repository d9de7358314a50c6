use bytes::Bytes;

use super::digest::md5_of_each;
use super::tables::{Numbers, Slot, Texts};
use super::{DIGEST, MAGIC};
use aqueduct_core::protobuf_wire::{length_tag, put_varint, varint_size, varint_tag};

/// Builds an aggregate: records are pushed, then [`take`](Self::take) returns the data of the
/// record that carries them.
///
/// Each partition key and explicit hash key is written once. Nothing is allocated per record
/// beyond the growth of four buffers, which `take` leaves ready for the next aggregate.
///
/// ```
/// use aqueduct_kinesis::aggregation::{Aggregate, split};
///
/// let mut aggregate = Aggregate::new();
/// aggregate.push("customer-7", None, b"ordered");
/// let whole = aggregate.size_with("customer-7", None, b"paid".len());
/// aggregate.push("customer-7", None, b"paid");
///
/// let data = aggregate.take();
/// assert_eq!(data.len(), whole);
/// assert_eq!(split(&data)?[1].data, "paid");
/// # Ok::<(), aqueduct_kinesis::aggregation::BrokenAggregate>(())
/// ```
#[derive(Default)]
pub struct Aggregate {
    keys: Texts,
    hashes: Numbers,
    records: Vec<u8>,
    len: usize,
}

impl Aggregate {
    /// Creates an empty aggregate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the number of records.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether it has no records.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the exact number of bytes that [`take`](Self::take) would return.
    pub fn size(&self) -> usize {
        MAGIC.len() + self.message() + DIGEST
    }

    /// Returns the exact number of bytes that [`take`](Self::take) would return with another record.
    pub fn size_with(
        &self,
        partition_key: &str,
        explicit_hash: Option<u128>,
        data: usize,
    ) -> usize {
        self.size() + self.plan(partition_key, explicit_hash, data).grows
    }

    /// Adds a record.
    pub fn push(&mut self, partition_key: &str, explicit_hash: Option<u128>, data: &[u8]) {
        let plan = self.plan(partition_key, explicit_hash, data.len());
        self.put(partition_key, explicit_hash, data, plan);
    }

    /// Adds a record unless the aggregate would exceed `limit` bytes, and returns whether it did.
    /// Cheaper than [`size_with`](Self::size_with) and [`push`](Self::push).
    #[must_use]
    pub fn try_push(
        &mut self,
        partition_key: &str,
        explicit_hash: Option<u128>,
        data: &[u8],
        limit: usize,
    ) -> bool {
        let plan = self.plan(partition_key, explicit_hash, data.len());
        if self.size() + plan.grows > limit {
            return false;
        }
        self.put(partition_key, explicit_hash, data, plan);
        true
    }

    /// Returns the data of the record that carries all records pushed so far, and empties the
    /// aggregate, which keeps its buffers.
    pub fn take(&mut self) -> Bytes {
        let mut data = [self.take_unsealed()];
        seal(&mut data);
        let [data] = data;
        data.into()
    }

    /// Like [`take`](Self::take), with room for the checksum, which [`seal`] writes.
    pub(crate) fn take_unsealed(&mut self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.size());
        data.extend_from_slice(&MAGIC);
        data.extend_from_slice(self.keys.fields());
        data.extend_from_slice(self.hashes.fields());
        data.extend_from_slice(&self.records);
        self.clear();
        data
    }

    /// Removes all records.
    pub(crate) fn clear(&mut self) {
        self.keys.clear();
        self.hashes.clear();
        self.records.clear();
        self.len = 0;
    }

    /// Like [`take`](Self::take), for an aggregate that is not used again.
    pub fn finish(mut self) -> Bytes {
        self.take()
    }

    /// Returns the size of the Protobuf message.
    fn message(&self) -> usize {
        self.keys.fields().len() + self.hashes.fields().len() + self.records.len()
    }

    #[inline]
    fn plan(&self, partition_key: &str, explicit_hash: Option<u128>, data: usize) -> Plan {
        let key = self.keys.find(partition_key);
        let hash = explicit_hash.map(|hash| self.hashes.find(hash));
        let body = 1
            + varint_size(key.index as u64)
            + hash.map_or(0, |hash| 1 + varint_size(hash.index as u64))
            + 1
            + varint_size(data as u64)
            + data;
        let record = 1 + varint_size(body as u64) + body;
        Plan {
            key,
            hash,
            body,
            grows: key.grows + hash.map_or(0, |hash| hash.grows) + record,
        }
    }

    #[inline]
    fn put(&mut self, partition_key: &str, explicit_hash: Option<u128>, data: &[u8], plan: Plan) {
        self.keys.put(1, partition_key, plan.key);
        let out = &mut self.records;
        out.push(length_tag(3));
        put_varint(out, plan.body as u64);
        out.push(varint_tag(1));
        put_varint(out, plan.key.index as u64);
        if let (Some(hash), Some(slot)) = (explicit_hash, plan.hash) {
            self.hashes.put(2, hash, slot);
            out.push(varint_tag(2));
            put_varint(out, slot.index as u64);
        }
        out.push(length_tag(3));
        put_varint(out, data.len() as u64);
        out.extend_from_slice(data);
        self.len += 1;
    }
}

impl std::fmt::Debug for Aggregate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aggregate")
            .field("len", &self.len)
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

/// Writes the checksums of aggregates taken without them. Hashing several together is faster.
pub(crate) fn seal(unsealed: &mut [Vec<u8>]) {
    let messages: Vec<&[u8]> = unsealed.iter().map(|data| &data[MAGIC.len()..]).collect();
    let digests = md5_of_each(&messages);
    for (data, digest) in unsealed.iter_mut().zip(digests) {
        data.extend_from_slice(&digest);
    }
}

/// The table slots of a record's keys and its size.
#[derive(Clone, Copy)]
struct Plan {
    key: Slot,
    hash: Option<Slot>,
    body: usize,
    grows: usize,
}
