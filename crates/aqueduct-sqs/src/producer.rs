use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aqueduct_core::outcomes::SendOutcomes;
use aqueduct_core::{
    Backoff, Capabilities, Effect, Error, ErrorKind, Event, Lane, Producer, Receipt, Result,
    Runtime, SendReport,
};
use async_trait::async_trait;
use event_listener::Event as Signal;
use futures::StreamExt as _;

use crate::encoding::encode;
use crate::ids;
use crate::queue::{BATCH, BATCH_BYTES, Outgoing, Queue};

/// The most requests of one call in flight at once.
const REQUESTS: usize = 10;

/// How often entries with an unknown outcome are sent again to a FIFO queue.
const RESENDS: u32 = 3;

const RESEND_BACKOFF: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));

/// A call begins no further request after this time, and returns the events left as not sent. The
/// time-out of the caller covers the whole call: a slow service would turn events that were never
/// sent into unknown ones.
const ROUNDS_WITHIN: Duration = Duration::from_secs(8);

/// The most events of one call: enough for all its requests.
pub(crate) const CALL: usize = BATCH * REQUESTS;

/// Sends to one queue, ten messages a request.
///
/// A request never holds two events of one key, because the service stores or refuses each entry
/// separately. The events of one key go out in one request after the other, in parallel with those
/// of other keys.
pub(crate) struct SqsProducer {
    queue: Queue,
    fair: bool,
    runtime: Runtime,
    capabilities: Capabilities,
    closed: AtomicBool,
    calls: CallsInProgress,
}

impl SqsProducer {
    pub(crate) fn new(
        queue: Queue,
        fair: bool,
        capabilities: Capabilities,
        runtime: &Runtime,
    ) -> Self {
        Self {
            queue,
            fair,
            runtime: runtime.clone(),
            capabilities,
            closed: AtomicBool::new(false),
            calls: CallsInProgress::default(),
        }
    }

    fn message(&self, event: &Event) -> Result<Outgoing> {
        event.validate()?;
        let encoded = encode(event);
        self.capabilities
            .limits
            .check_event(event, encoded.size())?;
        let fifo = self.queue.fifo;
        let group = match event.key() {
            Some(key) if fifo || self.fair => Some(ids::group_of_key(key)),
            None if fifo => Some(ids::group_of_keyless(event)),
            _ => None,
        };
        Ok(Outgoing {
            encoded,
            group,
            dedup: fifo.then(|| ids::dedup_of(event, &self.runtime)),
        })
    }

    async fn send(&self, round: Vec<(usize, Outgoing)>) -> Vec<(usize, Result<()>)> {
        let requests = split_into_requests(round)
            .into_iter()
            .map(|request| async move {
                let (indexes, messages): (Vec<_>, Vec<_>) = request.into_iter().unzip();
                let outcomes = self.send_request(messages).await;
                indexes.into_iter().zip(outcomes).collect::<Vec<_>>()
            });
        futures::stream::iter(requests)
            .buffer_unordered(REQUESTS)
            .collect::<Vec<_>>()
            .await
            .concat()
    }
}

impl SqsProducer {
    /// Sends one request. On a FIFO queue, entries with an unknown outcome are sent again: the queue
    /// drops what it has already stored by the deduplication id, and still reports success.
    async fn send_request(&self, messages: Vec<Outgoing>) -> Vec<Result<()>> {
        if !self.queue.fifo {
            return self.queue.send(messages).await;
        }
        let mut outcomes = self.queue.send(messages.clone()).await;
        for attempt in 1..=RESENDS {
            let unknown = |outcome: &Result<()>| matches!(outcome, Err(error) if error.effect() == Effect::Unknown);
            let again: Vec<usize> = (0..outcomes.len())
                .filter(|at| unknown(&outcomes[*at]))
                .collect();
            if again.is_empty() {
                break;
            }
            self.runtime
                .sleep(RESEND_BACKOFF.delay(attempt, &self.runtime))
                .await;
            let resent = again.iter().map(|at| messages[*at].clone()).collect();
            let resent = self.queue.send(resent).await;
            for (at, outcome) in again.into_iter().zip(resent) {
                // A refusal does not tell whether the first request was stored.
                outcomes[at] = outcome.map_err(|error| error.with_effect(Effect::Unknown));
            }
        }
        outcomes
    }
}

