#[cfg(test)]
mod tests;
mod wire;

use async_trait::async_trait;

use crate::{
    Error, ErrorKind, Event, GroupName, PartitionId, Position, Producer, Receipt, Result, SmallStr,
    StreamName, Timestamp,
};

/// Takes events that cannot be handled.
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// Stores each dead letter durably; each answer stands under the index of its dead letter. Burying a
    /// dead letter of the same id again is burying it once, where the backend can tell.
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>>;
}

/// Looks after the dead letters of a dead letter queue.
#[async_trait]
pub trait DeadLetterStore: DeadLetterQueue {
    /// The dead letters that match, oldest first, up to `query.limit`.
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>>;

    /// One dead letter.
    async fn show(&self, id: &DeadLetterId) -> Result<Option<StoredDeadLetter>>;

    /// Sends each dead letter's event to `to`, marked for the group that it failed in, and removes it
    /// once it is stored there. Each answer stands under the index of its id.
    async fn redrive(&self, ids: &[DeadLetterId], to: &dyn Producer) -> Vec<Result<Receipt>>;

    /// Removes dead letters for good; each answer stands under the index of its id.
    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>>;

    /// The keys that `divert_key` holds, those of dead letters that say `holds_key`: later events of
    /// such a key follow into the dead letters until it is released, even where its dead letters are gone.
    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>>;

    /// Releases a key that `divert_key` holds: its next events are handled again.
    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()>;
}

/// The name of a stored dead letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId(pub SmallStr);

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A dead letter and the name that it is stored under.
#[derive(Clone, Debug)]
pub struct StoredDeadLetter {
    /// Its name.
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
    /// Only those of that group.
    pub group: Option<GroupName>,
    /// Only those from that stream.
    pub stream: Option<StreamName>,
    /// Only those of that key.
    pub key: Option<SmallStr>,
    /// Only those behind that one, for the next page.
    pub after: Option<DeadLetterId>,
    /// The most dead letters to answer.
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

    /// Selects the dead letters behind `id`: the page after the one that `id` ended.
    #[must_use]
    pub fn after(mut self, id: DeadLetterId) -> Self {
        self.after = Some(id);
        self
    }

    /// Sets how many dead letters are returned at most.
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

/// An event that could not be handled, and everything that is known of why.
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
    /// The partition, where the backend has any.
    pub partition: Option<PartitionId>,
    /// Its position, where the backend has places.
    pub position: Option<Position>,
    /// Why it is here.
    pub reason: DeadLetterReason,
    /// In words: the reason of a rejection, the last error.
    pub message: SmallStr,
    /// Whether later events of its key follow it into the dead letters until the key is released
    /// (`divert_key`): [`DeadLetterStore::held_keys`] names the keys of such dead letters.
    pub holds_key: bool,
    /// How many attempts failed.
    pub attempts: u32,
    /// Every failure that is known, oldest first; those of an earlier process may be missing.
    pub failures: Vec<Failure>,
    /// When the backend stored the event, where it says so.
    pub stored_at: Option<Timestamp>,
    /// When it was buried.
    pub buried_at: Timestamp,
}

impl DeadLetter {
    /// The dead letter of `event`, without attempts or failures yet.
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

    /// The attribute of a redriven event that names the group that it is for.
    pub const TARGET_GROUP: SmallStr = SmallStr::literal("aqueductgroup");

    /// The event to send again, marked for the group that it failed in: other groups settle it
    /// unseen.
    pub fn redriven(&self) -> Event {
        let mut event = self.event.clone();
        event
            .attributes_mut()
            .set_checked(Self::TARGET_GROUP, self.group.text().clone().into());
        event
    }

    /// The group that `event` was redriven for, where it was.
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
    /// An earlier event of its key is a dead letter, and the key is held.
    KeyHeld,
    /// The process died while it was being handled, too often.
    Poison,
}

impl DeadLetterReason {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Exhausted,
        Self::Rejected,
        Self::Undecodable,
        Self::KeyHeld,
        Self::Poison,
    ];

    /// The reason in lower case words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::KeyHeld => "key_held",
            Self::Poison => "poison",
        }
    }

    /// The reason of that name.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == name)
            .ok_or_else(|| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("`{name}` is no reason of a dead letter"),
                )
            })
    }
}

/// One failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Which attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Timestamp,
    /// What went wrong, in words.
    pub error: SmallStr,
}
