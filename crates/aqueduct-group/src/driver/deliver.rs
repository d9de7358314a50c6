use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_core::{Delivery, Error, Instant, Parts, Result};

use super::slot::Slot;
use super::{Shared, lock};

/// The largest initial capacity of a batch.
const ROOM: usize = 256;

/// The partitions that deliver.
#[derive(Default)]
pub(super) struct Slots {
    pub(super) list: Vec<Arc<Slot>>,
    /// The partition to ask first.
    turn: usize,
    /// Taken deliveries of a batch that is not full yet.
    staged: Vec<(Parts, Arc<Slot>)>,
    staged_since: Instant,
}

impl Slots {
    pub(super) fn put_back(&mut self) {
        for (parts, slot) in self.staged.drain(..).rev() {
            slot.put_back(&parts);
        }
    }

    /// Returns a gap if every owned partition stopped at one; otherwise the others go on (rule 9).
    fn gap_of_all(&self) -> Option<Error> {
        let mut first = None;
        for slot in &self.list {
            first.get_or_insert(slot.gap()?);
        }
        first
    }

    /// Takes up to `max`, an equal share of each partition first; returns when to look again.
    fn take<T>(
        &mut self,
        max: usize,
        now: Instant,
        out: &mut Vec<T>,
        make: impl Fn(Parts, &Arc<Slot>) -> T,
    ) -> Option<Instant> {
        let count = self.list.len();
        let mut due: Option<Instant> = None;
        self.turn = if count == 0 {
            0
        } else {
            (self.turn + 1) % count
        };
        // It is marked as started while it waits, so a crash would count against it.
        if let Some(marked) = self.list.iter().position(|slot| slot.is_marked()) {
            self.turn = marked;
        }
        let share = max.div_ceil(count.max(1));
        for quota in [share, max] {
            for at in 0..count {
                let room = quota.min(max - out.len());
                if room == 0 {
                    return None;
                }
                let slot = &self.list[(self.turn + at) % count];
                let next = slot.take(room, now, |parts| {
                    if out.capacity() == 0 {
                        // Growing step by step would copy the deliveries already taken.
                        out.reserve(max.min(ROOM));
                    }
                    out.push(make(parts, slot));
                });
                due = [due, next].into_iter().flatten().min();
            }
            if share == max || out.is_empty() {
                break;
            }
        }
        due
    }
}

impl Shared {
    /// Waits for deliveries. Nothing is taken from a partition before the poll that returns it,
    /// but for a batch that waits to fill up; that one stays for the next call.
    pub(crate) async fn receive(&self, max: usize) -> Result<Vec<Delivery>> {
        let max = max.max(1);
        if let Some(answer) = self.try_receive(max).0 {
            return answer;
        }
        let _waiting = Waiting::begin(self);
        loop {
            let ready = self.receivers.ready.listen();
            let (answer, due) = self.try_receive(max);
            if let Some(answer) = answer {
                return answer;
            }
            match due {
                Some(due) => {
                    let due = self.runtime.sleep_until(due);
                    drop(futures::future::select(ready, due).await);
                }
                None => ready.await,
            }
        }
    }

    fn try_receive(&self, max: usize) -> (Option<Result<Vec<Delivery>>>, Option<Instant>) {
        if let Some(failure) = &*lock(&self.ending.failure) {
            return (Some(Err(failure.clone())), None);
        }
        if self.receivers.draining.load(Ordering::Acquire) {
            return (Some(Ok(Vec::new())), None);
        }
        if self.receivers.paused.load(Ordering::Acquire) {
            return (None, None);
        }
        let now = self.runtime.now();
        let mut slots = lock(&self.receivers.slots);
        let wait = self.options.max_batch_wait;
        if !wait.is_zero() {
            return self.fill_up(&mut slots, max, now);
        }
        let mut out = Vec::new();
        let due = slots.take(max, now, &mut out, |parts, slot| {
            Delivery::new(parts, slot.clone())
        });
        drop(slots);
        if out.is_empty() {
            let gaps = self.receivers.gaps.load(Ordering::Acquire);
            let gap = gaps
                .then(|| lock(&self.receivers.slots).gap_of_all())
                .flatten();
            return (gap.map(Err), due);
        }
        self.receivers.delivered.increment(out.len() as u64);
        (Some(Ok(out)), None)
    }

    /// Collects a batch until it is full or has waited long enough.
    fn fill_up(
        &self,
        slots: &mut Slots,
        max: usize,
        now: Instant,
    ) -> (Option<Result<Vec<Delivery>>>, Option<Instant>) {
        let mut staged = std::mem::take(&mut slots.staged);
        staged.retain(|(parts, slot)| !slot.is_revoked(parts.ticket));
        if staged.is_empty() {
            slots.staged_since = now;
        }
        let mut due = None;
        if staged.len() < max {
            due = slots.take(max, now, &mut staged, |parts, slot| (parts, slot.clone()));
        }
        let full_by = slots.staged_since + self.options.max_batch_wait;
        if staged.is_empty() || (staged.len() < max && now < full_by) {
            let due = match staged.is_empty() {
                true => due,
                false => [due, Some(full_by)].into_iter().flatten().min(),
            };
            let nothing = staged.is_empty();
            slots.staged = staged;
            let gaps = nothing && self.receivers.gaps.load(Ordering::Acquire);
            let gaps = gaps.then(|| slots.gap_of_all()).flatten();
            return (gaps.map(Err), due);
        }
        slots.staged = staged.split_off(max.min(staged.len()));
        let out: Vec<_> = staged
            .into_iter()
            .map(|(parts, slot)| Delivery::new(parts, slot))
            .collect();
        self.receivers.delivered.increment(out.len() as u64);
        (Some(Ok(out)), None)
    }
}

/// A receiver that found nothing; partitions read with caution go on only while one waits.
struct Waiting<'a>(&'a Shared);

impl<'a> Waiting<'a> {
    fn begin(shared: &'a Shared) -> Self {
        shared.receivers.waiting.fetch_add(1, Ordering::AcqRel);
        let watched = lock(&shared.receivers.slots)
            .list
            .iter()
            .any(|slot| slot.is_watched());
        if watched {
            shared.driver.wake.notify(usize::MAX);
        }
        Self(shared)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.receivers.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}
