use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    BlockedBy, ConsumerStatus, Error, ErrorKind, PartitionId, Result, Runtime, StreamName,
};

use super::control::{Control, Level};

/// Stops, pauses and watches a worker; clones are the same handle. Made by
/// [`Worker::control`](crate::Worker::control).
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Event};
///
/// # let client = Client::from_toml(
/// #     "[streams.orders]\nurl = \"memory:\"\n[groups.billing]\nstream = \"orders\"\non_reject = \"stop\"",
/// # ).await?;
/// let worker = client.worker("billing").await?
///     .on("*", |event: Event| async move { println!("{}", event.kind()) });
/// let handle = worker.control();
/// let running = client.runtime().spawn(worker.run());
/// handle.pause();
/// handle.resume();
/// handle.stop();
/// running.await??;
/// assert!(!handle.health().live);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct WorkerHandle {
    control: Arc<Control>,
    runtime: Runtime,
}

/// The health of a worker, for liveness and readiness probes.
///
/// ```
/// use aqueduct::WorkerHandle;
///
/// /// The status of a readiness probe, with the reasons.
/// fn ready(handle: &WorkerHandle) -> (u16, String) {
///     let health = handle.health();
///     (if health.ready { 200 } else { 503 }, format!("{:?}", health.problems))
/// }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerHealth {
    /// It has not ended. Restart the process only if this is false.
    pub live: bool,
    /// It is open, reaches its stores, and is neither paused nor draining. A member without a partition
    /// is ready: it stands by.
    pub ready: bool,
    /// The problems; some do not affect `ready`.
    pub problems: Vec<Problem>,
}

/// A problem of a worker.
///
/// ```
/// use aqueduct::worker::Problem;
///
/// fn needs_a_person(problem: &Problem) -> bool {
///     matches!(problem, Problem::Stuck { .. } | Problem::Unreadable { .. })
/// }
/// assert!(!needs_a_person(&Problem::Paused));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// The worker is not open yet, or has ended.
    NotRunning,
    /// The worker finishes its running handlers, then ends.
    Draining,
    /// The worker is paused.
    Paused,
    /// The lease store or the service has been unreachable for that long.
    Unreachable(Duration),
    /// The worker owns no partition: other members own them all, or it has just started.
    WithoutLease,
    /// Reading a partition keeps failing.
    Unreadable {
        /// The stream.
        stream: StreamName,
        /// The partition.
        partition: PartitionId,
        /// The kind of the last error.
        kind: ErrorKind,
        /// The time for which reads have failed.
        since: Duration,
    },
    /// Records that are not CloudEvents came within the last five minutes, and no handler takes
    /// them: a producer may have changed its format.
    ForeignRecords {
        /// The number of them since the worker was created.
        count: u64,
    },
    /// A partition does not fetch because a key is blocked.
    Stuck {
        /// The stream.
        stream: StreamName,
        /// The partition.
        partition: PartitionId,
        /// The key, the event, and the time since when.
        blocked_by: BlockedBy,
    },
}

impl WorkerHandle {
    pub(super) fn new(control: Arc<Control>, runtime: Runtime) -> Self {
        Self { control, runtime }
    }

    /// Drains the worker and ends it.
    pub fn stop(&self) {
        self.control.raise(Level::Drain);
    }

    /// Cancels the handlers and ends the worker, which gives up its partitions within a second. Nothing
    /// is lost: unsettled events are delivered again, without a failed attempt.
    pub fn abort(&self) {
        self.control.raise(Level::Abort);
    }

    /// Holds back further deliveries; running handlers finish, and leases are kept.
    pub fn pause(&self) {
        self.control.pause(true);
    }

    /// Lets deliveries flow again.
    pub fn resume(&self) {
        self.control.pause(false);
    }

    /// Commits settled events and waits until that is durable.
    ///
    /// # Errors
    /// `Closed` if the worker is not running; otherwise the error of the store.
    pub async fn flush(&self) -> Result<()> {
        match self.control.consumer() {
            Some(consumer) => consumer.flush().await,
            None => Err(Error::new(ErrorKind::Closed, "the worker is not running")),
        }
    }

    /// Returns partitions, lag and unsettled events; empty while the worker is not running.
    pub fn status(&self) -> ConsumerStatus {
        let consumer = self.control.consumer();
        consumer.map_or_else(ConsumerStatus::default, |consumer| consumer.status())
    }

    /// Returns the health of the worker.
    pub fn health(&self) -> WorkerHealth {
        let mut problems = Vec::new();
        let Some(consumer) = self.control.consumer() else {
            return WorkerHealth {
                live: !self.control.has_ended(),
                ready: false,
                problems: vec![Problem::NotRunning],
            };
        };
        let status = consumer.status();
        if self.control.level() != Level::Run {
            problems.push(Problem::Draining);
        }
        if status.paused {
            problems.push(Problem::Paused);
        }
        if let Some(since) = status.unreachable_since {
            problems.push(Problem::Unreachable(self.runtime.now().since(since)));
        }
        for partition in &status.partitions {
            if let Some(failure) = &partition.read_failure {
                problems.push(Problem::Unreadable {
                    stream: partition.stream.clone(),
                    partition: partition.partition.clone(),
                    kind: failure.error.kind(),
                    since: self.runtime.now().since(failure.since),
                });
            }
        }
        let ready = problems.is_empty();
        let log = consumer.capabilities().claims;
        if status.partitions.is_empty() && log.has(aqueduct_core::Capability::Positions) {
            problems.push(Problem::WithoutLease);
        }
        if let Some(count) = self.control.foreign.recent(self.runtime.now()) {
            problems.push(Problem::ForeignRecords { count });
        }
        for partition in status.partitions {
            if let Some(blocked_by) = partition.blocked_by {
                problems.push(Problem::Stuck {
                    stream: partition.stream,
                    partition: partition.partition,
                    blocked_by,
                });
            }
        }
        WorkerHealth {
            live: true,
            ready,
            problems,
        }
    }
}

impl fmt::Debug for WorkerHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WorkerHandle")
            .field(&self.control.level())
            .finish()
    }
}
