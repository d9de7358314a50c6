mod query;
mod redrive;
#[cfg(test)]
mod tests;
mod wire;

use async_trait::async_trait;

pub use self::query::DeadLetterQuery;
pub use self::redrive::DeadLetterStoreExt;
use crate::{
    Error, ErrorKind, Event, GroupName, PartitionId, Position, Result, SmallStr, StreamName,
    Timestamp,
};

/// Stores events that cannot be handled.
///
/// ```
/// use aqueduct_core::{DeadLetter, DeadLetterQueue, Result};
///
/// async fn keep(queue: &dyn DeadLetterQueue, dead_letter: DeadLetter) -> Result<()> {
///     let stored = queue.put(&[dead_letter]).await;
///     stored.into_iter().collect()
/// }
/// ```
#[async_trait]
pub trait DeadLetterQueue: Send + Sync {
    /// Stores each dead letter durably and returns one result per dead letter, in the same order.
    /// Storing the same id again has no effect if the backend detects duplicates.
    ///
    /// # Errors
    /// `TooLarge` if the place does not take a dead letter of that size; `Full` without room for it or for
    /// the key that it holds; `Unavailable`, `TimedOut` or `Throttled` if storing it again may help; `Denied`
    /// without the rights to it. After any of them it counts as not stored and is put again.
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>>;
}

/// Lists, shows and purges stored dead letters. [`DeadLetterStoreExt`] redrives them.
///
/// # Errors
/// Every method returns `Unavailable`, `TimedOut` or `Throttled` if the store cannot be reached now, `Denied`
/// without the rights to it, and `Corrupt` if what is stored cannot be read.
///
/// ```
/// use aqueduct_core::{DeadLetterQuery, DeadLetterStore, Result};
///
/// async fn report(store: &dyn DeadLetterStore) -> Result<()> {
///     let mut query = DeadLetterQuery::new().of_group("billing");
///     loop {
///         let page = store.list(&query).await?;
///         for stored in &page {
///             println!("{}: {}", stored.id, stored.dead_letter.message);
///         }
///         match page.last() {
///             Some(last) => query.after = Some(last.id.clone()),
///             None => return Ok(()),
///         }
///     }
/// }
/// ```
#[async_trait]
pub trait DeadLetterStore: DeadLetterQueue {
    /// Returns the dead letters that match, oldest first, up to `query.limit`.
    ///
    /// # Errors
    /// `Invalid` if `query.after` is not an id of this store; `Full` if there are more dead letters than
    /// the store can list.
    async fn list(&self, query: &DeadLetterQuery) -> Result<Vec<StoredDeadLetter>>;

    /// Returns the dead letters of those ids, one result per id, in the same order.
    ///
    /// # Errors
    /// `NotFound` for an id that is not stored, or that is not an id of this store.
    async fn show(&self, ids: &[DeadLetterId]) -> Vec<Result<StoredDeadLetter>>;

    /// Deletes dead letters. Returns one result per id, in the same order.
    ///
    /// # Errors
    /// `NotFound` for an id that is not stored, or that is not an id of this store.
    async fn purge(&self, ids: &[DeadLetterId]) -> Vec<Result<()>>;

    /// Returns the keys that `divert_key` holds (from dead letters with `holds_key`). Later events of
    /// such a key become dead letters until it is released, even after its dead letters are deleted.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn held_keys(&self, group: &GroupName, stream: &StreamName) -> Result<Vec<SmallStr>>;

    /// Releases a key that `divert_key` holds: its next events are handled again. Succeeds if the key is
    /// not held.
    ///
    /// # Errors
    /// Those of every method of this trait.
    async fn release_key(&self, group: &GroupName, stream: &StreamName, key: &str) -> Result<()>;
}

/// The identifier of a stored dead letter.
///
/// ```
/// use aqueduct_core::DeadLetterId;
///
/// let id = DeadLetterId("42".into());
/// assert_eq!(id.to_string(), "42");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeadLetterId(pub SmallStr);

