use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aqueduct_core::{
    Effect, Error, ErrorKind, Event, OwnerId, PartitionId, Result, Retry, Runtime,
};

use crate::error;
use crate::log::Verdict;
use crate::stream::{Stream, lock};

/// Makes things go wrong in one stream: a handle that tests keep beside the client.
///
/// Chances are drawn from the [`Runtime`] of whoever is hit, so they follow from the seed in a
/// simulation. A stream without faults pays one branch a call.
///
/// ```
/// use aqueduct_core::ErrorKind;
/// use aqueduct_memory::{Applied, Fault, MemoryBackend, Operation};
/// use std::time::Duration;
///
/// let backend = MemoryBackend::new();
/// let faults = backend.faults("orders");
/// faults.next(Operation::Send, 3, Fault::throttled(Duration::from_millis(50)));
/// faults.chance(Operation::LeaseWrite, 0.05, Fault::lost_answer(Applied::Maybe));
/// faults.fail_events(1, Fault::refused(ErrorKind::Unavailable), |event| event.key() == Some("VINET"));
/// ```
#[derive(Clone)]
pub struct Faults(Arc<Stream>);

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// Opening a resource or a partition.
    Open,
    /// A `send_batch` as a whole.
    Send,
    /// A read of a partition; one that waits is hit at once.
    Read,
    /// Listing partitions, resolving a start, asking for a tail, and administration.
    Describe,
    /// Reading leases and group records.
    LeaseRead,
    /// Writing leases and group records.
    LeaseWrite,
    /// Any call of the idempotency store.
    Idempotency,
    /// Any call of the letters.
    Letters,
}

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    error: Option<Error>,
    applied: Applied,
    request: Duration,
    answer: Duration,
}

/// Whether a call whose answer is lost took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// That is drawn. Of a batch of events, a prefix of drawn length is stored.
    Maybe,
}

impl Fault {
    /// The call is refused with an error of that kind, without effect.
    pub fn refused(kind: ErrorKind) -> Self {
        Self::error_of(Error::new(kind, format!("injected: {kind}")), Applied::No)
    }

    /// The call is throttled, with the hint to wait that long.
    pub fn throttled(wait: Duration) -> Self {
        let error = Error::new(ErrorKind::Throttled, "injected: throttled");
        Self::error_of(error.with_retry(Retry::After(wait)), Applied::No)
    }

    /// The call's answer is lost: `TimedOut` with `Effect::Unknown`.
    pub fn lost_answer(applied: Applied) -> Self {
        let error = Error::new(ErrorKind::TimedOut, "injected: the answer is lost");
        Self::error_of(error.with_effect(Effect::Unknown), applied)
    }

    /// A conditional write is told that somebody else was first, though nobody was.
    pub fn conflict() -> Self {
        Self::refused(ErrorKind::Conflict)
    }

    /// The call takes effect that much later.
    pub fn late_request(by: Duration) -> Self {
        Self::slow().with_delays(by, Duration::ZERO)
    }

    /// The call takes effect at once and is answered that much later.
    pub fn late_answer(by: Duration) -> Self {
        Self::slow().with_delays(Duration::ZERO, by)
    }

    /// The same, and slow: `request` before it takes effect, `answer` after it.
    #[must_use]
    pub fn with_delays(mut self, request: Duration, answer: Duration) -> Self {
        (self.request, self.answer) = (request, answer);
        self
    }

    fn slow() -> Self {
        Self {
            error: None,
            applied: Applied::Yes,
            request: Duration::ZERO,
            answer: Duration::ZERO,
        }
    }

    fn error_of(error: Error, applied: Applied) -> Self {
        Self {
            error: Some(error),
            applied,
            ..Self::slow()
        }
    }

    pub(crate) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// How many of a batch take effect although it fails.
    pub(crate) fn applied_prefix(&self, count: usize, runtime: &Runtime) -> usize {
        match self.applied {
            Applied::Yes => count,
            Applied::No => 0,
            Applied::Maybe => (runtime.random() % (count as u64 + 1)) as usize,
        }
    }

    pub(crate) async fn delay_request(&self, runtime: &Runtime) {
        wait(self.request, runtime).await;
    }

    pub(crate) async fn delay_answer(&self, runtime: &Runtime) {
        wait(self.answer, runtime).await;
    }
}

async fn wait(duration: Duration, runtime: &Runtime) {
    if !duration.is_zero() {
        runtime.sleep(duration).await;
    }
}

