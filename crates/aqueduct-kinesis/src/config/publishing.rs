use std::time::Duration;

use aqueduct_core::{Options, Result};

/// The options of sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Publishing {
    pub(crate) aggregation: Aggregation,
    /// The largest aggregated record. Default 256 KiB: other readers expect no more.
    pub(crate) aggregation_bytes: usize,
    /// The largest request, data and partition keys. Default 4 MiB: below the 5 MiB that the
    /// service accepted until 2025 and some emulators still enforce.
    pub(crate) request_bytes: usize,
    /// The largest record, data and partition key. Default: the limit of the stream, else 1 MiB.
    pub(crate) max_record_bytes: Option<usize>,
    /// Whether the rate limiter keeps a throttling shard within its limits.
    pub(crate) rate_limit: bool,
    /// The age at which the shard map is read again.
    pub(crate) shards_refresh: Duration,
}

/// Whether several events share a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aggregation {
    /// On for the CloudEvents encodings; off for `raw`, whose readers may not deaggregate.
    Auto,
    On,
    Off,
}

pub(crate) const LARGEST_RECORD: usize = 10 << 20;
pub(crate) const LARGEST_REQUEST: usize = 10 << 20;

impl Default for Publishing {
    fn default() -> Self {
        Self {
            aggregation: Aggregation::Auto,
            aggregation_bytes: 256 << 10,
            request_bytes: 4 << 20,
            max_record_bytes: None,
            rate_limit: true,
            shards_refresh: Duration::from_secs(60),
        }
    }
}

impl Publishing {
    pub(super) fn read(options: &mut Options) -> Result<Self> {
        let mut read = Self::default();
        match options.choice("aggregation", &["auto", "on", "off"])? {
            Some("on") => read.aggregation = Aggregation::On,
            Some("off") => read.aggregation = Aggregation::Off,
            _ => {}
        }
        if let Some(bytes) = bytes_within(options, "aggregation_bytes", 4 << 10, LARGEST_RECORD)? {
            read.aggregation_bytes = bytes;
        }
        if let Some(bytes) = bytes_within(options, "request_bytes", 64 << 10, LARGEST_REQUEST)? {
            read.request_bytes = bytes;
        }
        read.max_record_bytes = bytes_within(options, "max_record_bytes", 4 << 10, LARGEST_RECORD)?;
        if let Some(rate_limit) = options.choice("rate_limit", &["auto", "off"])? {
            read.rate_limit = rate_limit == "auto";
        }
        match options.duration("shards_refresh")? {
            Some(age) if age < Duration::from_secs(1) => {
                return Err(options.refuse("shards_refresh", "at least 1s"));
            }
            Some(age) => read.shards_refresh = age,
            None => {}
        }
        Ok(read)
    }
}

fn bytes_within(
    options: &mut Options,
    name: &'static str,
    least: usize,
    most: usize,
) -> Result<Option<usize>> {
    match options.bytes(name)? {
        Some(bytes) if !(least as u64..=most as u64).contains(&bytes) => Err(options.refuse(
            name,
            format_args!("from {}KiB to {}MiB", least >> 10, most >> 20),
        )),
        bytes => Ok(bytes.map(|bytes| bytes as usize)),
    }
}
