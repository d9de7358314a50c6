//! Which records go into which request of one call. No I/O, no clock.

use aqueduct_core::Instant;

/// The most records of one request.
pub(super) const REQUEST_RECORDS: usize = 500;

/// A record to send, as far as its place in a request depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Where it goes: records of one queue share keys at most with each other.
    pub(super) queue: u32,
    /// How many records of its queue must be stored before it, one after the other.
    pub(super) level: u32,
    pub(super) bytes: u32,
}

/// The records of one call that wait for a request.
///
/// Two records that hold the same key have different levels, and a level of a queue begins when
/// the one before has its answers: so no request holds a key twice, and no later event of a key
/// overtakes an earlier one.
pub(super) struct Schedule {
    queues: Vec<Queue>,
    request_bytes: usize,
    /// Where the next request begins to look, so that none starves.
    first: usize,
}

#[derive(Default)]
struct Queue {
    /// By level, then in order.
    waiting: Vec<u32>,
    next: usize,
    level: u32,
    unanswered: u32,
}

/// What may become of the record at the front of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Go,
    /// It is not sent in this call, and that is noted already; the next one is looked at.
    LeaveOut,
    /// The queue waits until then.
    Wait(Instant),
    /// The queue waits for longer than the call: the rest of it is left out.
    TooLate,
}

/// What to do next.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The records of the next request; none where nothing may go now.
    pub(super) request: Vec<u32>,
    /// Those that wait for too long, and are not sent any more.
    pub(super) left_out: Vec<u32>,
    /// When to ask again although no answer came.
    pub(super) wait: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(slots: &[Slot], request_bytes: usize) -> Self {
        let count = slots.iter().map(|slot| slot.queue + 1).max().unwrap_or(0);
        let mut queues: Vec<Queue> = Vec::new();
        queues.resize_with(count as usize, || Queue {
            waiting: Vec::with_capacity(slots.len() / count as usize),
            ..Queue::default()
        });
        for (at, slot) in slots.iter().enumerate() {
            queues[slot.queue as usize].waiting.push(at as u32);
        }
        let level_of = |at: &u32| slots[*at as usize].level;
        for queue in &mut queues {
            if !queue.waiting.is_sorted_by_key(level_of) {
                queue.waiting.sort_by_key(level_of);
            }
        }
        Self {
            queues,
            request_bytes,
            first: 0,
        }
    }

    /// The next request, as `gate` lets records go; it is told the record and whether it is the
    /// first of its queue in the request.
    pub(super) fn next(&mut self, slots: &[Slot], mut gate: impl FnMut(u32, bool) -> Gate) -> Step {
        let mut step = Step::default();
        let mut bytes = 0;
        let count = self.queues.len();
        let waiting = |queue: &Queue| queue.waiting.len() - queue.next;
        let waiting: usize = self.queues.iter().map(waiting).sum();
        step.request.reserve_exact(waiting.min(REQUEST_RECORDS));
        for turn in 0..count {
            let at = (self.first + turn) % count;
            let queue = &mut self.queues[at];
            let mut begins = true;
            while let Some(&item) = queue.waiting.get(queue.next) {
                let slot = slots[item as usize];
                if slot.level > queue.level {
                    if queue.unanswered > 0 {
                        break;
                    }
                    queue.level = slot.level;
                }
                let size = slot.bytes as usize;
                let full = step.request.len() >= REQUEST_RECORDS
                    || (!step.request.is_empty() && bytes + size > self.request_bytes);
                if full {
                    self.first = at;
                    return step;
                }
                match gate(item, begins) {
                    Gate::Go => {
                        begins = false;
                        bytes += size;
                        queue.next += 1;
                        queue.unanswered += 1;
                        step.request.push(item);
                    }
                    Gate::LeaveOut => queue.next += 1,
                    Gate::Wait(until) => {
                        step.wait = Some(step.wait.map_or(until, |known| known.min(until)));
                        break;
                    }
                    Gate::TooLate => {
                        step.left_out
                            .extend_from_slice(&queue.waiting[queue.next..]);
                        queue.next = queue.waiting.len();
                    }
                }
            }
        }
        self.first = 0;
        step
    }

    /// The records of a request have their answers.
    pub(super) fn answered(&mut self, slots: &[Slot], request: &[u32]) {
        for &item in request {
            let queue = &mut self.queues[slots[item as usize].queue as usize];
            queue.unanswered = queue.unanswered.saturating_sub(1);
        }
    }

    /// Takes everything that waits.
    pub(super) fn take_rest(&mut self) -> Vec<u32> {
        let mut rest = Vec::new();
        for queue in &mut self.queues {
            rest.extend_from_slice(&queue.waiting[queue.next..]);
            queue.next = queue.waiting.len();
        }
        rest
    }
}