impl Faults {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self(stream)
    }

    /// The next `count` calls of that kind, behind those already arranged.
    pub fn next(&self, operation: Operation, count: u64, fault: Fault) {
        self.arrange(|state| {
            let next = state.next.entry(operation).or_default();
            next.push_back((count, fault));
        });
    }

    /// Every call of that kind with that probability (0 to 1), until cleared.
    pub fn chance(&self, operation: Operation, probability: f64, fault: Fault) {
        self.arrange(|state| state.chances.push((operation, probability, fault)));
    }

    /// The next `count` events that `matches` picks fail, each alone; the rest of their calls
    /// goes on, but for later events of the same key.
    pub fn fail_events(
        &self,
        count: u64,
        fault: Fault,
        matches: impl Fn(&Event) -> bool + Send + Sync + 'static,
    ) {
        let pick = Pick::Matching(count, Box::new(matches));
        self.arrange(|state| state.events.push((pick, fault)));
    }

    /// Every event fails alone with that probability (0 to 1), until cleared.
    pub fn fail_events_by_chance(&self, probability: f64, fault: Fault) {
        self.arrange(|state| state.events.push((Pick::Chance(probability), fault)));
    }

    /// Credentials no longer suffice, or suffice again: while denied, every call answers `Denied`.
    pub fn deny(&self, denied: bool) {
        self.arrange(|state| state.denied = denied);
    }

    /// Ends every fault that was arranged; what happened stays.
    pub fn clear(&self) {
        self.arrange(|state| {
            *state = Arranged {
                hits: std::mem::take(&mut state.hits),
                ..Arranged::default()
            };
        });
    }

    /// How many calls of that kind a fault has hit. Faults of single events count as `Send`.
    pub fn hits(&self, operation: Operation) -> u64 {
        let state = self.0.plan.lock();
        state.hits.get(&operation).copied().unwrap_or(0)
    }

    /// Retention removes the `count` oldest events of a partition.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream or partition.
    pub fn drop_oldest(&self, partition: &PartitionId, count: usize) -> Result<()> {
        self.0.with_log(|log| match log.find(partition) {
            Some(at) => {
                log.partition_mut(at).drop_oldest(count);
                Ok(())
            }
            None => Err(error::no_partition(&self.0.name, partition)),
        })
    }

    /// Retention removes every event stored now, and closed partitions leave the listing.
    ///
    /// # Errors
    /// `NotFound` for an unknown stream.
    pub fn expire_all(&self) -> Result<()> {
        self.0.with_log(|log| {
            for partition in log.partitions_mut() {
                partition.drop_oldest(usize::MAX);
                partition.forgotten = partition.closed.is_some();
            }
            Ok(())
        })
    }

    /// The lease store knows from now on that this member's process is gone.
    pub fn declare_dead(&self, owner: &OwnerId) {
        self.0.leases().declare_dead(owner);
    }

    fn arrange(&self, change: impl FnOnce(&mut Arranged)) {
        let mut state = self.0.plan.lock();
        change(&mut state);
        self.0.plan.armed.store(state.is_armed(), Ordering::Release);
        drop(state);
        // Readers that wait look again, and are hit.
        let _ = self.0.with_log(|log| {
            log.wake_all();
            Ok(())
        });
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Faults").field(&self.0.name).finish()
    }
}

/// The faults arranged for one stream.
#[derive(Default)]
pub(crate) struct Plan {
    armed: AtomicBool,
    state: Mutex<Arranged>,
}

#[derive(Default)]
struct Arranged {
    next: BTreeMap<Operation, VecDeque<(u64, Fault)>>,
    chances: Vec<(Operation, f64, Fault)>,
    events: Vec<(Pick, Fault)>,
    denied: bool,
    hits: BTreeMap<Operation, u64>,
}

enum Pick {
    Matching(u64, Box<dyn Fn(&Event) -> bool + Send + Sync>),
    Chance(f64),
}

impl Plan {
    /// Whether any fault is arranged: all that an ordinary call looks at.
    pub(crate) fn is_armed(&self) -> bool {
        self.armed.load(Ordering::Relaxed)
    }

    /// The fault that hits this call.
    pub(crate) fn draw(&self, operation: Operation, runtime: &Runtime) -> Option<Fault> {
        if !self.is_armed() {
            return None;
        }
        let mut state = self.lock();
        let fault = state.draw(operation, runtime)?;
        *state.hits.entry(operation).or_default() += 1;
        self.armed.store(state.is_armed(), Ordering::Release);
        Some(fault)
    }

    /// What shall become of one event of a call that goes on.
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

    /// Does `work`, unless a fault says otherwise.
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

    /// Delays or fails a call that has yet to do its work.
    pub(crate) async fn interrupt(&self, operation: Operation, runtime: &Runtime) -> Result<()> {
        self.run(operation, runtime, || Ok(())).await
    }

    fn lock(&self) -> MutexGuard<'_, Arranged> {
        lock(&self.state)
    }
}

impl Arranged {
    fn is_armed(&self) -> bool {
        self.denied || !self.next.is_empty() || !self.chances.is_empty() || !self.events.is_empty()
    }

    fn draw(&mut self, operation: Operation, runtime: &Runtime) -> Option<Fault> {
        if self.denied {
            return Some(Fault::refused(ErrorKind::Denied));
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

    fn draw_event(&mut self, event: &Event, runtime: &Runtime) -> Option<Fault> {
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
