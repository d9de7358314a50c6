use std::time::Duration;

use aqueduct_core::{AttemptCount, Error, Instant, Parts, QueueMessage, Revocation};

use super::Machine;
use super::messages::{InFlight, State};

impl Machine {
    /// Changes the number of messages that receivers wait for.
    pub(crate) fn demand(&mut self, more: usize, less: usize) {
        self.receiving.demand(more, less);
    }

    /// Takes the messages of a response to a request made at `asked`, the earliest time at which
    /// the service can have handed them out.
    pub(crate) fn received(&mut self, messages: Vec<QueueMessage>, asked: Instant, now: Instant) {
        self.receiving.received(messages.len(), &self.settings);
        for message in messages {
            self.arrive(message, asked, now);
        }
    }

    /// Notes that receiving failed; returns whether to warn.
    pub(crate) fn not_received(&mut self, error: Error, wait: Duration, now: Instant) -> bool {
        self.receiving.failed(error, wait, now);
        self.receiving.failures.take_warning(now)
    }

    /// Returns how many requests failed in a row.
    pub(crate) fn failed_receives(&self) -> u32 {
        self.receiving.failures.count()
    }

    /// Notes a request that was given up before its response.
    pub(crate) fn receive_cancelled(&mut self) {
        self.receiving.cancelled();
    }

    /// Takes up to `max` messages that can be delivered.
    pub(crate) fn take(&mut self, max: usize, now: Instant) -> Vec<Parts> {
        let mut taken = Vec::new();
        if self.is_paused() || self.is_draining() {
            return taken;
        }
        while taken.len() < max {
            let run = self.messages.next_run(max - taken.len());
            if run.is_empty() {
                break;
            }
            for number in run {
                match self.messages.get(number) {
                    // Its lease has ended: it goes, and those behind it with it.
                    Some(message) if message.lease_end <= now => {
                        self.expire(number, now);
                        break;
                    }
                    Some(_) => taken.extend(self.deliver(number)),
                    None => break,
                }
            }
        }
        taken
    }

    pub(super) fn next_receive(&mut self, now: Instant) -> Option<usize> {
        if self.is_draining() {
            return None;
        }
        let load = self.load();
        self.receiving.next(&self.settings, load, now)
    }

    fn deliver(&mut self, number: u64) -> Option<Parts> {
        let ticket = self.messages.number();
        let longest = self.longest_lease();
        let it = self.messages.get(number)?;
        let mut parts = Parts::new(it.message.event.clone(), ticket);
        parts.attempt = it.runs.saturating_add(1);
        parts.stored_at = it.message.stored_at;
        parts.deadline = Some(it.received_at + longest);
        self.rights.grant(ticket, number);
        self.messages.set_state(number, State::Delivered(ticket));
        Some(parts)
    }

    fn arrive(&mut self, message: QueueMessage, asked: Instant, now: Instant) {
        if let Some(number) = self.messages.find(&message.id) {
            self.recent.repeated += 1;
            self.arrive_again(number, message, asked, now);
            return;
        }
        let note = self.recent.of(&message.id);
        let receipts = match self.settings.attempts {
            AttemptCount::Receipts => message.receipts.saturating_sub(1),
            AttemptCount::Runs => 0,
        };
        let received = asked - message.held;
        let mut message = InFlight::new(message, received, self.lease());
        message.runs = note.runs.max(receipts);
        message.state = match note.until {
            _ if note.done => State::Acked,
            // The service handed it out before the delay of its nack was over.
            Some(until) if until > now => State::Delayed(until),
            _ => State::Ready,
        };
        let number = self.messages.insert(message);
        self.set_timer(number);
        if note.done {
            // It was handled and the ack came too late: it is acknowledged again, unseen.
            self.recent.repeated += 1;
            self.queue_ack(number, now);
        } else if self.is_draining() {
            self.release(number, now);
        }
    }

    /// A message came again while it is in flight: only the newest receipt counts.
    fn arrive_again(&mut self, number: u64, again: QueueMessage, asked: Instant, now: Instant) {
        let lease = self.lease();
        let Some(it) = self.messages.get_mut(number) else {
            return;
        };
        it.message.receipt = again.receipt;
        it.received_at = asked - again.held;
        it.lease_end = it.received_at + lease;
        it.extend_after = None;
        let acked = it.state == State::Acked;
        let queued = it.ack_queued;
        self.set_timer(number);
        match acked {
            true if queued => self.acks.push_again(number, now),
            true => self.queue_ack(number, now),
            false => {}
        }
    }

    /// Revokes the delivery of a message.
    pub(super) fn revoke(&mut self, number: u64, why: Revocation) {
        if let Some(State::Delivered(ticket)) = self.messages.get(number).map(|it| it.state) {
            self.rights.revoke(ticket, why);
            self.messages.set_state(number, State::Ready);
        }
    }
}
