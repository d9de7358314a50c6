use aqueduct_core::{DeadLetter, DeadLetterId, SmallStr, StoredDeadLetter};

/// The position of a dead letter, encoded in its id as `ORDER.MESSAGE`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Place {
    /// Rises with the dead letters of a process.
    pub order: u64,
    /// The service's id of the message.
    pub message: SmallStr,
}

/// A message, read as a dead letter.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Scanned<H> {
    /// Its position.
    pub place: Place,
    /// The dead letter.
    pub dead_letter: DeadLetter,
    /// Identifies copies of a dead letter that was stored twice; `None` for a foreign one, and for one
    /// whose event was redriven before: its next failure is a new dead letter.
    pub same: Option<DeadLetterId>,
    /// Deletes the message, or gives it back.
    pub handle: H,
}

impl Place {
    /// Creates a position.
    pub fn new(order: u64, message: SmallStr) -> Self {
        Self { order, message }
    }

    /// Returns the position that an id holds; `None` if the id is malformed.
    pub fn of(id: &DeadLetterId) -> Option<Self> {
        let (order, message) = id.0.split_once('.')?;
        Some(Self {
            order: order.parse().ok()?,
            message: message.into(),
        })
    }

    /// Returns the id of the dead letter.
    pub fn id(&self) -> DeadLetterId {
        DeadLetterId(format!("{}.{}", self.order, self.message).into())
    }
}

impl<H> Scanned<H> {
    /// Creates the dead letter of a message; `foreign` if it was not stored as one.
    pub fn new(place: Place, dead_letter: DeadLetter, foreign: bool, handle: H) -> Self {
        let redriven = DeadLetter::target_group(&dead_letter.event).is_some();
        Self {
            same: (!foreign && !redriven).then(|| dead_letter.id()),
            place,
            dead_letter,
            handle,
        }
    }

    /// Returns it as the application sees it.
    pub fn to_dead_letter(&self) -> StoredDeadLetter {
        StoredDeadLetter {
            id: self.place.id(),
            dead_letter: self.dead_letter.clone(),
        }
    }
}
