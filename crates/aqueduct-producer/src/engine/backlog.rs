use std::collections::VecDeque;

use aqueduct_core::{Event, Instant};

use super::key_queue::Meta;
use super::store::{Store, Ticket};

/// Accepted events in their order, before they are assigned to a request or a queue.
#[derive(Default)]
pub(super) struct Backlog {
    line: VecDeque<Next>,
    events: usize,
    bytes: usize,
}

enum Next {
    Event(Ticket),
    Call(Whole),
}

/// The events of a call that fills most of a request: if none of them has to wait, they become the
/// request without being moved.
pub(super) struct Whole {
    pub(super) events: Vec<Event>,
    pub(super) metas: Vec<Meta>,
    /// When it began to wait at the front for requests in flight.
    pub(super) held_since: Option<Instant>,
}

impl Whole {
    fn bytes(&self) -> usize {
        self.metas.iter().map(|meta| meta.bytes).sum()
    }
}

impl Backlog {
    pub(super) fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Returns the number of events.
    pub(super) fn len(&self) -> usize {
        self.events
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(super) fn push(&mut self, ticket: Ticket, bytes: usize) {
        self.events += 1;
        self.bytes += bytes;
        self.line.push_back(Next::Event(ticket));
    }

    pub(super) fn push_call(&mut self, call: Whole) {
        self.events += call.events.len();
        self.bytes += call.bytes();
        self.line.push_back(Next::Call(call));
    }

    /// Returns the metadata of the first event.
    #[inline]
    pub(super) fn first<'a>(&'a self, store: &'a Store) -> Option<&'a Meta> {
        match self.line.front()? {
            Next::Event(ticket) => Some(store.meta(*ticket)),
            Next::Call(call) => call.metas.first(),
        }
    }

    /// Returns the front, if it is a whole call.
    pub(super) fn first_call(&self) -> Option<&Whole> {
        match self.line.front()? {
            Next::Event(_) => None,
            Next::Call(call) => Some(call),
        }
    }

    pub(super) fn first_call_mut(&mut self) -> Option<&mut Whole> {
        match self.line.front_mut()? {
            Next::Event(_) => None,
            Next::Call(call) => Some(call),
        }
    }

    /// Removes the front, if it is a whole call.
    pub(super) fn pop_call(&mut self) -> Option<Whole> {
        match self.line.pop_front()? {
            Next::Call(call) => {
                self.events -= call.events.len();
                self.bytes -= call.bytes();
                Some(call)
            }
            event => {
                self.line.push_front(event);
                None
            }
        }
    }

    /// Returns the front, if it is a single event.
    #[inline]
    pub(super) fn first_event(&self) -> Option<Ticket> {
        match self.line.front()? {
            Next::Event(ticket) => Some(*ticket),
            Next::Call(_) => None,
        }
    }

    /// Removes the front, if it is a single event.
    #[inline]
    pub(super) fn pop_event(&mut self, store: &Store) -> Option<Ticket> {
        let ticket = self.first_event()?;
        self.line.pop_front();
        self.events -= 1;
        self.bytes -= store.meta(ticket).bytes;
        Some(ticket)
    }

    /// Puts the event that was removed last back to the front.
    pub(super) fn put_back(&mut self, ticket: Ticket, store: &Store) {
        self.events += 1;
        self.bytes += store.meta(ticket).bytes;
        self.line.push_front(Next::Event(ticket));
    }

    /// Splits the whole call at the front into single events.
    pub(super) fn split_first(&mut self, store: &mut Store) {
        let Some(call) = self.pop_call() else { return };
        for (event, meta) in call.events.into_iter().zip(call.metas).rev() {
            let ticket = store.put(event, meta);
            self.put_back(ticket, store);
        }
    }

    /// Returns the tickets of the single events.
    #[cfg(test)]
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let line = self.line.iter();
        line.filter_map(|next| match next {
            Next::Event(ticket) => Some(*ticket),
            Next::Call(_) => None,
        })
        .collect()
    }

    /// Removes everything.
    pub(super) fn take_all(&mut self, store: &mut Store) -> Vec<Ticket> {
        let mut all = Vec::with_capacity(self.events);
        for next in std::mem::take(self).line {
            match next {
                Next::Event(ticket) => all.push(ticket),
                Next::Call(call) => {
                    let events = call.events.into_iter().zip(call.metas);
                    all.extend(events.map(|(event, meta)| store.put(event, meta)));
                }
            }
        }
        all
    }
}