impl std::fmt::Display for DeadLetterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A stored dead letter and its id.
///
/// ```
/// use aqueduct_core::{DeadLetterReason, StoredDeadLetter};
///
/// fn exhausted(page: Vec<StoredDeadLetter>) -> Vec<StoredDeadLetter> {
///     let exhausted = |it: &StoredDeadLetter| it.dead_letter.reason == DeadLetterReason::Exhausted;
///     page.into_iter().filter(exhausted).collect()
/// }
/// assert!(exhausted(Vec::new()).is_empty());
/// ```
#[derive(Clone, Debug)]
pub struct StoredDeadLetter {
    /// The id that the store assigned.
    pub id: DeadLetterId,
    /// The dead letter.
    pub dead_letter: DeadLetter,
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

    /// The attribute of an event whose data was cut when its dead letter was stored: the number of bytes
    /// that the data had.
    pub const DATA_BYTES: SmallStr = SmallStr::literal("aqueductdatabytes");

    /// Returns the event to send again, with its id, marked for the group that it failed in: other groups
    /// settle it without handling it. A [foreign](DeadLetterReason::Foreign) one is for every group.
    ///
    /// # Errors
    /// `Corrupt` if only a part of its data was stored.
    pub fn redriven(&self) -> Result<Event> {
        if let Some(bytes) = self.event.attributes().get(&Self::DATA_BYTES) {
            let what = format!(
                "the dead letter of event {} has only part of its {bytes} bytes of data: send the event \
                 again from where it came from, then purge the dead letter",
                self.event.id()
            );
            return Err(Error::new(ErrorKind::Corrupt, what));
        }
        let mut event = self.event.clone();
        if self.reason != DeadLetterReason::Foreign {
            event
                .attributes_mut()
                .set_checked(Self::TARGET_GROUP, self.group.text().clone().into());
        }
        Ok(event)
    }

    /// Returns whether `again` is the same failure, stored twice, so that a store keeps one of both: the
    /// same event of the same group from the same place. Without positions, an event that was redriven
    /// failed once more.
    pub fn is_same_failure(&self, again: &Self) -> bool {
        let event = |it: &Self| (it.event.id().clone(), it.event.source_text().clone());
        (&self.group, &self.stream) == (&again.group, &again.stream)
            && event(self) == event(again)
            && (&self.partition, self.position) == (&again.partition, again.position)
            && (again.position.is_some() || Self::target_group(&again.event).is_none())
    }

    /// Returns the group that `event` was redriven for; `None` if it was not redriven.
    pub fn target_group(event: &Event) -> Option<&str> {
        event.attributes().get(&Self::TARGET_GROUP)?.as_str()
    }
}

/// Why an event became a dead letter.
///
/// ```
/// use aqueduct_core::DeadLetterReason;
///
/// assert_eq!(DeadLetterReason::KeyHeld.as_str(), "key_held");
/// assert_eq!(DeadLetterReason::from_name("poison")?, DeadLetterReason::Poison);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
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
    /// A service's own policy moved it here, or a program that is not a group sent it.
    Foreign,
}

impl DeadLetterReason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Exhausted,
        Self::Rejected,
        Self::Undecodable,
        Self::KeyHeld,
        Self::Poison,
        Self::Foreign,
    ];

    /// Returns the reason in lower case, as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exhausted => "exhausted",
            Self::Rejected => "rejected",
            Self::Undecodable => "undecodable",
            Self::KeyHeld => "key_held",
            Self::Poison => "poison",
            Self::Foreign => "foreign",
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
///
/// ```
/// use aqueduct_core::{Failure, Timestamp};
///
/// let failure = Failure { attempt: 5, at: Timestamp::EPOCH, error: "the gateway is busy".into() };
/// assert_eq!(failure.attempt, 5);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When it failed.
    pub at: Timestamp,
    /// The error, as text.
    pub error: SmallStr,
}
