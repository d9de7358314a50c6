use aqueduct_core::{
    Error, Instant, OpenPartition, PartitionId, Position, ReadFailure, ReadFrom, Record, Tail,
    Timestamp,
};
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Slot, lock};

/// The reader's side.
impl Slot {
    /// Waits until records may be read; returns how many.
    pub(in crate::driver) async fn room(&self) -> usize {
        loop {
            let listener = self.room.listen();
            let freed = self
                .shared
                .options
                .budget
                .as_ref()
                .map(|budget| budget.freed());
            let (room, affordable) = self.look_for_room();
            if room > 0 && affordable {
                return room;
            }
            match freed.filter(|_| !affordable) {
                Some(freed) => drop(futures::future::select(freed, listener).await),
                None => listener.await,
            }
        }
    }

    /// Returns how many records may be read now; `None` while there is no room.
    pub(in crate::driver) fn room_now(&self) -> Option<usize> {
        let (room, affordable) = self.look_for_room();
        (room > 0 && affordable).then_some(room)
    }

    fn look_for_room(&self) -> (usize, bool) {
        let mut inner = lock(&self.inner);
        let budget = self.shared.options.budget.as_ref();
        let affordable = budget.is_none_or(|budget| budget.allows(inner.charged));
        let draining = self.shared.receivers.draining.load(Ordering::Acquire);
        let room = if draining { 0 } else { inner.tracker.room() };
        inner.reader_waits = room == 0 || !affordable;
        (room, affordable)
    }

    pub(in crate::driver) fn wake_reader(&self) {
        self.room.notify(usize::MAX);
    }

    /// Adds the records of a read.
    pub(in crate::driver) fn fetched(
        &self,
        records: Vec<Record>,
        tail: Option<(Tail, Timestamp)>,
        now: Instant,
    ) {
        let mut inner = lock(&self.inner);
        inner.failing = None;
        let empty = records.is_empty();
        inner.tracker.fetched(records, now);
        if let Some((tail, at)) = tail {
            let seen = inner.tracker.last_seen();
            inner.lag.read(tail, seen, now);
            if is_at_end(tail, seen) {
                inner.tracker.at_end(at);
            }
        }
        if empty {
            return;
        }
        self.charge(&mut inner);
        let watched = inner.watched;
        drop(inner);
        self.shared.receivers.ready.notify(usize::MAX);
        if watched {
            self.shared.driver.wake.notify(usize::MAX);
        }
    }

    /// Notes the tail that was requested beside the reads.
    pub(in crate::driver) fn tail_asked(&self, tail: Tail, now: Instant) {
        let mut inner = lock(&self.inner);
        let seen = inner.tracker.last_seen();
        inner.lag.asked(tail, seen, now);
    }

    /// Notes a failed read; returns how many failed in a row.
    pub(in crate::driver) fn read_failed(&self, error: &Error, now: Instant) -> u32 {
        let mut inner = lock(&self.inner);
        let (count, since) = match &inner.failing {
            Some((count, failure)) => (count.saturating_add(1), failure.since),
            None => (1, now),
        };
        let error = error.clone();
        inner.failing = Some((count, ReadFailure { error, since }));
        count
    }

    /// Stops reading at a gap; `receive_batch` returns the error once no partition can go on.
    pub(in crate::driver) fn stop_at_gap(&self, error: Error) {
        let since = self.shared.runtime.now();
        let mut inner = lock(&self.inner);
        inner.failing = Some((u32::MAX, ReadFailure { error, since }));
        inner.gap = true;
        drop(inner);
        self.shared.receivers.gaps.store(true, Ordering::Release);
        self.shared.receivers.ready.notify(usize::MAX);
    }

    /// Returns the gap at which reading stopped, once everything before it is settled.
    pub(in crate::driver) fn gap(&self) -> Option<Error> {
        let inner = lock(&self.inner);
        let (_, failure) = inner.failing.as_ref()?;
        (inner.gap && inner.tracker.held() == 0).then(|| failure.error.clone())
    }

    pub(in crate::driver) fn reader_ended(&self, children: Vec<PartitionId>) {
        let mut inner = lock(&self.inner);
        inner.tracker.reader_ended(children);
        inner.watched = true;
        drop(inner);
        self.shared.driver.wake.notify(usize::MAX);
    }

    /// Returns whether an expired position loses nothing: everything stored until a time within the
    /// retention is settled, so the partition was only idle (rule 9). `now` is the server's time, as
    /// are the times it is compared with.
    pub(in crate::driver) fn is_quiet(&self, now: Timestamp) -> bool {
        let Some(retention) = self.shared.options.retention else {
            return false;
        };
        let inner = lock(&self.inner);
        let caught_up = inner.tracker.caught_up_at().max(self.origin.caught_up_at);
        let settled = inner.tracker.held() == 0;
        settled && caught_up.is_some_and(|at| now.since(at) < retention)
    }

    /// Returns where a new reader goes on.
    pub(in crate::driver) fn read_from(&self) -> Option<ReadFrom> {
        lock(&self.inner).tracker.read_from()
    }

    /// Returns the request that opens a reader where the last one stopped; `None` if everything is
    /// read.
    pub(in crate::driver) fn resume(&self) -> Option<OpenPartition> {
        let inner = lock(&self.inner);
        let mut request = self.request(inner.tracker.read_from()?);
        request.resume_token = inner.tracker.read_token().cloned();
        Some(request)
    }
}

/// Returns whether a read that ended at `seen` left nothing behind.
fn is_at_end(tail: Tail, seen: Option<Position>) -> bool {
    match (tail.events_behind, tail.last) {
        (Some(behind), _) => behind == 0,
        (None, Some(last)) => Some(last) <= seen,
        // Not where the others are known: the last of two events stored at once is not behind either.
        (None, None) => tail.time_behind == Some(Duration::ZERO),
    }
}
