//! Divides the records of one call into requests. No I/O, no clock.

use aqueduct_core::Instant;

/// The most records of one request.
pub(super) const REQUEST_RECORDS: usize = 500;

/// The properties of a record that decide when it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scheduled {
    /// Its queue: records share keys only within one queue.
    pub(super) queue: u32,
    /// The number of records of its queue that must complete before it, one after the other.
    pub(super) level: u32,
    pub(super) bytes: u32,
}

/// The records of one call that wait for a request.
///
/// Two records with a common key have different levels, and a level of a queue begins once the one
/// before has its results: so no request holds a key twice, and no event of a key overtakes an
/// earlier one (rule 2).
pub(super) struct Schedule {
    queues: Vec<Queue>,
    request_bytes: usize,
    /// The queue at which the next request begins, so that none starves.
    first: usize,
}

#[derive(Default)]
struct Queue {
    /// By level, then in order.
    waiting: Vec<u32>,
    next: usize,
    level: u32,
    in_flight: u32,
}

/// Decides about the record at the front of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Go,
    /// It is not sent in this call and has its outcomes already.
    Skip,
    /// The queue waits until then.
    Wait(Instant),
    /// The queue would wait for longer than the call lasts: the rest of it is skipped.
    TooLate,
}

/// The next step of a call.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The records of the next request; empty if nothing may be sent now.
    pub(super) request: Vec<u32>,
    /// Those that would wait for too long and are not sent.
    pub(super) skipped: Vec<u32>,
    /// When to ask again even if no request completes.
    pub(super) wait: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(scheduled: &[Scheduled], request_bytes: usize) -> Self {
        let count = scheduled
            .iter()
            .map(|scheduled| scheduled.queue + 1)
            .max()
            .unwrap_or(0);
        let mut queues: Vec<Queue> = Vec::new();
        queues.resize_with(count as usize, || Queue {
            waiting: Vec::with_capacity(scheduled.len() / count as usize),
            ..Queue::default()
        });
        for (at, scheduled) in scheduled.iter().enumerate() {
            queues[scheduled.queue as usize].waiting.push(at as u32);
        }
        let level_of = |at: &u32| scheduled[*at as usize].level;
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

    /// Returns the next request. `gate` decides about each record; it is given the record and whether
    /// it is the first of its queue in the request.
    pub(super) fn next(
        &mut self,
        scheduled: &[Scheduled],
        mut gate: impl FnMut(u32, bool) -> Gate,
    ) -> Step {
        let mut step = Step::default();
        let mut bytes = 0;
        let count = self.queues.len();
        let waiting = |queue: &Queue| queue.waiting.len() - queue.next;
        let waiting: usize = self.queues.iter().map(waiting).sum();
        step.request.reserve_exact(waiting.min(REQUEST_RECORDS));
        for offset in 0..count {
            let at = (self.first + offset) % count;
            let queue = &mut self.queues[at];
            let mut begins = true;
            while let Some(&record) = queue.waiting.get(queue.next) {
                let scheduled = scheduled[record as usize];
                if scheduled.level > queue.level {
                    if queue.in_flight > 0 {
                        break;
                    }
                    queue.level = scheduled.level;
                }
                let size = scheduled.bytes as usize;
                let full = step.request.len() >= REQUEST_RECORDS
                    || (!step.request.is_empty() && bytes + size > self.request_bytes);
                if full {
                    self.first = at;
                    return step;
                }
                match gate(record, begins) {
                    Gate::Go => {
                        begins = false;
                        bytes += size;
                        queue.next += 1;
                        queue.in_flight += 1;
                        step.request.push(record);
                    }
                    Gate::Skip => queue.next += 1,
                    Gate::Wait(until) => {
                        step.wait = Some(step.wait.map_or(until, |known| known.min(until)));
                        break;
                    }
                    Gate::TooLate => {
                        step.skipped.extend_from_slice(&queue.waiting[queue.next..]);
                        queue.next = queue.waiting.len();
                    }
                }
            }
        }
        self.first = 0;
        step
    }

    /// Records that a request has its results.
    pub(super) fn completed(&mut self, scheduled: &[Scheduled], request: &[u32]) {
        for &record in request {
            let queue = &mut self.queues[scheduled[record as usize].queue as usize];
            queue.in_flight = queue.in_flight.saturating_sub(1);
        }
    }

    /// Takes all waiting records.
    pub(super) fn take_rest(&mut self) -> Vec<u32> {
        let mut rest = Vec::new();
        for queue in &mut self.queues {
            rest.extend_from_slice(&queue.waiting[queue.next..]);
            queue.next = queue.waiting.len();
        }
        rest
    }
}
