use aqueduct_core::{Options, Result, Text};

/// How records are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) mode: ReadMode,
    pub(crate) on_broken: OnBroken,
}

/// Which of the service's two ways of reading is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ReadMode {
    /// GetRecords: 2 MiB/s and 5 requests a second per shard, shared by all who poll.
    Polling,
    /// SubscribeToShard: 2 MiB/s per shard of its own, at a price.
    FanOut {
        /// The registered consumer; `None`: named after the group.
        consumer: Option<Text>,
        /// Whether to poll where the service refuses.
        fall_back: bool,
    },
}

/// What becomes of an aggregated record that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OnBroken {
    /// It is delivered as one foreign event.
    Raw,
    /// The reader fails.
    Fail,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            mode: ReadMode::Polling,
            on_broken: OnBroken::Raw,
        }
    }
}

impl Reading {
    pub(super) fn read(options: &mut Options) -> Result<Self> {
        let mut read = Self::default();
        let fan_out = options.choice("reader", &["polling", "fan-out"])? == Some("fan-out");
        let consumer = options.text("consumer")?;
        let refused = options.choice("fan_out_refused", &["fail", "polling"])?;
        if fan_out {
            read.mode = ReadMode::FanOut {
                consumer,
                fall_back: refused == Some("polling"),
            };
        } else {
            for name in ["consumer", "fan_out_refused"] {
                if options.contains(name) {
                    return Err(options.refuse(name, "it needs reader = \"fan-out\""));
                }
            }
        }
        if options.choice("on_broken", &["raw", "fail"])? == Some("fail") {
            read.on_broken = OnBroken::Fail;
        }
        Ok(read)
    }
}
