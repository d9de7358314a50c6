use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Abandoned, Assignment, Backoff, Error, Instant, Parts, Result, Revocation, Revocations,
    Runtime, Settlement, Settler, Settling,
};
use event_listener::Event as Signal;

use super::machine::{Again, Machine, Rules};
use crate::config::Reading;
use crate::queue::Queue;

/// What a consumer, its driver and its deliveries share.
pub(super) struct Core {
    pub(super) queue: Queue,
    pub(super) runtime: Runtime,
    pub(super) visibility: Duration,
    pub(super) wait: Duration,
    redelivery: Backoff,
    assignment: Assignment,
    machine: Mutex<Machine>,
    revocations: Revocations,
    /// The driver is to look again.
    pub(super) kicked: Signal,
    /// Who waits for the machine is to look again.
    pub(super) changed: Signal,
}

impl Core {
    pub(super) fn new(
        queue: Queue,
        reading: &Reading,
        assignment: Assignment,
        runtime: &Runtime,
    ) -> Self {
        let rules = Rules {
            ordered: queue.fifo,
            visibility: reading.visibility,
            hold: reading.hold,
            receivers: reading.receivers,
            max_unsettled: reading.max_unsettled,
            max_unsettled_bytes: reading.max_unsettled_bytes,
            count_receipts: reading.count_receipts,
        };
        Self {
            queue,
            runtime: runtime.clone(),
            visibility: reading.visibility,
            wait: reading.wait,
            redelivery: reading.redelivery,
            assignment,
            machine: Mutex::new(Machine::new(rules)),
            revocations: Revocations::new(),
            kicked: Signal::new(),
            changed: Signal::new(),
        }
    }

    pub(super) fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Changes the machine, and wakes all whom that may concern.
    pub(super) fn with<T>(&self, change: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let answer = self.quietly(change);
        self.kicked.notify(usize::MAX);
        self.changed.notify(usize::MAX);
        answer
    }

    /// Changes the machine without waking anybody but those whose rights end.
    pub(super) fn quietly<T>(&self, change: impl FnOnce(&mut Machine, Instant) -> T) -> T {
        let now = self.runtime.now();
        let (answer, rights) = {
            let mut machine = self.machine();
            let answer = change(&mut machine, now);
            (answer, machine.take_changed_rights())
        };
        if rights {
            self.revocations.notify();
        }
        answer
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> T {
        look(&self.machine())
    }

    /// Waits until `look` has an answer.
    pub(super) async fn until<T>(
        &self,
        mut look: impl FnMut(&mut Machine, Instant) -> Option<T>,
    ) -> T {
        loop {
            let changed = self.changed.listen();
            if let Some(answer) = self.quietly(&mut look) {
                return answer;
            }
            changed.await;
        }
    }

    /// Waits for what can be handed out; empty at the end.
    pub(super) async fn receive(&self, max: usize) -> Result<Vec<Parts>> {
        let mut demand = Demand { core: self, max: 0 };
        self.until(|machine, now| {
            let taken = machine.take(max, now);
            if !taken.is_empty() {
                return Some(Ok(taken));
            }
            if machine.is_draining() {
                return Some(Ok(Vec::new()));
            }
            if let Some(failure) = machine.take_failure() {
                return Some(Err(failure));
            }
            if demand.max == 0 {
                demand.max = max;
                machine.demand(max, 0);
                self.kicked.notify(usize::MAX);
            }
            None
        })
        .await
    }

    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
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

/// What somebody waits for, while they do.
struct Demand<'a> {
    core: &'a Core,
    max: usize,
}

impl Drop for Demand<'_> {
    fn drop(&mut self) {
        if self.max > 0 {
            self.core.machine().demand(0, self.max);
        }
    }
}

impl Settler for Core {
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
                    "rejected, and nothing was said of rejected events: set `dead_letters` or \
                     `on_reject`",
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
