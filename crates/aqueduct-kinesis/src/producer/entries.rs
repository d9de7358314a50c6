use aqueduct_core::{Error, ErrorKind, Result};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use aws_smithy_types::Blob;

use crate::aggregation::seal;

/// The records of one call as the SDK takes them, until they are sent.
#[derive(Default)]
pub(super) struct Entries {
    /// While none was taken: most calls are one request, which takes them as they lie.
    whole: Vec<PutRecordsRequestEntry>,
    /// From then on.
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

    /// Those of one request. Where it takes all of them, it is put in their order.
    pub(super) fn take(&mut self, request: &mut [u32]) -> Vec<PutRecordsRequestEntry> {
        if request.len() == self.whole.len() {
            request.sort_unstable();
            return std::mem::take(&mut self.whole);
        }
        self.left
            .extend(std::mem::take(&mut self.whole).into_iter().map(Some));
        request
            .iter()
            .filter_map(|&item| self.left.get_mut(item as usize)?.take())
            .collect()
    }

    /// Puts the checksums behind the data of aggregates.
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
        Error::new(ErrorKind::Internal, "a record could not be put together").with_source(failed)
    })
}
