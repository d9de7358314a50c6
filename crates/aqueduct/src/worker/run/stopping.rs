use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_core::{BatchConsumer, Instant, Result};
use futures::FutureExt as _;
use futures::future::BoxFuture;

use crate::worker::control::{Control, Level};

/// Follows the control: the level that the loop acts on, and the drain that it began.
pub(super) struct Stopping {
    control: Arc<Control>,
    level: Level,
    draining: Option<BoxFuture<'static, Result<()>>>,
    ends: Option<Instant>,
}

impl Stopping {
    pub(super) fn new(control: Arc<Control>) -> Self {
        Self {
            control,
            level: Level::Run,
            draining: None,
            ends: None,
        }
    }

    pub(super) fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Returns whether the loop was asked to stop.
    pub(super) fn has_begun(&self) -> bool {
        self.level != Level::Run
    }

    /// Returns whether the consumer still drains.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Returns when running handlers are cancelled; `None` before a drain began.
    pub(super) fn ends(&self) -> Option<Instant> {
        self.ends
    }

    /// Wakes with a level that the loop has not acted on.
    pub(super) fn poll_level(&mut self, cx: &mut Context<'_>) -> Poll<Level> {
        self.control.register(cx.waker());
        let level = self.control.level();
        if level <= self.level {
            return Poll::Pending;
        }
        self.level = level;
        Poll::Ready(level)
    }

    pub(super) fn poll_drained(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let Some(draining) = &mut self.draining else {
            return Poll::Pending;
        };
        let drained = futures::ready!(draining.poll_unpin(cx));
        self.draining = None;
        Poll::Ready(drained)
    }

    /// Drains the consumer; running handlers have until `ends`.
    pub(super) fn begin(&mut self, consumer: &Arc<dyn BatchConsumer>, ends: Instant) {
        let consumer = consumer.clone();
        self.draining = Some(async move { consumer.drain().await }.boxed());
        self.ends = Some(ends);
    }

    /// Returns the time that is left for closing.
    pub(super) fn left(&self, level: Level, now: Instant, drain: Duration) -> Duration {
        match (level, self.ends) {
            (Level::Drain, Some(ends)) => ends.since(now),
            (Level::Drain, None) => drain,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn each_level_wakes_once() {
        let control = Arc::new(Control::default());
        let mut stopping = Stopping::new(control.clone());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(stopping.poll_level(cx).is_pending());
        control.raise(Level::Drain);
        assert_eq!(stopping.poll_level(cx), Poll::Ready(Level::Drain));
        assert!(stopping.poll_level(cx).is_pending() && stopping.has_begun());
        control.raise(Level::Abort);
        assert_eq!(stopping.poll_level(cx), Poll::Ready(Level::Abort));
    }

    #[test]
    fn an_abort_leaves_no_time() {
        let stopping = Stopping::new(Arc::default());
        let drain = Duration::from_secs(30);
        let now = Instant::default();
        assert_eq!(stopping.left(Level::Drain, now, drain), drain);
        assert_eq!(stopping.left(Level::Abort, now, drain), Duration::ZERO);
    }
}
