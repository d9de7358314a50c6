use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::Instant;
use futures::future::BoxFuture;

/// The action of a worker while it receives nothing.
#[derive(Clone)]
pub(crate) struct Idle {
    pub(crate) every: Duration,
    pub(crate) tick: Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>,
}

/// Decides when the idle action runs: `every` after the last event or action.
pub(super) struct IdleTimer {
    idle: Option<Idle>,
    last_event: Instant,
}

impl IdleTimer {
    pub(super) fn new(idle: Option<Idle>, now: Instant) -> Self {
        Self {
            idle,
            last_event: now,
        }
    }

    /// Notes that an event came, or that its handler ended.
    pub(super) fn event(&mut self, now: Instant) {
        self.last_event = now;
    }

    /// Returns when the action is due if nothing comes until then.
    pub(super) fn due(&self) -> Option<Instant> {
        self.idle.as_ref().map(|idle| self.last_event + idle.every)
    }

    /// Returns the action if it is due, and counts from now on.
    pub(super) fn tick(&mut self, now: Instant) -> Option<BoxFuture<'static, ()>> {
        let idle = self.idle.as_ref()?;
        if now < self.last_event + idle.every {
            return None;
        }
        self.last_event = now;
        Some((idle.tick)())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_from_the_last_event_and_from_its_own_action() {
        let second = Duration::from_secs(1);
        let start = Instant::default();
        let idle = Idle {
            every: second,
            tick: Arc::new(|| Box::pin(async {})),
        };
        let mut timer = IdleTimer::new(Some(idle), start);
        assert_eq!(timer.due(), Some(start + second));
        timer.event(start + second / 2);
        assert!(timer.tick(start + second).is_none(), "an event came");
        assert!(timer.tick(start + second * 2).is_some());
        assert!(timer.tick(start + second * 2).is_none(), "it ran just now");
        assert_eq!(timer.due(), Some(start + second * 3));
    }

    #[test]
    fn without_an_action_nothing_is_due() {
        let mut timer = IdleTimer::new(None, Instant::default());
        assert_eq!(timer.due(), None);
        assert!(
            timer
                .tick(Instant::default() + Duration::from_secs(9))
                .is_none()
        );
    }
}
