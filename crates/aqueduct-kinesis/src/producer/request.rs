use aqueduct_core::{Error, ErrorKind, Result};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_smithy_types::Blob;

use crate::aggregation::seal;

/// Holds the records of one call in the SDK's form until they are sent.
#[derive(Default)]
pub(super) struct Entries {
    /// All of them, until the first is taken: most calls are one request, which takes the list as
    /// it is.
    whole: Vec<PutRecordsRequestEntry>,
    /// Those left, once a request took some.
    left: Vec<Option<PutRecordsRequestEntry>>,
}

impl Entries {
    pub(super) fn reserve_exact(&mut self, entries: usize) {
        self.whole.reserve_exact(entries);
    }

    #[inline(always)]
    pub(super) fn push(&mut self, entry: PutRecordsRequestEntry) {
        self.whole.push(entry);
    }

    /// Takes those of one request. A request of all of them is sorted into their order.
    pub(super) fn take(&mut self, request: &mut [u32]) -> Vec<PutRecordsRequestEntry> {
        if request.len() == self.whole.len() {
            request.sort_unstable();
            return std::mem::take(&mut self.whole);
        }
        self.left
            .extend(std::mem::take(&mut self.whole).into_iter().map(Some));
        request
            .iter()
            .filter_map(|&record| self.left.get_mut(record as usize)?.take())
            .collect()
    }

    /// Appends the checksums to the data of aggregates.
    pub(super) fn seal(&mut self, is_aggregate: impl Fn(usize) -> bool) {
        let mut aggregates: Vec<&mut PutRecordsRequestEntry> = (0..)
            .zip(&mut self.whole)
            .filter_map(|(at, entry)| is_aggregate(at).then_some(entry))
            .collect();
        let mut data: Vec<Vec<u8>> = aggregates
            .iter_mut()
            .map(|entry| std::mem::replace(&mut entry.data, Blob::new(Vec::new())).into_inner())
            .collect();
        seal(&mut data);
        for (entry, data) in aggregates.into_iter().zip(data) {
            entry.data = Blob::new(data);
        }
    }

    #[cfg(test)]
    pub(super) fn whole(&self) -> &[PutRecordsRequestEntry] {
        &self.whole
    }
}

#[inline(always)]
pub(super) fn entry(
    data: Vec<u8>,
    key: String,
    hash: Option<u128>,
) -> Result<PutRecordsRequestEntry> {
    let mut entry = PutRecordsRequestEntry::builder()
        .data(Blob::new(data))
        .partition_key(key);
    if let Some(hash) = hash {
        entry = entry.explicit_hash_key(hash.to_string());
    }
    entry.build().map_err(|failed| {
        Error::new(ErrorKind::Internal, "a record could not be built").with_source(failed)
    })
}
