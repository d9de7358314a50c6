use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    BlockedBy, ConsumerStatus, Error, ErrorKind, PartitionId, Result, Runtime, StreamName,
};

use super::control::{Control, Level};

/// Stops, pauses and watches a worker. Clones are the same handle.
#[derive(Clone)]
pub struct WorkerHandle {
    control: Arc<Control>,
    runtime: Runtime,
}

/// Whether a worker does its work, for the probes of whoever runs it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct WorkerHealth {
    /// It has not ended. A restart helps where this is false, and nowhere else.
    pub live: bool,
    /// It is open, reaches its stores, and is neither paused nor draining. A member without a
    /// partition is ready: it stands by for those that have one.
    pub ready: bool,
    /// What is not as it should be.
    pub problems: Vec<Problem>,
}

/// What is not as it should be with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Problem {
    /// It is not open yet, or has ended.
    NotRunning,
    /// It finishes what runs, and ends.
    Draining,
    /// It is paused.
    Paused,
    /// The lease store or the service has not been reached for that long.
    Unreachable(Duration),
    /// It owns no partition: others have them, or the first leases are still to come.
    WithoutLease,
    /// Reading a partition keeps failing.
    Unreadable {
        /// The stream.
        stream: StreamName,
        /// The partition.
        partition: PartitionId,
        /// The kind of the last error.
        kind: ErrorKind,
        /// How long reads have failed.
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
        /// Which key and event, and since when.
        blocked_by: BlockedBy,
    },
}

impl WorkerHandle {
    pub(super) fn new(control: Arc<Control>, runtime: Runtime) -> Self {
        Self { control, runtime }
    }

    /// Asks it to drain and end.
    pub fn stop(&self) {
        self.control.raise(Level::Drain);
    }

    /// Ends it at once: handlers are cancelled, nothing is committed that was not yet. Loses
    /// nothing: what was not settled is delivered again.
    pub fn abort(&self) {
        self.control.raise(Level::Abort);
    }

    /// Holds back further deliveries; those that are out are finished, leases are kept.
    pub fn pause(&self) {
        self.control.pause(true);
    }

    /// Lets deliveries flow again.
    pub fn resume(&self) {
        self.control.pause(false);
    }

    /// Commits what is settled and waits until that is durable.
    ///
    /// # Errors
    /// `Closed`, where the worker does not run; otherwise what the store answers.
    pub async fn flush(&self) -> Result<()> {
        match self.control.consumer() {
            Some(consumer) => consumer.flush().await,
            None => Err(Error::new(ErrorKind::Closed, "the worker does not run")),
        }
    }

    /// Where it stands: partitions, lag, what is unsettled. Empty while it does not run.
    pub fn status(&self) -> ConsumerStatus {
        let consumer = self.control.consumer();
        consumer.map_or_else(ConsumerStatus::default, |consumer| consumer.status())
    }

    /// Whether it does its work.
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
