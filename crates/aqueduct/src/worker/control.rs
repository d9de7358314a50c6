use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Poll, Waker};

use aqueduct_core::sync::lock;
use aqueduct_core::{BatchConsumer, Error};
use futures::task::AtomicWaker;

use super::unhandled::ForeignRecords;

/// The requested state of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Run,
    /// Finish running handlers, commit, give up the partitions.
    Drain,
    /// Cancel running handlers, commit, give up the partitions.
    Abort,
}

/// The state that a worker shares with its handles.
#[derive(Default)]
pub(crate) struct Control {
    level: AtomicU8,
    waker: AtomicWaker,
    pub(crate) foreign: Arc<ForeignRecords>,
    shared: Mutex<Shared>,
}

#[derive(Default)]
struct Shared {
    consumer: Option<Arc<dyn BatchConsumer>>,
    fatal: Option<Error>,
    paused: bool,
    ended: bool,
}

impl Control {
    pub(crate) fn level(&self) -> Level {
        match self.level.load(Ordering::Acquire) {
            0 => Level::Run,
            1 => Level::Drain,
            _ => Level::Abort,
        }
    }

    pub(crate) fn raise(&self, level: Level) {
        self.level.fetch_max(level as u8, Ordering::AcqRel);
        self.waker.wake();
    }

    pub(crate) fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Waits until the worker is asked to stop, in either way.
    pub(crate) fn stopped(&self) -> impl Future<Output = ()> + '_ {
        self.reached(Level::Drain)
    }

    /// Waits until the worker is asked to end at once.
    pub(crate) fn aborted(&self) -> impl Future<Output = ()> + '_ {
        self.reached(Level::Abort)
    }

    fn reached(&self, level: Level) -> impl Future<Output = ()> + '_ {
        poll_fn(move |cx| {
            self.register(cx.waker());
            match self.level() >= level {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
    }

    /// Stops the worker with an error; the first one is kept.
    pub(crate) fn fail(&self, error: Error) {
        self.with(|shared| {
            shared.fatal.get_or_insert(error);
        });
        self.raise(Level::Drain);
    }

    pub(crate) fn take_failure(&self) -> Option<Error> {
        self.with(|shared| shared.fatal.take())
    }

    pub(crate) fn opened(&self, consumer: &Arc<dyn BatchConsumer>) {
        let paused = self.with(|shared| {
            shared.consumer = Some(consumer.clone());
            shared.paused
        });
        if paused {
            consumer.pause(true);
        }
    }

    pub(crate) fn ended(&self) {
        self.with(|shared| {
            shared.consumer = None;
            shared.ended = true;
        });
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.with(|shared| shared.ended)
    }

    pub(crate) fn consumer(&self) -> Option<Arc<dyn BatchConsumer>> {
        self.with(|shared| shared.consumer.clone())
    }

    pub(crate) fn pause(&self, paused: bool) {
        let consumer = self.with(|shared| {
            shared.paused = paused;
            shared.consumer.clone()
        });
        if let Some(consumer) = consumer {
            consumer.pause(paused);
        }
    }

    fn with<T>(&self, use_it: impl FnOnce(&mut Shared) -> T) -> T {
        use_it(&mut lock(&self.shared))
    }
}
