use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Abandoned, Assignment, Backoff, Error, Instant, Parts, QueueSettings, Result, Revocation,
    Revocations, Runtime, Settlement, Settler, Settling, Subscription,
};
use event_listener::{Event as Signal, EventListener};

use crate::machine::{Again, Machine};
use crate::metrics::Metrics;

/// The machine of a consumer, shared by the consumer, its driver and its deliveries.
pub(crate) struct Engine {
    subscription: Arc<dyn Subscription>,
    runtime: Runtime,
    settings: QueueSettings,
    redelivery: Backoff,
    assignment: Assignment,
    machine: Mutex<Machine>,
    revocations: Revocations,
    /// Wakes the driver.
    driver: Signal,
    /// Wakes those who wait for a state of the machine.
    changed: Signal,
    metrics: Metrics,
}

impl Engine {
    pub(crate) fn new(
        subscription: Arc<dyn Subscription>,
        settings: QueueSettings,
        redelivery: Backoff,
        assignment: Assignment,
        runtime: &Runtime,
    ) -> Self {
        Self {
            subscription,
            runtime: runtime.clone(),
            redelivery,
            machine: Mutex::new(Machine::new(settings.clone())),
            settings,
            revocations: Revocations::new(),
            driver: Signal::new(),
            changed: Signal::new(),
            metrics: Metrics::new(assignment.stream.as_str(), assignment.group.as_str()),
            assignment,
        }
    }

    pub(crate) fn subscription(&self) -> &Arc<dyn Subscription> {
        &self.subscription
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn settings(&self) -> &QueueSettings {
        &self.settings
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Changes the machine, and wakes the driver and all who wait.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let result = self.quietly(change);
        self.driver.notify(usize::MAX);
        self.changed.notify(usize::MAX);
        result
    }

    /// Changes the machine, and wakes only those whose right to settle may have ended.
    pub(crate) fn quietly<T>(&self, change: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let now = self.runtime.now();
        let (result, rights) = {
            let mut machine = self.machine();
            let result = change(&mut machine, now);
            (result, machine.take_changed_rights())
        };
        if rights {
            self.revocations.notify();
        }
        result
    }

    pub(crate) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.machine())
    }

    /// Waits until `look` returns a value.
    pub(crate) async fn until<T>(
        &self,
        mut look: impl FnMut(&mut Machine, Instant) -> Option<T>,
    ) -> T {
        loop {
            let changed = self.changed.listen();
            if let Some(value) = self.quietly(&mut look) {
                return value;
            }
            changed.await;
        }
    }

    /// Returns what the driver waits on.
    pub(crate) fn driver_wakes(&self) -> EventListener {
        self.driver.listen()
    }

    /// Wakes those who wait for a state of the machine.
    pub(crate) fn notify_changed(&self) {
        self.changed.notify(usize::MAX);
    }

    /// Waits for messages that can be delivered; empty at the end.
    pub(crate) async fn receive(&self, max: usize) -> Result<Vec<Parts>> {
        let mut demand = Demand {
            engine: self,
            max: 0,
        };
        self.until(|machine, now| {
            let taken = machine.take(max, now);
            if !taken.is_empty() {
                return Some(Ok(taken));
            }
            if machine.is_draining() {
                return Some(Ok(Vec::new()));
            }
            if let Some(failure) = machine.take_failure(now) {
                return Some(Err(failure));
            }
            if demand.max == 0 {
                demand.max = max;
                machine.demand(max, 0);
                self.driver.notify(usize::MAX);
            }
            None
        })
        .await
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        lock(&self.machine)
    }

    fn backoff(&self, parts: &Parts) -> Duration {
        self.redelivery.delay(parts.attempt, &self.runtime)
    }

    async fn extended(&self, ticket: u64, until: Instant) -> Result<()> {
        self.until(
            |machine, now| match machine.is_extended(ticket, until, now) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            },
        )
        .await
    }
}

/// The demand of one receiver, while it waits.
struct Demand<'a> {
    engine: &'a Engine,
    max: usize,
}

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        if self.max > 0 {
            self.engine.machine().demand(0, self.max);
        }
    }
}

impl Settler for Engine {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn settle<'a>(&'a self, parts: &'a Parts, settlement: Settlement) -> Settling<'a> {
        let ticket = parts.ticket;
        let again = match settlement {
            Settlement::Ack => {
                return Settling::Ready(self.with(|machine, now| machine.ack(ticket, now)));
            }
            Settlement::Nack { delay, .. } => Again {
                delay: delay.unwrap_or_else(|| self.backoff(parts)),
                failed: true,
            },
            Settlement::Defer { delay } => Again {
                delay,
                failed: false,
            },
            _ => {
                return Settling::Ready(Err(Error::unsupported(
                    "a rejected event needs a place to go: set `dead_letters` or `on_reject` of the \
                     group",
                )));
            }
        };
        Settling::Ready(self.with(|machine, now| machine.again(ticket, again, now)))
    }

    fn extend<'a>(&'a self, parts: &'a Parts, by: Duration) -> Settling<'a> {
        let ticket = parts.ticket;
        match self.with(|machine, now| machine.extend(ticket, by, now)) {
            Ok(None) => Settling::Ready(Ok(())),
            Ok(Some(until)) => Settling::pending(self.extended(ticket, until)),
            Err(error) => Settling::Ready(Err(error)),
        }
    }

    fn revocation(&self, parts: &Parts) -> Option<Revocation> {
        self.quietly(|machine, now| machine.revocation(parts.ticket, now))
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn abandon(&self, parts: &Parts, why: Abandoned) {
        let again = match why {
            Abandoned::Dropped => Again {
                delay: self.backoff(parts),
                failed: true,
            },
            // What keeps being cancelled must not become a hot loop.
            Abandoned::Cancelled => Again {
                delay: self.redelivery.ceiling(1),
                failed: false,
            },
        };
        self.with(|machine, now| machine.abandon(parts.ticket, again, now));
    }
}
