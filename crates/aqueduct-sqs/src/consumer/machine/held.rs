use aqueduct_core::{Event, Instant, SmallStr, Timestamp};

/// A message as it arrives.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct Arrival {
    /// The service's id, the same at each receipt.
    pub(in crate::consumer) message: SmallStr,
    pub(in crate::consumer) handle: SmallStr,
    pub(in crate::consumer) group: Option<SmallStr>,
    pub(in crate::consumer) event: Event,
    pub(in crate::consumer) bytes: usize,
    pub(in crate::consumer) stored_at: Option<Timestamp>,
    pub(in crate::consumer) receipts: u32,
}

/// A message that is held here.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) arrival: Arrival,
    /// The earliest moment at which the service can have handed it out.
    pub(super) received_at: Instant,
    /// Hidden from others until then.
    pub(super) visible_at: Instant,
    /// Failed attempts.
    pub(super) runs: u32,
    pub(super) state: State,
    /// An extension is under way.
    pub(super) extending: bool,
    /// After an extension failed: not before.
    pub(super) extend_after: Option<Instant>,
    /// Somebody asked for it to stay hidden until then.
    pub(super) wanted: Option<Instant>,
    pub(super) timer: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It can be handed out, once it is its turn.
    Ready,
    /// It failed, and comes again then.
    Waiting(Instant),
    /// It is handed out under that ticket.
    Out(u64),
    /// It is handled, and being deleted.
    Acked,
}
