use std::str::FromStr;
use std::time::Duration;

use super::error::AmqpError;

/// A fault of the next operation on an address; see [`EventHubs::inject`](super::EventHubs::inject).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventHubsFault {
    /// The connection is cut. A delivery to the service is not stored; an event for a receiver
    /// is not delivered.
    Cut,
    /// A delivery is stored and the connection is cut before it is settled.
    CutAfterStore,
    /// The connection is cut after the first frame of a delivery of several frames.
    CutMidDelivery,
    /// The connection stays open, and nothing comes from the service any more: no settlement, no
    /// event, no heartbeat.
    Silence,
    /// A delivery is rejected with `com.microsoft:server-busy`; a receiver is detached
    /// with it before its next event.
    Busy,
    /// A request to `$cbs` or `$management` gets status 401; another link is detached with
    /// `amqp:unauthorized-access`.
    Unauthorized,
    /// A delivery is rejected with that condition and description.
    Reject(String, String),
    /// A delivery is released, without effect.
    Release,
    /// A delivery is settled as modified, without effect.
    Modify,
    /// A delivery is stored and settled later.
    SlowSettlement(Duration),
    /// A delivery is stored and never settled.
    LoseSettlement,
    /// The next attach is refused with that condition and description.
    RefuseAttach(String, String),
    /// The next attach is refused with `amqp:link:redirect` to that host and port.
    Redirect(String, u16),
    /// The link is detached with that condition and description. A delivery is not stored.
    Detach(String, String),
}

/// Parses a fault as the program's command `inject` has it: a name, then its values. The last value may
/// have spaces.
impl FromStr for EventHubsFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.trim().split_once(' ').unwrap_or((text.trim(), ""));
        let two = |form: &str| {
            let pair = rest.trim().split_once(' ');
            pair.map(|(first, last)| (first.to_owned(), last.trim().to_owned()))
                .ok_or_else(|| format!("{name}: expected `{name} {form}`"))
        };
        let fault = match name {
            "reject" => two("CONDITION TEXT").map(|(a, b)| Self::Reject(a, b))?,
            "refuse-attach" => two("CONDITION TEXT").map(|(a, b)| Self::RefuseAttach(a, b))?,
            "detach" => two("CONDITION TEXT").map(|(a, b)| Self::Detach(a, b))?,
            "redirect" => {
                let (host, port) = two("HOST PORT")?;
                let port = port.parse();
                Self::Redirect(host, port.map_err(|_| "redirect: invalid port".to_owned())?)
            }
            "slow-settlement" => {
                let millis = rest.trim().parse().map_err(|_| {
                    "slow-settlement: expected `slow-settlement MILLISECONDS`".to_owned()
                })?;
                Self::SlowSettlement(Duration::from_millis(millis))
            }
            _ if !rest.trim().is_empty() => return Err(format!("{name} takes no value")),
            "cut" => Self::Cut,
            "cut-after-store" => Self::CutAfterStore,
            "cut-mid-delivery" => Self::CutMidDelivery,
            "silence" => Self::Silence,
            "busy" => Self::Busy,
            "unauthorized" => Self::Unauthorized,
            "release" => Self::Release,
            "modify" => Self::Modify,
            "lose-settlement" => Self::LoseSettlement,
            _ => {
                return Err(format!(
                    "unknown fault `{name}` (expected cut, cut-after-store, cut-mid-delivery, silence, busy, \
                     unauthorized, release, modify, lose-settlement, slow-settlement, reject, detach, \
                     refuse-attach or redirect)"
                ));
            }
        };
        Ok(fault)
    }
}

/// The operations to which a fault can apply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    Attach,
    /// The first frame of a delivery to the service that has more of them.
    Part,
    /// A whole delivery to the service.
    Delivery,
    /// An event for a receiver.
    Event,
}

impl EventHubsFault {
    fn applies(&self, moment: Moment) -> bool {
        match self {
            Self::RefuseAttach(..) | Self::Redirect(..) => moment == Moment::Attach,
            Self::CutMidDelivery => moment == Moment::Part,
            Self::Cut | Self::Silence | Self::Detach(..) | Self::Unauthorized => {
                matches!(moment, Moment::Delivery | Moment::Event)
            }
            Self::Busy => matches!(moment, Moment::Delivery | Moment::Event),
            _ => moment == Moment::Delivery,
        }
    }

    /// Returns the error with which a link is detached, if the fault does that.
    pub(super) fn detach(&self) -> Option<AmqpError> {
        match self {
            Self::Detach(condition, text) | Self::RefuseAttach(condition, text) => {
                Some(AmqpError::new(condition, text))
            }
            Self::Unauthorized => Some(AmqpError::unauthorized()),
            _ => None,
        }
    }
}

/// The faults that wait for their operation.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pending: Vec<(String, EventHubsFault)>,
}

impl Faults {
    pub(super) fn push(&mut self, address: &str, fault: EventHubsFault) {
        self.pending
            .push((super::node::path(address).to_owned(), fault));
    }

    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// Takes the first fault of `address` that applies.
    pub(super) fn take(&mut self, address: &str, moment: Moment) -> Option<EventHubsFault> {
        if self.pending.is_empty() {
            return None;
        }
        let mut pending = self.pending.iter();
        let at = pending
            .position(|(of, fault)| of.eq_ignore_ascii_case(address) && fault.applies(moment))?;
        Some(self.pending.remove(at).1)
    }
}
