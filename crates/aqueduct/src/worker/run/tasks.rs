use std::convert::Infallible;
use std::future::Future;
use std::task::{Context, Poll};

use aqueduct_core::{Delivery, Result, Runtime};
use futures::FutureExt as _;
use futures::channel::mpsc;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};

use crate::worker::pool::LaneKey;

/// The tasks of handlers that run.
pub(super) struct Tasks {
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Deliveries whose handlers were not begun before the worker stopped.
    unstarted: Vec<Delivery>,
    /// A clone is in each task.
    alive: mpsc::Sender<Infallible>,
    all_ended: mpsc::Receiver<Infallible>,
}

/// A task that ended: the number of its deliveries, their lanes, and those that it did not begin.
pub(super) struct Ended {
    pub(super) count: usize,
    pub(super) lanes: Vec<LaneKey>,
    pub(super) unstarted: Result<Vec<Delivery>>,
}

impl Tasks {
    pub(super) fn new() -> Self {
        let (alive, all_ended) = mpsc::channel(0);
        Self {
            running: FuturesUnordered::new(),
            unstarted: Vec::new(),
            alive,
            all_ended,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Spawns a task; it returns the deliveries that it did not begin.
    pub(super) fn spawn(
        &mut self,
        runtime: &Runtime,
        (count, lanes): (usize, Vec<LaneKey>),
        task: impl Future<Output = Vec<Delivery>> + Send + 'static,
    ) {
        let alive = self.alive.clone();
        let task = runtime.spawn(async move {
            let _alive = alive;
            task.await
        });
        let ended = task.map(move |unstarted| Ended {
            count,
            lanes,
            unstarted,
        });
        self.running.push(ended.boxed());
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        match self.running.poll_next_unpin(cx) {
            Poll::Ready(Some(ended)) => Poll::Ready(ended),
            _ => Poll::Pending,
        }
    }

    /// Keeps deliveries until the worker gives them back.
    pub(super) fn keep(&mut self, unstarted: Vec<Delivery>) {
        self.unstarted.extend(unstarted);
    }

    /// Cancels every task. Returns the deliveries that were not begun, and a future that ends once
    /// no task is left: one that blocks its thread ends late.
    pub(super) fn cancel(self) -> (Vec<Delivery>, impl Future<Output = ()>) {
        let Self {
            running,
            unstarted,
            alive,
            mut all_ended,
        } = self;
        drop(running);
        let ended = async move {
            drop(alive);
            all_ended.next().await;
        };
        (unstarted, ended)
    }
}

#[cfg(test)]
mod tests {
    use aqueduct_runtime::Simulation;
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn cancelling_waits_for_the_last_task() {
        let simulation = Simulation::new(1);
        let runtime = simulation.runtime();
        let mut tasks = Tasks::new();
        tasks.spawn(&runtime, (1, Vec::new()), std::future::pending());
        tasks.spawn(&runtime, (1, Vec::new()), async { Vec::new() });
        assert_eq!(tasks.len(), 2);
        let held = tasks.alive.clone();
        let (unstarted, ended) = tasks.cancel();
        assert!(unstarted.is_empty());
        let mut ended = Box::pin(ended);
        assert!(ended.as_mut().now_or_never().is_none(), "a task is left");
        drop(held);
        simulation.block_on(ended).unwrap();
    }
}
