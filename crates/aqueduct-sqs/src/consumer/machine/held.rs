use aqueduct_core::{Event, Moment, Text, Timestamp};

/// A message as it arrives.
#[derive(Clone, Debug)]
pub(in crate::consumer) struct Arrival {
    /// The service's id, the same at each receipt.
    pub(in crate::consumer) message: Text,
    pub(in crate::consumer) handle: Text,
    pub(in crate::consumer) group: Option<Text>,
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
    pub(super) received_at: Moment,
    /// Hidden from others until then.
    pub(super) visible_at: Moment,
    /// Failed attempts.
    pub(super) runs: u32,
    pub(super) state: State,
    /// An extension is under way.
    pub(super) extending: bool,
    /// After an extension failed: not before.
    pub(super) extend_after: Option<Moment>,
    /// Somebody asked for it to stay hidden until then.
    pub(super) wanted: Option<Moment>,
    pub(super) timer: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It can be handed out, once it is its turn.
    Ready,
    /// It failed, and comes again then.
    Waiting(Moment),
    /// It is handed out under that ticket.
    Out(u64),
    /// It is handled, and being deleted.
    Acked,
}
