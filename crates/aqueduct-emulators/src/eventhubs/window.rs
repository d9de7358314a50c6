use super::allowance::Allowance;
use super::amqp::Performative;
use super::context::Context;

/// The transfers of the client in a session: which ids are due, and how many frames it may send.
#[derive(Debug)]
pub(super) struct IncomingWindow {
    /// The id of the next transfer frame.
    expected: u32,
    allowance: Allowance,
    last_delivery: Option<u32>,
}

impl IncomingWindow {
    pub(super) fn new(expected: u32, limit: u32) -> Self {
        Self {
            expected,
            allowance: Allowance::new(limit, limit),
            last_delivery: None,
        }
    }

    /// Counts a transfer frame.
    pub(super) fn transfer(&mut self, context: &Context) {
        if !self.allowance.take(context.output.written()) {
            let detail = format!(
                "transfer {} exceeds the incoming window of the session",
                self.expected
            );
            context.violation("session-window", detail);
        }
        self.expected = self.expected.wrapping_add(1);
    }

    /// Returns the id of a delivery. `partial` is the one whose frames are still coming.
    pub(super) fn delivery(
        &mut self,
        partial: Option<u32>,
        id: Option<u32>,
        context: &Context,
    ) -> u32 {
        if let Some(current) = partial {
            if let Some(id) = id
                && id != current
            {
                let detail = format!("a frame of delivery {current} has the delivery id {id}");
                context.violation("delivery-id", detail);
            }
            return current;
        }
        let due = self.last_delivery.map(|last| last.wrapping_add(1));
        let found = id.or(due).unwrap_or(0);
        match (id, due) {
            (None, _) => {
                let detail = "the first frame of a delivery has no delivery id";
                context.violation("delivery-id", detail);
            }
            (Some(id), Some(due)) if id != due => {
                context.violation("delivery-id", format!("expected {due}, got {id}"));
            }
            _ => {}
        }
        self.last_delivery = Some(found);
        found
    }

    /// Compares a flow with what was counted.
    pub(super) fn check(&mut self, flow: &Performative, context: &Context) {
        let Some(next) = flow.field(2).as_u32() else {
            context.violation("protocol", "a flow without next-outgoing-id");
            return;
        };
        if next != self.expected {
            let detail = format!(
                "a flow says next-outgoing-id {next}; by the frames that came it is {}",
                self.expected
            );
            context.violation("transfer-id", detail);
            self.expected = next;
        }
    }

    /// Returns true if a flow has to open the window again.
    pub(super) fn is_low(&self) -> bool {
        self.allowance.is_low()
    }

    /// Opens the window by a flow that is made now; returns next-incoming-id and incoming-window.
    pub(super) fn open(&mut self) -> (u32, u32) {
        (self.expected, self.allowance.limit())
    }

    /// The flow that opened the window ends at `position` of the output.
    pub(super) fn opened(&mut self, position: u64) {
        self.allowance.fill(position);
    }
}

/// The transfers of the service in a session, within the window of the client.
#[derive(Debug)]
pub(super) struct OutgoingWindow {
    next: u32,
    left: u32,
    delivery: u32,
}

impl OutgoingWindow {
    pub(super) fn new(window: u32) -> Self {
        Self {
            next: FIRST,
            left: window,
            delivery: 0,
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.left == 0
    }

    /// Takes room for one frame.
    pub(super) fn take(&mut self) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        self.next = self.next.wrapping_add(1);
        true
    }

    pub(super) fn next_delivery(&mut self) -> u32 {
        let id = self.delivery;
        self.delivery = self.delivery.wrapping_add(1);
        id
    }

    /// Takes the window of a flow.
    pub(super) fn flow(&mut self, flow: &Performative, context: &Context) {
        let incoming = flow.field(0).as_u32();
        let window = flow.field(1).as_u32().unwrap_or(0);
        let seen = incoming.unwrap_or(FIRST);
        if seen.wrapping_sub(self.next).wrapping_sub(1) < HALF {
            let detail = format!(
                "next-incoming-id {seen} lies after {}, the next one",
                self.next
            );
            context.violation("transfer-id", detail);
            return;
        }
        let left = seen.wrapping_add(window).wrapping_sub(self.next);
        self.left = if left < HALF { left } else { 0 };
    }

    /// Checks the deliveries that a client settles.
    pub(super) fn disposition(&self, frame: &Performative, context: &Context) {
        let Some(first) = frame.field(1).as_u32() else {
            context.violation("disposition", "a disposition without the first delivery id");
            return;
        };
        let last = frame.field(2).as_u32().unwrap_or(first);
        // Serial numbers: a distance of more than half the range is negative.
        if last.wrapping_sub(first) >= HALF {
            context.violation(
                "disposition",
                format!("the range {first} to {last} is reversed"),
            );
        }
        if last.wrapping_sub(self.delivery) < HALF {
            let detail = format!(
                "delivery {last} was never sent; the next one is {}",
                self.delivery
            );
            context.violation("disposition", detail);
        }
    }

    /// Returns next-outgoing-id.
    pub(super) fn next(&self) -> u32 {
        self.next
    }
}

/// The id of the first transfer.
const FIRST: u32 = 1;
/// Half the range of serial numbers.
const HALF: u32 = 1 << 31;
