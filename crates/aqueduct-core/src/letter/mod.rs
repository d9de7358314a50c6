#[cfg(test)]
mod tests;
mod wire;

use async_trait::async_trait;

use crate::{
    Error, ErrorKind, Event, GroupName, PartitionId, Position, Producer, Receipt, Result,
    StreamName, Text, Timestamp,
};

/// Takes events that cannot be handled.
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// Stores each letter durably; each answer stands under the index of its letter. Burying a
    /// letter of the same id again is burying it once, where the backend can tell.
    async fn bury(&self, letters: &[Letter]) -> Vec<Result<()>>;
}

/// Looks after the letters of a dead letter queue.
#[async_trait]
pub trait Letters: DeadLetterQueue {
    /// The letters that match, oldest first, up to `query.limit`.
    async fn list(&self, query: &LetterQuery) -> Result<Vec<StoredLetter>>;

    /// One letter.
    async fn show(&self, id: &LetterId) -> Result<Option<StoredLetter>>;

    /// Sends each letter's event to `to`, marked for the group that it failed in, and removes it
    /// once it is stored there. Each answer stands under the index of its id.
    async fn redrive(&self, ids: &[LetterId], to: &dyn Producer) -> Vec<Result<Receipt>>;

    /// Removes letters for good; each answer stands under the index of its id.
    async fn purge(&self, ids: &[LetterId]) -> Vec<Result<()>>;

    /// The keys that `letter_key` holds, those of letters that say `holds_key`: later events of
    /// such a key follow into the letters until it is released, even where its letters are gone.
    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<Text>>;

    /// Releases a key that `letter_key` holds: its next events are handled again.
    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()>;
}

/// The name of a stored letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId(pub Text);

impl std::fmt::Display for LetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A letter and the name that it is stored under.
#[derive(Clone, Debug)]
pub struct StoredLetter {
    /// Its name.
    pub id: LetterId,
    /// The letter.
    pub letter: Letter,
}

/// Which letters to list.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LetterQuery {
    /// Only those of that group.
    pub group: Option<GroupName>,
    /// Only those from that stream.
    pub stream: Option<StreamName>,
    /// Only those of that key.
    pub key: Option<Text>,
    /// Only those behind that one, for the next page.
    pub after: Option<LetterId>,
    /// The most letters to answer.
    pub limit: usize,
}

impl Default for LetterQuery {
    /// All letters, 100 a page.
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
/// use aqueduct_core::{Event, Letter, LetterReason, Timestamp};
///
/// let event = Event::new("order.placed").with_source("/shop").with_key("VINET");
/// let letter = Letter::new(
///     event.clone(),
///     "orders".into(),
///     "billing".into(),
///     LetterReason::Rejected,
///     "no such customer",
///     Timestamp::EPOCH,
/// );
/// let carried = letter.to_event()?;
/// assert_eq!(carried.key(), Some("VINET"));
/// assert_eq!(Letter::from_event(&carried)?, letter);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Letter {
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
    pub reason: LetterReason,
    /// In words: the reason of a rejection, the last error.
    pub message: Text,
    /// Whether later events of its key follow it into the letters until the key is released
    /// (`letter_key`): [`Letters::held_keys`] names the keys of such letters.
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

impl Letter {
    /// The letter of `event`, without attempts or failures yet.
    pub fn new(
        event: Event,
        stream: StreamName,
        group: GroupName,
        reason: LetterReason,
        message: impl Into<Text>,
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
    pub const TARGET_GROUP: Text = Text::literal("aqueductgroup");

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

/// Why an event became a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LetterReason {
    /// Its last attempt failed.
    Exhausted,
    /// A handler rejected it.
    Rejected,
    /// Its data does not decode.
    Undecodable,
    /// An earlier event of its key is a letter, and the key is held.
    KeyHeld,
    /// The process died while it was being handled, too often.
    Poison,
}

impl LetterReason {
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
                    format!("`{name}` is no reason of a letter"),
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
    pub error: Text,
}
