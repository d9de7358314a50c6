#![expect(missing_docs, reason = "the README lists operations and fields")]

use aqueduct_core::Position;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

/// The version of the format, in the first line of a history.
pub const FORMAT: u32 = 1;

/// A short text: the name of a process, key, event or partition.
pub type Text = SmolStr;

/// One line of a history. The README lists the fields that an operation needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryLine {
    /// Microseconds on the clock of the writer of the history.
    pub time: u64,
    pub process: Text,
    pub op: Op,
    pub phase: Phase,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<Text>,
    /// The owner after a write of a lease; `None` if it was released.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "write_position",
        deserialize_with = "read_position"
    )]
    pub position: Option<Position>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the owner counts its lease as lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<u64>,
    /// Whether the checkpoint is the end of the partition.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
    /// The partitions that a closing member could not give up.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<u32>,
    /// The attempts after which an event may become a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Whether effects are made in one transaction with their completion.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub effects_once: bool,
    /// Whether settlements are not written: the success of a handler, or its last attempt, settles then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_acks: bool,
    /// The writes of leases of the whole run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<u64>,
    /// The most that the stated cost and the faults of the scenario allow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_writes: Option<u64>,
}

/// The operations of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Op {
    Run,
    Send,
    Store,
    Own,
    Disown,
    Lease,
    Ask,
    Withdraw,
    Handle,
    Ack,
    Reject,
    DeadLetter,
    Effect,
    Flush,
    Close,
    Kill,
}

/// The state of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It begins.
    Invoke,
    /// It happened.
    Ok,
    /// It did not happen.
    Fail,
    /// It may have happened.
    Unknown,
}

impl HistoryLine {
    /// Creates a record without optional fields.
    pub fn new(time: u64, process: impl Into<Text>, op: Op, phase: Phase) -> Self {
        Self {
            time,
            process: process.into(),
            op,
            phase,
            key: None,
            event: None,
            partition: None,
            position: None,
            owner: None,
            generation: None,
            attempt: None,
            until: None,
            ended: false,
            kept: Vec::new(),
            why: None,
            format: None,
            attempts: None,
            effects_once: false,
            without_acks: false,
            writes: None,
            most_writes: None,
        }
    }

    /// Names the event.
    #[must_use]
    pub fn event(mut self, event: impl Into<Text>) -> Self {
        self.event = Some(event.into());
        self
    }

    /// Names the key of the event.
    #[must_use]
    pub fn key(mut self, key: Option<Text>) -> Self {
        self.key = key;
        self
    }

    /// Names the partition.
    #[must_use]
    pub fn partition(mut self, partition: impl Into<Text>) -> Self {
        self.partition = Some(partition.into());
        self
    }

    /// Names the position.
    #[must_use]
    pub fn position(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// Names the generation of the lease.
    #[must_use]
    pub fn generation(mut self, generation: u64) -> Self {
        self.generation = Some(generation);
        self
    }

    /// Names the attempt of the handler.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Self {
        self.attempt = Some(attempt);
        self
    }
}

fn write_position<S: Serializer>(
    position: &Option<Position>,
    to: S,
) -> std::result::Result<S::Ok, S::Error> {
    match position {
        Some(position) => to.collect_str(position),
        None => to.serialize_none(),
    }
}

fn read_position<'de, D: Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Position>, D::Error> {
    let text = String::deserialize(from)?;
    text.parse().map(Some).map_err(serde::de::Error::custom)
}
