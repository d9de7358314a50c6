use std::task::Waker;

use aqueduct_core::outcomes::blocked_error;
use aqueduct_core::{Error, Event, Instant};

use super::backlog::Whole;
use super::key_queue::Meta;
use super::{Answer, CallId, Engine, Rules, closed};

impl Engine {
    /// Opens a call of `count` events.
    pub(crate) fn open(&mut self, now: Instant, count: usize) -> CallId {
        self.callers.calls.open(count, now)
    }

    /// Accepts all events of `call`, for which permits were reserved, in one piece:
    /// if they make a request of their own, since nothing else is in flight or since they
    /// fill most of one. Returns them otherwise.
    pub(crate) fn accept_whole(
        &mut self,
        now: Instant,
        call: CallId,
        events: Vec<Event>,
        sizes: &[usize],
    ) -> Result<(), Vec<Event>> {
        let (count, bytes) = (events.len(), sizes.iter().sum::<usize>());
        let Rules {
            batch_events,
            batch_bytes,
            linger,
            ..
        } = self.rules;
        let fits = count <= batch_events && bytes <= batch_bytes;
        let fills = count * 4 >= batch_events * 3 || bytes * 4 >= batch_bytes * 3;
        let alone = linger.is_zero() && self.is_at_rest() && self.pending.backlog.is_empty();
        if self.callers.is_closed() || self.keys.any_troubled() || !fits || !(fills || alone) {
            return Err(events);
        }
        let (_, mut metas) = self.requests.buffers();
        let epoch = self.callers.epochs.enter_many(count);
        for (index, &bytes) in sizes.iter().enumerate() {
            let seq = self.pending.take_seq();
            metas.push(Meta::new(now, call, index, seq, epoch, bytes));
        }
        self.pending.deadlines.note(self.due(now));
        self.pending.backlog.push_call(Whole {
            events,
            metas,
            held_since: None,
        });
        self.pending.begin(now);
        Ok(())
    }

    /// Accepts event `index` of `call`, for which `bytes` of permits were reserved.
    #[inline]
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        call: CallId,
        index: usize,
        event: Event,
        bytes: usize,
    ) {
        let meta = self.enter(now, call, index, bytes);
        if self.callers.is_closed() {
            return self.fail(meta, event, closed());
        }
        if self.keys.any_troubled() && self.is_troubled(&event) {
            return self.fail(meta, event, blocked_error());
        }
        self.pending.take_seq();
        self.pending.deadlines.note(self.due(now));
        self.pending
            .backlog
            .push(self.pending.store.put(event, meta), bytes);
        self.pending.begin(now);
    }

    /// Fails event `index` of `call` at once; later events of its key in the call are blocked.
    pub(crate) fn refuse(
        &mut self,
        now: Instant,
        call: CallId,
        index: usize,
        event: Event,
        bytes: usize,
        error: Error,
    ) {
        let meta = self.enter(now, call, index, bytes);
        self.fail(meta, event, error);
    }

    /// Creates the metadata of an accepted event.
    fn enter(&mut self, now: Instant, call: CallId, index: usize, bytes: usize) -> Meta {
        let epoch = self.callers.epochs.enter();
        Meta::new(now, call, index, self.pending.next_seq(), epoch, bytes)
    }

    /// Returns the result of `call` once it is complete. Its failures count as seen then.
    pub(crate) fn poll_call(&mut self, id: CallId, waker: &Waker) -> Option<Answer> {
        let call = self.callers.calls.get(id)?;
        if call.remaining > 0 {
            match &mut call.waker {
                Some(known) if known.will_wake(waker) => {}
                place => *place = Some(waker.clone()),
            }
            return None;
        }
        let call = self.callers.calls.remove(id)?;
        self.delivered(&call.failed);
        Some(Answer {
            outcomes: call.outcomes,
            failed: call.failed,
        })
    }

    /// Notes that the caller of `call` has gone away: its events are still sent, and its failures count
    /// as seen.
    pub(crate) fn abandon(&mut self, id: CallId) {
        let Some(call) = self.callers.calls.get(id) else {
            return;
        };
        call.abandoned = true;
        call.waker = None;
        let failed = std::mem::take(&mut call.failed);
        let errors = failed.first().map(|(at, _)| call.outcomes[*at].clone());
        if call.remaining == 0 {
            self.callers.calls.remove(id);
        }
        if let Some(Err(error)) = errors {
            self.callers.lost.add(error, failed.len());
        }
        self.delivered(&failed);
    }

    fn is_troubled(&self, event: &Event) -> bool {
        let found = event.key_text().and_then(|key| self.keys.find(key));
        found.is_some_and(|id| self.keys.is_troubled(id))
    }

    fn delivered(&mut self, failed: &[(usize, Event)]) {
        for (_, event) in failed {
            let Some(key) = event.key_text() else {
                continue;
            };
            if let Some(id) = self.keys.find(key)
                && self.keys.failure_seen(id)
            {
                self.tidy(id);
            }
        }
    }
}
