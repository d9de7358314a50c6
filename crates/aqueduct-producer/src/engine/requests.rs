use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Event, Instant};

use super::key_queue::Meta;

pub(crate) type RequestId = u64;

/// A request to make.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: RequestId,
    pub(crate) events: Arc<Vec<Event>>,
}

/// A request that has no outcomes yet.
pub(super) struct InFlight {
    pub(super) id: RequestId,
    departed: Instant,
    pub(super) events: Arc<Vec<Event>>,
    pub(super) metas: Vec<Meta>,
    /// Whether it was paid for from the retry budget.
    pub(super) paid: bool,
    /// Whether its keys are marked. A lone request needs no marks until a second one comes.
    pub(super) marked: bool,
}

/// The requests in flight.
pub(super) struct Requests {
    list: Vec<InFlight>,
    limit: usize,
    next_id: RequestId,
    /// How long the last completed request took.
    last_took: Duration,
    /// Lists of completed requests, to be filled again.
    buffers: Vec<(Vec<Event>, Vec<Meta>)>,
}

impl Requests {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            list: Vec::new(),
            limit,
            next_id: 0,
            last_took: Duration::ZERO,
            buffers: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns whether no further request may start.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= self.limit
    }

    /// Returns the id of the next request.
    pub(super) fn next_id(&self) -> RequestId {
        self.next_id
    }

    /// Starts a request: it has the id that [`next_id`](Self::next_id) returned before.
    pub(super) fn start(
        &mut self,
        now: Instant,
        events: Vec<Event>,
        metas: Vec<Meta>,
        paid: bool,
        marked: bool,
    ) -> Request {
        let id = self.next_id;
        self.next_id += 1;
        let events = Arc::new(events);
        self.list.push(InFlight {
            id,
            departed: now,
            events: events.clone(),
            metas,
            paid,
            marked,
        });
        Request { id, events }
    }

    pub(super) fn get(&self, id: RequestId) -> Option<&InFlight> {
        self.list.iter().find(|request| request.id == id)
    }

    /// Takes a completed request.
    pub(super) fn complete(&mut self, now: Instant, id: RequestId) -> Option<InFlight> {
        let at = self.list.iter().position(|request| request.id == id)?;
        let request = self.list.swap_remove(at);
        self.last_took = now.since(request.departed);
        Some(request)
    }

    pub(super) fn take_all(&mut self) -> Vec<InFlight> {
        std::mem::take(&mut self.list)
    }

    /// Returns the requests whose keys are not marked.
    pub(super) fn unmarked(&mut self) -> impl Iterator<Item = &mut InFlight> {
        self.list.iter_mut().filter(|request| !request.marked)
    }

    pub(super) fn last_took(&self) -> Duration {
        self.last_took
    }

    /// Returns empty lists for the next request.
    pub(super) fn buffers(&mut self) -> (Vec<Event>, Vec<Meta>) {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps the lists of a completed request for the next, but no more than requests may be in
    /// flight: a burst must not hold memory for ever.
    pub(super) fn recycle(&mut self, mut events: Vec<Event>, mut metas: Vec<Meta>) {
        events.clear();
        metas.clear();
        if self.buffers.len() <= self.limit {
            self.buffers.push((events, metas));
        }
    }

    #[cfg(test)]
    pub(super) fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.list.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_completes_once_and_leaves_its_place() {
        let start = Instant::default();
        let mut requests = Requests::new(2);
        let first = requests.start(start, vec![Event::new("t")], Vec::new(), false, false);
        let next = requests.next_id();
        let second = requests.start(start, vec![Event::new("t")], Vec::new(), false, true);
        assert_eq!((first.id, second.id), (0, next));
        assert!(requests.is_full());
        assert_eq!(requests.unmarked().count(), 1);

        let later = start + Duration::from_millis(5);
        assert!(requests.complete(later, first.id).is_some());
        assert!(requests.complete(later, first.id).is_none());
        assert!(!requests.is_full() && requests.get(second.id).is_some());
        assert_eq!(requests.last_took(), Duration::from_millis(5));
    }

    #[test]
    fn no_more_lists_are_kept_than_requests_may_be_in_flight() {
        let mut requests = Requests::new(2);
        for _ in 0..10 {
            requests.recycle(Vec::with_capacity(8), Vec::new());
        }
        assert!(requests.buffers.len() <= 3);
        assert_eq!(requests.buffers().0.capacity(), 8);
    }
}
