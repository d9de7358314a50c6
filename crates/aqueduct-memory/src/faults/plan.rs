use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use aqueduct_core::{ErrorKind, Event, Result, Runtime};

use super::{MemoryFault, Operation};
use crate::log::Verdict;
use aqueduct_core::sync::lock;

/// The scheduled faults of one stream.
#[derive(Default)]
pub(crate) struct Plan {
    armed: AtomicBool,
    cuts: AtomicU64,
    state: Mutex<Arranged>,
}

/// The faults that tests have scheduled.
#[derive(Default)]
pub(super) struct Arranged {
    pub(super) next: BTreeMap<Operation, VecDeque<(u64, MemoryFault)>>,
    pub(super) chances: Vec<(Operation, f64, MemoryFault)>,
    pub(super) events: Vec<(Pick, MemoryFault)>,
    pub(super) denied: bool,
    pub(super) hits: BTreeMap<Operation, u64>,
}

/// Selects the events that a fault applies to.
pub(super) enum Pick {
    Matching(u64, Box<dyn Fn(&Event) -> bool + Send + Sync>),
    Chance(f64),
}

impl Plan {
    /// Returns whether any fault is scheduled: the only cost of a call without faults.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// Returns how often all connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.cuts.load(Ordering::Relaxed)
    }

    pub(super) fn cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    /// Draws the fault of this call; `None` if it is not hit.
    pub(crate) fn draw(&self, operation: Operation, runtime: &Runtime) -> Option<MemoryFault> {
        if !self.is_armed() {
            return None;
        }
        let mut state = self.lock();
        let fault = state.draw(operation, runtime)?;
        *state.hits.entry(operation).or_default() += 1;
        self.armed.store(state.is_armed(), Ordering::Release);
        Some(fault)
    }

    /// Draws the outcome of one event of a call that was not hit as a whole.
    pub(crate) fn judge(&self, event: &Event, runtime: &Runtime) -> Verdict {
        let mut state = self.lock();
        let Some(fault) = state.draw_event(event, runtime) else {
            return Verdict::Store;
        };
        *state.hits.entry(Operation::Send).or_default() += 1;
        self.armed.store(state.is_armed(), Ordering::Release);
        match (fault.error(), fault.applied_prefix(1, runtime)) {
            (None, _) => Verdict::Store,
            (Some(error), 0) => Verdict::Fail(error.clone()),
            (Some(error), _) => Verdict::StoreAndFail(error.clone()),
        }
    }

    /// Runs `work` with the fault of this call, if it is hit.
    pub(crate) async fn run<T>(
        &self,
        operation: Operation,
        runtime: &Runtime,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let Some(fault) = self.draw(operation, runtime) else {
            return work();
        };
        fault.delay_request(runtime).await;
        let answer = match fault.error() {
            None => work(),
            Some(error) => {
                if fault.applied_prefix(1, runtime) == 1 {
                    drop(work());
                }
                Err(error.clone())
            }
        };
        fault.delay_answer(runtime).await;
        answer
    }

    /// Delays or fails a call before it does its work.
    pub(crate) async fn interrupt(&self, operation: Operation, runtime: &Runtime) -> Result<()> {
        self.run(operation, runtime, || Ok(())).await
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Arranged> {
        lock(&self.state)
    }

    /// Changes the scheduled faults.
    pub(super) fn arrange(&self, change: impl FnOnce(&mut Arranged)) {
        let mut state = self.lock();
        change(&mut state);
        self.armed.store(state.is_armed(), Ordering::Release);
    }
}

impl Arranged {
    fn is_armed(&self) -> bool {
        self.denied || !self.next.is_empty() || !self.chances.is_empty() || !self.events.is_empty()
    }

    fn draw(&mut self, operation: Operation, runtime: &Runtime) -> Option<MemoryFault> {
        if self.denied {
            return Some(MemoryFault::refused(ErrorKind::Denied));
        }
        if let Some(queue) = self.next.get_mut(&operation) {
            while let Some((left, fault)) = queue.front_mut() {
                if *left == 0 {
                    queue.pop_front();
                    continue;
                }
                *left -= 1;
                let fault = fault.clone();
                if *left == 0 {
                    queue.pop_front();
                }
                if queue.is_empty() {
                    self.next.remove(&operation);
                }
                return Some(fault);
            }
            self.next.remove(&operation);
        }
        self.chances
            .iter()
            .filter(|(hit, ..)| *hit == operation)
            .find(|(_, probability, _)| happens(*probability, runtime))
            .map(|(.., fault)| fault.clone())
    }

    fn draw_event(&mut self, event: &Event, runtime: &Runtime) -> Option<MemoryFault> {
        let at = self.events.iter().position(|(pick, _)| match pick {
            Pick::Matching(left, matches) => *left > 0 && matches(event),
            Pick::Chance(probability) => happens(*probability, runtime),
        })?;
        let (pick, fault) = &mut self.events[at];
        let fault = fault.clone();
        if let Pick::Matching(left, _) = pick {
            *left -= 1;
            if *left == 0 {
                self.events.remove(at);
            }
        }
        Some(fault)
    }
}

fn happens(probability: f64, runtime: &Runtime) -> bool {
    ((runtime.random() >> 11) as f64) < probability * (1u64 << 53) as f64
}
