use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use aqueduct_core::{Instant, Platform, Runtime, Timestamp};
use futures::future::{BoxFuture, FutureExt as _};

use crate::manual_clock::epoch;
use crate::timers::Timers;
use aqueduct_core::random::SplitMix64;
use aqueduct_core::sync::lock;

/// Runs tasks on the calling thread, in an order and with random numbers that follow from a seed,
/// on a clock that jumps to the next timer when no task can run: the same seed, the same trace.
///
/// That holds as long as the tasks take time, tasks and randomness from its [`Runtime`] alone. The
/// wall clock starts at 2026-01-01T00:00:00Z.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_runtime::Simulation;
///
/// let simulation = Simulation::new(42);
/// let runtime = simulation.runtime();
/// let sleeper = runtime.clone();
/// let hours = runtime.spawn(async move { sleeper.sleep(Duration::from_secs(7200)).await });
/// simulation.block_on(hours)??;
/// assert_eq!(runtime.now().elapsed_since_origin(), Duration::from_secs(7200));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Simulation {
    shared: Arc<Shared>,
    horizon: Option<Instant>,
}

/// Part of a simulation that stalls or dies as a whole, as a process does.
#[derive(Clone)]
pub struct Process {
    shared: Arc<Shared>,
    id: u64,
}

/// The reason why [`Simulation::block_on`] cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stalled {
    /// No task can run and no timer is set: nothing can ever wake.
    Asleep {
        /// When.
        at: Instant,
    },
    /// The clock would pass the horizon.
    Horizon {
        /// The horizon.
        at: Instant,
    },
    /// Tasks wake each other without end while the clock stands still.
    Spinning {
        /// When.
        at: Instant,
    },
}

/// Polls at one moment that count as spinning; far above what any test needs.
const SPINNING: u64 = 10_000_000;

/// The future that `block_on` was given.
const MAIN: u64 = 0;

impl Simulation {
    /// Creates a simulation that follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let mut seeds = SplitMix64::new(seed);
        let state = State {
            order: SplitMix64::new(seeds.next_u64()),
            draws: SplitMix64::new(seeds.next_u64()),
            tasks: BTreeMap::new(),
            made: MAIN,
            processes: 0,
            stalled: BTreeSet::new(),
            killed: BTreeSet::new(),
            trace: 0,
            ended: false,
        };
        Self {
            shared: Arc::new(Shared {
                timers: Arc::default(),
                ready: Arc::default(),
                state: Mutex::new(state),
            }),
            horizon: None,
        }
    }

    /// Limits `block_on`: it fails if the clock would pass that time after its start.
    #[must_use]
    pub fn with_horizon(mut self, horizon: Duration) -> Self {
        self.horizon = Some(Instant::after_origin(horizon));
        self
    }

    /// Returns the runtime for code under test. It belongs to no [`Process`].
    pub fn runtime(&self) -> Runtime {
        runtime(&self.shared, 0)
    }

    /// Creates a process: tasks spawned on its runtime stall and die with it.
    pub fn process(&self) -> Process {
        let mut state = self.shared.state();
        state.processes += 1;
        Process {
            shared: self.shared.clone(),
            id: state.processes,
        }
    }

    /// Runs `future` and all spawned tasks until `future` ends. Unfinished tasks go on with the
    /// next call.
    ///
    /// # Errors
    /// [`Stalled`] if it cannot end.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> Result<T, Stalled> {
        let mut main = pin!(future);
        let waker = self.shared.waker(MAIN);
        waker.wake_by_ref();
        let mut polls = 0;
        loop {
            let Some(id) = self.shared.choose() else {
                self.jump()?;
                polls = 0;
                continue;
            };
            polls += 1;
            if polls > SPINNING {
                return Err(Stalled::Spinning {
                    at: self.shared.timers.now(),
                });
            }
            if id != MAIN {
                self.shared.poll(id);
            } else if let Poll::Ready(done) = main.as_mut().poll(&mut Context::from_waker(&waker)) {
                return Ok(done);
            }
        }
    }

    /// Moves the clock forward, as if every task had been delayed; due timers wake.
    pub fn advance(&self, by: Duration) {
        self.shared.timers.advance(by);
    }

    /// Returns a hash of every step taken so far: which task ran, and when. Two runs with the same
    /// number took the same steps.
    pub fn fingerprint(&self) -> u64 {
        self.shared.state().trace
    }

    fn jump(&self) -> Result<(), Stalled> {
        let at = self.shared.timers.now();
        let next = self.shared.timers.next().ok_or(Stalled::Asleep { at })?;
        match self.horizon {
            Some(horizon) if next > horizon => Err(Stalled::Horizon { at: horizon }),
            _ => {
                self.shared.timers.advance_to(next);
                Ok(())
            }
        }
    }
}

impl Drop for Simulation {
    /// Drops the tasks: they hold the runtime that holds them, and would leak.
    fn drop(&mut self) {
        self.shared.state().ended = true;
        loop {
            let tasks = std::mem::take(&mut self.shared.state().tasks);
            if tasks.is_empty() {
                return;
            }
            drop(tasks);
        }
    }
}

impl fmt::Debug for Simulation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulation")
            .field("now", &self.shared.timers.now())
            .field("tasks", &self.shared.state().tasks.len())
            .finish_non_exhaustive()
    }
}

