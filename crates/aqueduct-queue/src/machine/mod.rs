//! The state and decisions of a consumer, without I/O: its driver reports what happened and when, and
//! carries out the commands of [`Machine::poll`].

mod acks;
mod failures;
mod key_queues;
mod lease;
mod messages;
mod numbered;
mod receive;
mod receiving;
mod recent;
mod releases;
mod rights;
mod settle;
mod timers;

#[cfg(test)]
mod model;
#[cfg(test)]
mod pushing;
#[cfg(test)]
mod tests;

use std::time::Duration;

use aqueduct_core::{Error, Instant, QueueSettings, Revocation, SmallStr};

use self::acks::Acks;
use self::failures::Failures;
use self::messages::{Messages, State};
use self::receiving::{Load, Receiving};
use self::recent::Recent;
use self::releases::Releases;
use self::rights::Rights;
pub(crate) use self::settle::Again;

/// A request that the driver makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Receive up to that many.
    Receive { max: usize },
    /// Acknowledge messages, by number and receipt.
    Ack { messages: Vec<(u64, SmallStr)> },
    /// Extend the leases of messages to those durations from now.
    Extend {
        messages: Vec<(u64, SmallStr, Duration)>,
    },
    /// Give messages back with those delays.
    Release { messages: Vec<(SmallStr, Duration)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Open,
    Draining,
    Closed,
}

/// Numbers for metrics since they were taken last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) expired: u64,
    pub(crate) repeated: u64,
    pub(crate) released: u64,
}

/// The state of a consumer. See the module.
pub(crate) struct Machine {
    settings: QueueSettings,
    messages: Messages,
    rights: Rights,
    acks: Acks,
    releases: Releases,
    receiving: Receiving,
    recent: Recent,
    phase: Phase,
    leases: Leases,
}

/// The state of extensions.
#[derive(Debug, Default)]
struct Leases {
    failures: Failures,
    /// Messages whose lease ended while they were in flight: for metrics.
    expired: u64,
}

impl Machine {
    pub(crate) fn new(settings: QueueSettings) -> Self {
        Self {
            messages: Messages::new(settings.ordered),
            settings,
            rights: Rights::default(),
            acks: Acks::default(),
            releases: Releases::default(),
            receiving: Receiving::default(),
            recent: Recent::default(),
            phase: Phase::Open,
            leases: Leases::default(),
        }
    }

    /// Returns the requests to make now.
    pub(crate) fn poll(&mut self, now: Instant) -> Vec<Command> {
        let batch = self.settings.batch;
        let extend = self.fire(now);
        let mut commands: Vec<Command> = extend
            .chunks(batch)
            .map(|messages| Command::Extend {
                messages: messages.to_vec(),
            })
            .collect();
        while let Some(messages) = self.releases.next(batch) {
            commands.push(Command::Release { messages });
        }
        while let Some(messages) = self.next_acks(now) {
            commands.push(Command::Ack { messages });
        }
        while let Some(max) = self.next_receive(now) {
            commands.push(Command::Receive { max });
        }
        commands
    }

    /// Returns when to poll again if nothing happens before.
    pub(crate) fn next_wake(&self, now: Instant) -> Option<Instant> {
        let receive = match self.is_draining() {
            true => None,
            false => self.receiving.wake(&self.settings, self.load(), now),
        };
        [self.messages.wake(), self.acks.wake(), receive]
            .into_iter()
            .flatten()
            .min()
    }

    /// Returns whether rights to settle were revoked since the last call.
    pub(crate) fn take_changed_rights(&mut self) -> bool {
        self.rights.take_changed()
    }

    pub(crate) fn take_counts(&mut self) -> Counts {
        Counts {
            expired: std::mem::take(&mut self.leases.expired),
            repeated: std::mem::take(&mut self.recent.repeated),
            released: std::mem::take(&mut self.releases.released),
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.messages.len()
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.receiving.is_paused()
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.phase >= Phase::Draining
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    pub(crate) fn pause(&mut self, paused: bool) {
        self.receiving.pause(paused);
    }

    /// Stops receiving, and gives back what is not delivered: others can have it now.
    pub(crate) fn drain(&mut self, now: Instant) {
        self.phase = self.phase.max(Phase::Draining);
        self.acks.hurry(true);
        let undelivered = |state| matches!(state, State::Ready | State::Delayed(_));
        for number in self.messages.with_state(undelivered) {
            if self.settings.locks_keys || !self.messages.is_behind_delivered(number) {
                self.release(number, now);
            }
        }
    }

    /// Drains, and revokes what is delivered: shutting down is not a failed attempt.
    pub(crate) fn close(&mut self, now: Instant) {
        self.phase = Phase::Closed;
        self.drain(now);
        let delivered = |state| matches!(state, State::Delivered(_));
        for number in self.messages.with_state(delivered) {
            self.revoke(number, Revocation::Shutdown);
            // What waited behind it goes after it, in order.
            let behind = match self.settings.locks_keys {
                true => Vec::new(),
                false => self.messages.behind(number),
            };
            self.release(number, now);
            for later in behind {
                self.revoke(later, Revocation::Shutdown);
                self.release(later, now);
            }
        }
    }

    /// Returns whether the service knows of every settlement.
    pub(crate) fn is_flushed(&self) -> bool {
        self.acks.is_empty()
    }

    /// Returns whether no request is needed any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.acks.is_empty() && self.releases.is_empty()
    }

    /// Sends acks without waiting for full batches, while a flush waits.
    pub(crate) fn hurry(&mut self, hurry: bool) {
        self.acks.hurry(hurry || self.is_draining());
    }

    /// Returns how many handled messages could not be acknowledged in time, since the last call.
    pub(crate) fn take_lost(&mut self) -> u64 {
        self.acks.take_lost()
    }

    pub(crate) fn released(&mut self) {
        self.releases.ended();
    }

    /// Returns since when an operation has failed without a success.
    pub(crate) fn unreachable_since(&self) -> Option<Instant> {
        let failures = [
            &self.receiving.failures,
            &self.acks.failures,
            &self.leases.failures,
        ];
        failures.into_iter().filter_map(Failures::since).min()
    }

    /// Returns each failure that retrying does not mend, or has not for a while, once.
    pub(crate) fn take_failure(&mut self, now: Instant) -> Option<Error> {
        let receiving = self.receiving.failures.take_lasting(now);
        let acks = || self.acks.failures.take_lasting(now);
        let receiving = receiving.or_else(acks);
        receiving.or_else(|| self.leases.failures.take_lasting(now))
    }

    /// Returns the failure for which a flush should not wait any longer.
    pub(crate) fn ack_failure(&self, now: Instant) -> Option<Error> {
        self.acks.failures.lasting(now).cloned()
    }

    fn load(&self) -> Load {
        Load {
            in_flight: self.messages.len(),
            ready: self.messages.ready(),
            bytes: self.messages.bytes(),
            are_out: self.rights.are_out(),
        }
    }

    /// The time for which the engine takes a lease.
    fn lease(&self) -> Duration {
        match self.settings.client_leases {
            true => self.longest_lease(),
            false => self.settings.lease,
        }
    }

    /// The time that messages can be hidden, with a second for the clocks' difference.
    fn longest_lease(&self) -> Duration {
        let second = Duration::from_secs(1);
        self.settings.longest_lease.saturating_sub(second)
    }
}