#[async_trait]
impl Producer for SqsProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let _call = self.calls.begin();
        if self.closed.load(Ordering::Acquire) {
            let closed = Error::new(ErrorKind::Closed, "the producer is closed");
            return SendReport::failed(events.len(), &closed);
        }
        let mut plan = Plan::new(events);
        let until = self.runtime.now() + ROUNDS_WITHIN;
        while let Some(round) = plan.next_round(|event| self.message(event)) {
            for (index, outcome) in self.send(round).await {
                plan.settle(index, outcome);
            }
            if self.runtime.now() >= until {
                plan.give_back();
                break;
            }
        }
        plan.outcomes.into_report()
    }

    fn lane(&self, _: &Event) -> Lane {
        // The service has no limit per key, only per queue.
        Lane(0)
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn close(&self) -> Result<()> {
        self.closed.store(true, Ordering::Release);
        self.calls.ended().await;
        Ok(())
    }
}

/// Splits a call into rounds in which each key occurs once.
struct Plan<'a> {
    events: &'a [Event],
    outcomes: SendOutcomes<&'a str>,
    left: Vec<usize>,
}

impl<'a> Plan<'a> {
    fn new(events: &'a [Event]) -> Self {
        Self {
            events,
            outcomes: SendOutcomes::new(events.len()),
            left: (0..events.len()).collect(),
        }
    }

    /// Returns the next event of each key and all events without a key; `None` at the end.
    fn next_round<T>(
        &mut self,
        mut message: impl FnMut(&Event) -> Result<T>,
    ) -> Option<Vec<(usize, T)>> {
        while !self.left.is_empty() {
            let mut taken = BTreeSet::new();
            let mut round = Vec::new();
            for index in std::mem::take(&mut self.left) {
                let event = &self.events[index];
                if !self.outcomes.admit(index, event.key()) {
                    continue;
                }
                match event.key() {
                    Some(key) if !taken.insert(key) => self.left.push(index),
                    _ => match message(event) {
                        Ok(message) => round.push((index, message)),
                        Err(error) => self.settle(index, Err(error)),
                    },
                }
            }
            if !round.is_empty() {
                return Some(round);
            }
        }
        None
    }

    /// Returns the events that no request was begun for as failed without effect.
    fn give_back(&mut self) {
        let late = Error::new(
            ErrorKind::Unavailable,
            "not sent: the requests for earlier events took too long; it may be sent again",
        )
        .with_effect(Effect::None);
        for index in std::mem::take(&mut self.left) {
            if self.outcomes.admit(index, self.events[index].key()) {
                self.settle(index, Err(late.clone()));
            }
        }
    }

    fn settle(&mut self, index: usize, outcome: Result<()>) {
        let outcome = outcome.map(|()| Receipt::default());
        self.outcomes
            .settle(index, self.events[index].key(), outcome);
    }
}

/// Splits messages into requests as full as the service allows.
fn split_into_requests(messages: Vec<(usize, Outgoing)>) -> Vec<Vec<(usize, Outgoing)>> {
    let mut requests: Vec<Vec<(usize, Outgoing)>> = Vec::new();
    let mut bytes_left = 0;
    for message in messages {
        let size = message.1.encoded.size();
        match requests.last_mut() {
            Some(last) if last.len() < BATCH && size <= bytes_left => {
                bytes_left -= size;
                last.push(message);
            }
            _ => {
                bytes_left = BATCH_BYTES.saturating_sub(size);
                requests.push(vec![message]);
            }
        }
    }
    requests
}

