use std::fmt;

use crate::{Error, ErrorKind, Event, Result, SmallStr};

/// An ability of a backend, or of a consumer made of one, that a group may require.
///
/// ```
/// use aqueduct_core::{Capability, Claim, Claims};
///
/// let claims = Claims::none().with(Capability::KeyOrder, Claim::Yes);
/// assert_eq!(*claims.get(Capability::KeyOrder), Claim::Yes);
/// assert_eq!(Capability::KeyOrder.to_string(), "key_order");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
#[repr(u8)]
pub enum Capability {
    /// Events of one key are delivered in the order in which they were sent.
    KeyOrder,
    /// Settled events can be read again.
    Replay,
    /// Reading can start at a time.
    StartAtTime,
    /// The stream has partitions with positions: it is a log.
    Positions,
    /// The number of partitions can change while it is used.
    Resharding,
    /// The lag of a group can be measured.
    Lag,
    /// A nack may ask for a delay.
    DelayedNack,
    /// `attempt` counts runs of the handler, not receipts.
    HandlerAttempts,
    /// Events that `send` acknowledged survive a crash of the machine.
    Durable,
    /// Several processes share the stream.
    Shared,
    /// It stores leases.
    Leases,
    /// It stores idempotency records.
    Idempotency,
    /// It stores dead letters that can be listed, shown, redriven and purged.
    DeadLetters,
    /// The completion of an event and the application's own writes can be one transaction.
    Transactions,
    /// Streams can be created and described.
    Admin,
    /// Each group of readers sees every event; without it all readers share them.
    Groups,
}

impl Capability {
    /// Every capability, in the order of declaration.
    pub const ALL: [Self; 16] = [
        Self::KeyOrder,
        Self::Replay,
        Self::StartAtTime,
        Self::Positions,
        Self::Resharding,
        Self::Lag,
        Self::DelayedNack,
        Self::HandlerAttempts,
        Self::Durable,
        Self::Shared,
        Self::Leases,
        Self::Idempotency,
        Self::DeadLetters,
        Self::Transactions,
        Self::Admin,
        Self::Groups,
    ];

    /// Returns the name, as written in `requires`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::KeyOrder => "key_order",
            Self::Replay => "replay",
            Self::StartAtTime => "start_at_time",
            Self::Positions => "positions",
            Self::Resharding => "resharding",
            Self::Lag => "lag",
            Self::DelayedNack => "delayed_nack",
            Self::HandlerAttempts => "handler_attempts",
            Self::Durable => "durable",
            Self::Shared => "shared",
            Self::Leases => "leases",
            Self::Idempotency => "idempotency",
            Self::DeadLetters => "dead_letters",
            Self::Transactions => "transactions",
            Self::Admin => "admin",
            Self::Groups => "groups",
        }
    }

    /// Parses a capability from its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|capability| capability.as_str() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The claim on one capability, before or after opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is offered.
    Yes,
    /// It is not offered, with the reason.
    No(SmallStr),
    /// It depends on the service, and is known after opening.
    WhenOpened,
}

/// A claim per capability; the default is `No`.
///
/// ```
/// use aqueduct_core::{Capability, Claim, Claims};
///
/// let log = Claims::of(&[Capability::KeyOrder, Capability::Replay]);
/// let leases = Claims::of(&[Capability::KeyOrder]).with(Capability::Replay, Claim::WhenOpened);
/// let group = log.and(&leases);
/// assert!(group.has(Capability::KeyOrder) && !group.has(Capability::Replay));
/// assert_eq!(*group.get(Capability::Replay), Claim::WhenOpened);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims([Claim; Capability::ALL.len()]);

impl Claims {
    /// Creates a set that claims nothing.
    pub fn none() -> Self {
        Self(Capability::ALL.map(|_| Claim::No(SmallStr::literal("the backend does not offer it"))))
    }

    /// Creates a set that claims exactly these.
    pub fn of(capabilities: &[Capability]) -> Self {
        capabilities
            .iter()
            .fold(Self::none(), |claims, &it| claims.with(it, Claim::Yes))
    }

    /// Replaces the claim on one capability.
    #[must_use]
    pub fn with(mut self, capability: Capability, claim: Claim) -> Self {
        self.0[capability as usize] = claim;
        self
    }

    /// Returns the claim on `capability`.
    pub fn get(&self, capability: Capability) -> &Claim {
        &self.0[capability as usize]
    }

    /// Returns whether `capability` is claimed outright.
    pub fn has(&self, capability: Capability) -> bool {
        *self.get(capability) == Claim::Yes
    }

    /// Returns the weaker claim of each capability: what both can do together.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            match (&*mine, theirs) {
                (Claim::No(_), _) | (Claim::WhenOpened, Claim::Yes | Claim::WhenOpened) => {}
                _ => *mine = theirs.clone(),
            }
        }
        self
    }
}

/// The size limits of a backend; `None` if it has none of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// The largest encoded event, in bytes.
    pub event_bytes: Option<usize>,
    /// The most events of one `send_batch`.
    pub batch_events: Option<usize>,
    /// The most encoded bytes of one `send_batch`.
    pub batch_bytes: Option<usize>,
}

impl Limits {
    /// Checks an event that takes `encoded_bytes` as this backend encodes it.
    ///
    /// # Errors
    /// `TooLarge`, naming the event, its size and the limit.
    pub fn check_event(&self, event: &Event, encoded_bytes: usize) -> Result<()> {
        match self.event_bytes {
            Some(limit) if encoded_bytes > limit => Err(Error::new(
                ErrorKind::TooLarge,
                format!(
                    "event {} of type {} takes {encoded_bytes} bytes, and {limit} are allowed",
                    event.id(),
                    event.kind()
                ),
            )),
            _ => Ok(()),
        }
    }
}

/// The claims and size limits of something that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The claims, none of them open once it was opened.
    pub claims: Claims,
    /// The sizes that it takes.
    pub limits: Limits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_its_place_and_its_name() {
        for (at, capability) in Capability::ALL.into_iter().enumerate() {
            assert_eq!(capability as usize, at);
            assert_eq!(Capability::from_name(capability.as_str()), Some(capability));
        }
    }

    #[test]
    fn the_weaker_claim_wins() {
        let order = Capability::KeyOrder;
        let yes = Claims::of(&[order]);
        let open = Claims::none().with(order, Claim::WhenOpened);
        assert_eq!(*yes.clone().and(&open).get(order), Claim::WhenOpened);
        assert_eq!(*open.clone().and(&yes).get(order), Claim::WhenOpened);
        assert!(matches!(open.and(&Claims::none()).get(order), Claim::No(_)));
        assert!(yes.has(order));
    }

    #[test]
    fn an_event_over_the_limit_is_refused_with_both_sizes() {
        let event = Event::new("order.placed").with_id("A1");
        let limits = Limits {
            event_bytes: Some(100),
            ..Limits::default()
        };
        assert!(limits.check_event(&event, 100).is_ok());
        assert!(Limits::default().check_event(&event, usize::MAX).is_ok());
        let error = limits.check_event(&event, 101).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge);
        assert_eq!(
            error.to_string(),
            "event A1 of type order.placed takes 101 bytes, and 100 are allowed"
        );
    }
}