impl Process {
    /// Returns the runtime of this process.
    pub fn runtime(&self) -> Runtime {
        runtime(&self.shared, self.id)
    }

    /// Ends the process as SIGKILL does: its tasks stop where they are.
    ///
    /// They are dropped, so destructors run; tasks spawned by those do not run.
    pub fn kill(&self) {
        let mut state = self.shared.state();
        state.killed.insert(self.id);
        let (dead, alive) = std::mem::take(&mut state.tasks)
            .into_iter()
            .partition(|(_, task)| task.process == self.id);
        state.tasks = alive;
        drop(state);
        drop::<BTreeMap<u64, SimulatedTask>>(dead);
    }

    /// Stops the process as SIGSTOP does, or lets it go on: the clock moves, its tasks do not.
    pub fn stall(&self, stalled: bool) {
        let mut state = self.shared.state();
        if stalled {
            state.stalled.insert(self.id);
        } else {
            state.stalled.remove(&self.id);
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Process").field(&self.id).finish()
    }
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (at, why) = match self {
            Self::Asleep { at } => (at, "nothing can ever wake"),
            Self::Horizon { at } => (at, "the horizon is reached"),
            Self::Spinning { at } => (at, "tasks wake each other without end"),
        };
        write!(
            f,
            "the simulation is stalled {:?} after its start: {why}",
            at.elapsed_since_origin()
        )
    }
}

impl std::error::Error for Stalled {}

struct Shared {
    timers: Arc<Timers>,
    ready: Arc<Ready>,
    state: Mutex<State>,
}

struct State {
    order: SplitMix64,
    draws: SplitMix64,
    tasks: BTreeMap<u64, SimulatedTask>,
    made: u64,
    processes: u64,
    stalled: BTreeSet<u64>,
    killed: BTreeSet<u64>,
    trace: u64,
    ended: bool,
}

struct SimulatedTask {
    process: u64,
    /// `None` while it is being polled.
    future: Option<BoxFuture<'static, ()>>,
    waker: Waker,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Picks a random task of those that can run.
    fn choose(&self) -> Option<u64> {
        let mut state = self.state();
        let mut ready = self.ready.lock();
        let State { tasks, stalled, .. } = &*state;
        let stands = |id: &u64| {
            tasks
                .get(id)
                .is_some_and(|it| stalled.contains(&it.process))
        };
        let id = if stalled.is_empty() {
            match ready.len() {
                0 => return None,
                count => ready.swap_remove(state.order.below(count)),
            }
        } else {
            let able: Vec<usize> = (0..ready.len()).filter(|&at| !stands(&ready[at])).collect();
            match able.len() {
                0 => return None,
                count => ready.swap_remove(able[state.order.below(count)]),
            }
        };
        let step =
            id ^ (self.timers.now().elapsed_since_origin().as_nanos() as u64).rotate_left(32);
        state.trace = SplitMix64::new(state.trace ^ step).next_u64();
        Some(id)
    }

    fn poll(&self, id: u64) {
        let (future, waker) = match self.state().tasks.get_mut(&id) {
            Some(task) => (task.future.take(), task.waker.clone()),
            None => return,
        };
        let Some(mut future) = future else { return };
        let pending = future
            .poll_unpin(&mut Context::from_waker(&waker))
            .is_pending();
        let mut state = self.state();
        if pending && let Some(task) = state.tasks.get_mut(&id) {
            task.future = Some(future);
            return;
        }
        let done = state.tasks.remove(&id);
        drop(state);
        drop((done, future));
    }

    fn waker(&self, id: u64) -> Waker {
        Waker::from(Arc::new(TaskWaker {
            id,
            ready: self.ready.clone(),
        }))
    }
}

#[derive(Default)]
struct Ready(Mutex<Vec<u64>>);

impl Ready {
    fn push(&self, id: u64) {
        let mut ready = self.lock();
        if !ready.contains(&id) {
            ready.push(id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<u64>> {
        lock(&self.0)
    }
}

struct TaskWaker {
    id: u64,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.push(self.id);
    }
}

fn runtime(shared: &Arc<Shared>, process: u64) -> Runtime {
    Runtime::new(SimulatedPlatform {
        shared: shared.clone(),
        process,
    })
}

struct SimulatedPlatform {
    shared: Arc<Shared>,
    process: u64,
}

impl Platform for SimulatedPlatform {
    fn now(&self) -> Instant {
        self.shared.timers.now()
    }

    fn wall(&self) -> Timestamp {
        epoch().saturating_add(self.now().elapsed_since_origin())
    }

    fn sleep_until(&self, deadline: Instant) -> BoxFuture<'static, ()> {
        self.shared.timers.sleep_until(deadline).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        let mut state = self.shared.state();
        if state.ended || state.killed.contains(&self.process) {
            drop(state);
            return;
        }
        state.made += 1;
        let id = state.made;
        let task = SimulatedTask {
            process: self.process,
            future: Some(task),
            waker: self.shared.waker(id),
        };
        state.tasks.insert(id, task);
        self.shared.ready.push(id);
    }

    fn random(&self) -> u64 {
        self.shared.state().draws.next_u64()
    }
}
