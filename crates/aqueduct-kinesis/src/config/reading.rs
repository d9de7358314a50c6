use std::time::Duration;

use aqueduct_core::{Options, Result, SmallStr};

/// The options of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) mode: ReadMode,
    pub(crate) broken: OnBroken,
    /// The least time between two polls of one reader. Default: 1 s, so that five readers share the
    /// five polls a second that a shard allows.
    pub(crate) poll_interval: Duration,
}

/// The way in which records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// GetRecords: 2 MiB/s and 5 requests a second per shard, shared by all polling readers.
    Polling,
    /// SubscribeToShard: 2 MiB/s per shard and consumer, billed by the hour.
    FanOut {
        /// The registered consumer; `None` if it is named after the group.
        consumer: Option<SmallStr>,
        /// Whether to poll if the service refuses the subscription.
        fall_back: bool,
    },
}

/// The handling of a damaged aggregated record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBroken {
    /// It is delivered as one foreign event that says so.
    Raw,
    /// It is delivered so that the group's dead letters take it.
    Reject,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            mode: ReadMode::Polling,
            broken: OnBroken::Reject,
            poll_interval: Duration::from_secs(1),
        }
    }
}

impl Reading {
    pub(super) fn read(options: &mut Options) -> Result<Self> {
        let mut read = Self::default();
        let fan_out = options.choice("read", &["polling", "fan_out"])? == Some("fan_out");
        let consumer = options.text("consumer")?;
        let fall_back = options.boolean("fan_out_fallback")?;
        if fan_out {
            if let Some(consumer) = &consumer
                && !is_consumer_name(consumer)
            {
                return Err(options.refuse(
                    "consumer",
                    "expected 1 to 128 letters, digits, `_`, `.` or `-`",
                ));
            }
            read.mode = ReadMode::FanOut {
                consumer,
                fall_back: fall_back.unwrap_or(false),
            };
        } else {
            for name in ["consumer", "fan_out_fallback"] {
                if options.contains(name) {
                    return Err(options.refuse(name, "it needs read = \"fan_out\""));
                }
            }
        }
        let broken = options.choice("broken_aggregates", &["raw", "reject"])?;
        if broken == Some("raw") {
            read.broken = OnBroken::Raw;
        }
        if let Some(interval) = options.duration("poll_interval")? {
            if interval > Duration::from_secs(60) {
                return Err(options.refuse("poll_interval", "expected at most 60s"));
            }
            read.poll_interval = interval;
        }
        Ok(read)
    }
}

/// Returns whether a name is valid for an enhanced fan-out consumer.
pub(crate) fn is_consumer_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}