/// Counts the calls that have not ended, so that `close` can wait for them.
#[derive(Default)]
struct CallsInProgress {
    count: std::sync::atomic::AtomicUsize,
    ended: Signal,
}

struct CallGuard<'a>(&'a CallsInProgress);

impl CallsInProgress {
    fn begin(&self) -> CallGuard<'_> {
        self.count.fetch_add(1, Ordering::AcqRel);
        CallGuard(self)
    }

    async fn ended(&self) {
        loop {
            let ended = self.ended.listen();
            if self.count.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.ended.notify(usize::MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_stored_events_of_a_key_are_a_prefix(
            keys in prop::collection::vec(0..4u8, 0..40),
            fails: Vec<bool>,
        ) {
            let events: Vec<Event> = keys
                .iter()
                .map(|key| match key {
                    0 => Event::new("t"),
                    key => Event::new("t").with_key(key.to_string()),
                })
                .collect();
            let mut plan = Plan::new(&events);
            let mut fails = fails.into_iter();
            while let Some(round) = plan.next_round(|_| Ok(())) {
                let mut seen = BTreeSet::new();
                for (at, ()) in round {
                    prop_assert!(events[at].key().is_none_or(|key| seen.insert(key)));
                    let outcome = match fails.next() {
                        Some(true) => Err(Error::new(ErrorKind::Throttled, "no")),
                        _ => Ok(()),
                    };
                    plan.settle(at, outcome);
                }
            }
            let outcomes = plan.outcomes.into_report().into_outcomes();
            let mut failed = BTreeSet::new();
            for (event, outcome) in events.iter().zip(&outcomes) {
                let Some(key) = event.key() else { continue };
                match outcome {
                    Ok(_) => prop_assert!(!failed.contains(key)),
                    Err(error) if failed.insert(key) => {
                        prop_assert_eq!(error.kind(), ErrorKind::Throttled);
                    }
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Blocked),
                }
            }
        }

        #[test]
        fn events_given_back_leave_no_gap_in_a_key(
            keys in prop::collection::vec(0..4u8, 1..40),
            rounds in 0..5usize,
        ) {
            let events: Vec<Event> = keys
                .iter()
                .map(|key| Event::new("t").with_key(key.to_string()))
                .collect();
            let mut plan = Plan::new(&events);
            for _ in 0..rounds {
                let Some(round) = plan.next_round(|_| Ok(())) else { break };
                for (at, ()) in round {
                    plan.settle(at, Ok(()));
                }
            }
            plan.give_back();
            let mut failed = BTreeSet::new();
            for (event, outcome) in events.iter().zip(plan.outcomes.into_report().into_outcomes()) {
                let key = event.key().unwrap_or_default();
                match outcome {
                    Ok(_) => prop_assert!(!failed.contains(key)),
                    Err(error) if failed.insert(key) => {
                        prop_assert_eq!(error.effect(), Effect::None);
                        prop_assert!(error.is_retryable());
                    }
                    Err(error) => prop_assert_eq!(error.kind(), ErrorKind::Blocked),
                }
            }
        }

        #[test]
        fn requests_stay_within_the_limits(sizes in prop::collection::vec(1..400_000usize, 0..40)) {
            let messages = sizes.iter().enumerate().map(|(at, size)| {
                let body = "x".repeat(*size);
                let encoded = crate::encoding::Encoded { body, attributes: Vec::new() };
                (at, Outgoing { encoded, group: None, dedup: None })
            });
            let requests = split_into_requests(messages.collect());
            let places: Vec<usize> = requests.iter().flatten().map(|it| it.0).collect();
            prop_assert_eq!(places, (0..sizes.len()).collect::<Vec<_>>());
            for request in requests {
                prop_assert!((1..=BATCH).contains(&request.len()));
                let bytes: usize = request.iter().map(|it| it.1.encoded.size()).sum();
                prop_assert!(bytes <= BATCH_BYTES);
            }
        }
    }
}
