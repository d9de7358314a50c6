#[cfg(test)]
mod tests;
mod wire;

use async_trait::async_trait;

use crate::{
    Error, ErrorKind, Event, GroupName, PartitionId, Position, Producer, Receipt, Result, SmallStr,
    StreamName, Timestamp,
};

/// Stores events that cannot be handled.
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// Stores each dead letter durably and returns one result per dead letter, in the same order.
    /// Storing the same id again has no effect if the backend detects duplicates.
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>>;
}

/// Lists, redrives and purges stored dead letters.
#[async_trait]
pub trait DeadLetterStore: DeadLetterQueue {
    /// Returns the dead letters that match, oldest first, up to `query.limit`.
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>>;

    /// Returns one dead letter.
    async fn show(&self, id: &DeadLetterId) -> Result<Option<StoredDeadLetter>>;

    /// Sends each dead letter's event to `to`, marked for the group that it failed in, and removes it
    /// once it is stored there. Returns one result per id, in the same order.
    async fn redrive(&self, ids: &[DeadLetterId], to: &dyn Producer) -> Vec<Result<Receipt>>;

    /// Deletes dead letters. Returns one result per id, in the same order.
    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>>;

    /// Returns the keys that `divert_key` holds (from dead letters with `holds_key`). Later events of
    /// such a key become dead letters until it is released, even after its dead letters are deleted.
    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>>;

    /// Releases a key that `divert_key` holds: its next events are handled again.
    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()>;
}

/// The identifier of a stored dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId(pub SmallStr);

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stored dead letter and its id.
#[derive(Clone, Debug)]
pub struct StoredDeadLetter {
    /// The id that the store assigned.
    pub id: DeadLetterId,
    /// The dead letter.
    pub dead_letter: DeadLetter,
}

/// Selects the dead letters to list.
///
/// ```
/// use aqueduct_core::DeadLetterQuery;
///
/// let query = DeadLetterQuery::new().of_group("billing").of_key("VINET").with_limit(10);
/// assert_eq!(query.limit, 10);
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeadLetterQuery {
    /// Matches this group only.
    pub group: Option<GroupName>,
    /// Matches this stream only.
    pub stream: Option<StreamName>,
    /// Matches this key only.
    pub key: Option<SmallStr>,
    /// Matches dead letters after this one, for the next page.
    pub after: Option<DeadLetterId>,
    /// The maximum number of dead letters to return.
    pub limit: usize,
}

impl DeadLetterQuery {
    /// Creates a query for all dead letters, 100 per page.
    pub fn new() -> Self {
        Self::default()
    }

    /// Selects the dead letters of `group` only.
    #[must_use]
    pub fn of_group(mut self, group: impl Into<GroupName>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// Selects the dead letters from `stream` only.
    #[must_use]
    pub fn of_stream(mut self, stream: impl Into<StreamName>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Selects the dead letters of `key` only.
    #[must_use]
    pub fn of_key(mut self, key: impl Into<SmallStr>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Selects the dead letters after `id`, the last one of the previous page.
    #[must_use]
    pub fn after(mut self, id: DeadLetterId) -> Self {
        self.after = Some(id);
        self
    }

    /// Sets the maximum number of dead letters to return.
    #[must_use]
    pub fn with_limit(mut self, limit: usize) -> Self {
        self.limit = limit;
        self
    }
}

impl Default for DeadLetterQuery {
    /// All dead letters, 100 per page.
    fn default() -> Self {
        Self {
            group: None,
            stream: None,
            key: None,
            after: None,
            limit: 100,
        }
    }
}

/// An event that could not be handled, with the reason and the failed attempts.
///
/// ```
/// use aqueduct_core::{DeadLetter, DeadLetterReason, Event, Timestamp};
///
/// let event = Event::new("order.placed").with_source("/shop").with_key("VINET");
/// let dead_letter = DeadLetter::new(
///     event.clone(),
///     "orders".into(),
///     "billing".into(),
///     DeadLetterReason::Rejected,
///     "no such customer",
///     Timestamp::EPOCH,
/// );
/// let carried = dead_letter.to_event()?;
/// assert_eq!(carried.key(), Some("VINET"));
/// assert_eq!(DeadLetter::from_event(&carried)?, dead_letter);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The event, as it was received.
    pub event: Event,
    /// The stream that it was read from.
    pub stream: StreamName,
    /// The group that could not handle it.
    pub group: GroupName,
    /// The partition; `None` on a queue.
    pub partition: Option<PartitionId>,
    /// Its position in the partition; `None` on a queue.
    pub position: Option<Position>,
    /// Why the event became a dead letter.
    pub reason: DeadLetterReason,
    /// The reason of the rejection or the last error, as text.
    pub message: SmallStr,
    /// Whether later events of its key become dead letters too until the key is released
    /// (`divert_key`). [`DeadLetterStore::held_keys`] lists such keys.
    pub holds_key: bool,
    /// The number of failed attempts.
    pub attempts: u32,
    /// The known failures, oldest first; those of an earlier process may be missing.
    pub failures: Vec<Failure>,
    /// When the backend stored the event; `None` if it does not report that.
    pub stored_at: Option<Timestamp>,
    /// When the dead letter was created.
    pub buried_at: Timestamp,
}

impl DeadLetter {
    /// Creates the dead letter of `event`, without attempts or failures yet.
    pub fn new(
        event: Event,
        stream: StreamName,
        group: GroupName,
        reason: DeadLetterReason,
        message: impl Into<SmallStr>,
        buried_at: Timestamp,
    ) -> Self {
        Self {
            event,
            stream,
            group,
            partition: None,
            position: None,
            reason,
            message: message.into(),
            holds_key: false,
            attempts: 0,
            failures: Vec::new(),
            stored_at: None,
            buried_at,
        }
    }

    /// The attribute that names the target group of a redriven event.
    pub const TARGET_GROUP: SmallStr = SmallStr::literal("aqueductgroup");

    /// Returns the event to send again, marked for the group that it failed in. Other groups settle
    /// it without handling it.
    pub fn redriven(&self) -> Event {
        let mut event = self.event.clone();
        event
            .attributes_mut()
            .set_checked(Self::TARGET_GROUP, self.group.text().clone().into());
        event
    }

    /// Returns the group that `event` was redriven for; `None` if it was not redriven.
    pub fn target_group(event: &Event) -> Option<&str> {
        event.attributes().get(&Self::TARGET_GROUP)?.as_str()
    }
}

/// Why an event became a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadLetterReason {
    /// Its last attempt failed.
    Exhausted,
    /// A handler rejected it.
    Rejected,
    /// Its data does not decode.
    Undecodable,
    /// An earlier event of its key is a dead letter and holds the key.
    KeyHeld,
    /// The process died too often while handling it.
    Poison,
}

impl DeadLetterReason {
    /// Every reason.
    pub const ALL: [Self; 5] = [
        Self::Exhausted,
        Self::Rejected,
        Self::Undecodable,
        Self::KeyHeld,
        Self::Poison,
    ];

    /// Returns the reason in lower case, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::KeyHeld => "key_held",
            Self::Poison => "poison",
        }
    }

    /// Parses a reason from its stored name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("unknown dead letter reason `{name}`"),
                )
            })
    }
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Timestamp,
    /// The error, as text.
    pub error: SmallStr,
}
