use aqueduct_core::{Event, Instant};

use super::key_queue::Meta;

/// The index of a waiting event: the event is not moved while its ticket goes from queue to
/// queue.
pub(super) type Ticket = u32;

/// The waiting events, in reused slots.
#[derive(Default)]
pub(super) struct Store {
    slots: Vec<Slot>,
    free: Vec<Ticket>,
}

struct Slot {
    /// `None` if the slot is free.
    event: Option<Event>,
    meta: Meta,
}

impl Store {
    #[inline]
    pub(super) fn put(&mut self, event: Event, meta: Meta) -> Ticket {
        let slot = Slot {
            event: Some(event),
            meta,
        };
        match self.free.pop() {
            Some(ticket) => {
                self.slots[ticket as usize] = slot;
                ticket
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as Ticket
            }
        }
    }

    #[inline]
    pub(super) fn event(&self, ticket: Ticket) -> Option<&Event> {
        self.slots[ticket as usize].event.as_ref()
    }

    #[inline]
    pub(super) fn meta(&self, ticket: Ticket) -> &Meta {
        &self.slots[ticket as usize].meta
    }

    #[inline]
    pub(super) fn meta_mut(&mut self, ticket: Ticket) -> &mut Meta {
        &mut self.slots[ticket as usize].meta
    }

    /// Returns the tickets of the events that wait.
    #[cfg(test)]
    pub(super) fn tickets(&self) -> Vec<Ticket> {
        let slots = self.slots.iter().enumerate();
        slots
            .filter(|(_, slot)| slot.event.is_some())
            .map(|(at, _)| at as Ticket)
            .collect()
    }

    /// Returns whether no event waits.
    pub(super) fn is_empty(&self) -> bool {
        self.slots.len() == self.free.len()
    }

    /// Returns when the oldest event that waits was accepted.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let waiting = self.slots.iter().filter(|slot| slot.event.is_some());
        waiting.map(|slot| slot.meta.submitted).min()
    }

    /// Removes the event and frees its slot.
    #[inline]
    pub(super) fn take(&mut self, ticket: Ticket) -> Option<(Event, Meta)> {
        let slot = &mut self.slots[ticket as usize];
        let event = slot.event.take()?;
        self.free.push(ticket);
        Some((event, slot.meta))
    }
}
