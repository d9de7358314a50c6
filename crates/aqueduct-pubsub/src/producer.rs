mod publisher;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_core::hash::hash_key;
use aqueduct_core::outcomes::SendOutcomes;
use aqueduct_core::{
    BatchProducer, Capabilities, Error, ErrorKind, Event, Lane, Receipt, Result, SendReport,
};
use async_trait::async_trait;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use google_cloud_pubsub::model::Message;

pub(crate) use self::publisher::Publisher;
use crate::codec::{encode, size_of};
use crate::config::Sending;

/// The most events of one call. With many keys it makes many requests, and the more events of a key a
/// call has, the fewer.
pub(crate) const CALL: usize = 5_000;

/// The service's limit of messages in a request.
pub(crate) const REQUEST: usize = 1_000;

/// The service's limit of a request and of a message in it, in bytes.
const REQUEST_BYTES: usize = 10_000_000;

/// The largest message: a request holds the topic's name beside it.
pub(crate) const LARGEST: usize = REQUEST_BYTES - 512;

/// Sends to one topic.
pub(crate) struct PubSubProducer {
    publisher: Publisher,
    sending: Sending,
    capabilities: Capabilities,
    calls: Calls,
}

impl PubSubProducer {
    pub(crate) fn new(publisher: Publisher, sending: Sending, capabilities: Capabilities) -> Self {
        Self {
            publisher,
            sending,
            capabilities,
            calls: Calls::default(),
        }
    }

    fn message(&self, event: &Event) -> Result<(Message, usize)> {
        let message = encode(event, self.sending.encoding, self.sending.ordering)?;
        let size = size_of(&message);
        self.capabilities.limits.check_event(event, size)?;
        Ok((message, size))
    }

    /// Sends the requests of a chain one after the other, and stops at the first that fails.
    async fn send_chain(&self, chain: Chain) -> Vec<(Vec<usize>, Result<()>)> {
        let mut outcomes = Vec::with_capacity(chain.requests.len());
        let mut failed = false;
        for request in chain.requests {
            let outcome = match failed {
                true => Err(aqueduct_core::outcomes::blocked_error()),
                false => self.publisher.send(request.messages).await,
            };
            failed |= outcome.is_err();
            outcomes.push((request.indexes, outcome));
        }
        outcomes
    }
}

#[async_trait]
impl BatchProducer for PubSubProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let Some(_call) = self.calls.begin() else {
            let closed = Error::new(ErrorKind::Closed, "the producer is closed");
            return SendReport::failed(events.len(), &closed);
        };
        let mut outcomes = SendOutcomes::new(events.len());
        let mut plan = Plan::new(self.sending.ordering);
        for (index, event) in events.iter().enumerate() {
            if !outcomes.admit(index, event.key()) {
                continue;
            }
            match self.message(event) {
                Ok((message, size)) => plan.push(index, event.key(), message, size),
                Err(error) => outcomes.failed(index, event.key(), error),
            }
        }
        let mut chains: FuturesUnordered<_> = plan
            .chains
            .into_iter()
            .map(|chain| self.send_chain(chain))
            .collect();
        while let Some(done) = chains.next().await {
            for (indexes, outcome) in done {
                for index in indexes {
                    let outcome = outcome.clone().map(|()| Receipt::default());
                    outcomes.settle(index, events[index].key(), outcome);
                }
            }
        }
        outcomes.into_report()
    }

    fn lane(&self, event: &Event) -> Lane {
        // The service limits an ordering key to 1 MB/s. Zero is left to what has none.
        match event.key().filter(|_| self.sending.ordering) {
            Some(key) => Lane((hash_key(key) >> 64) as u64 | 1),
            None => Lane(0),
        }
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities.clone()
    }

    async fn close(&self) -> Result<()> {
        self.calls.close().await;
        Ok(())
    }
}

/// The requests of one call. Those of one chain follow each other; chains run in parallel.
struct Plan<'a> {
    ordering: bool,
    chains: Vec<Chain>,
    by_key: HashMap<&'a str, usize>,
    /// The last chain of events without order.
    free: Option<usize>,
}

#[derive(Default)]
struct Chain {
    requests: Vec<Request>,
}

#[derive(Default)]
struct Request {
    indexes: Vec<usize>,
    messages: Vec<Message>,
    bytes: usize,
}

impl<'a> Plan<'a> {
    fn new(ordering: bool) -> Self {
        Self {
            ordering,
            chains: Vec::new(),
            by_key: HashMap::new(),
            free: None,
        }
    }

    /// Adds a message to the chain of its key. A request of the service holds one ordering key.
    ///
    /// Without ordering keys all events with a key share a chain, so that those of one key that are
    /// stored stay a prefix; events without a key go beside it.
    fn push(&mut self, index: usize, key: Option<&'a str>, message: Message, size: usize) {
        let at = match key {
            Some(key) => {
                let chains = &mut self.chains;
                let name = if self.ordering { key } else { "" };
                *self.by_key.entry(name).or_insert_with(|| {
                    chains.push(Chain::default());
                    chains.len() - 1
                })
            }
            None => match self.free {
                Some(at) if self.chains[at].fits(size) => at,
                _ => {
                    self.chains.push(Chain::default());
                    self.free = Some(self.chains.len() - 1);
                    self.chains.len() - 1
                }
            },
        };
        self.chains[at].push(index, message, size);
    }
}

impl Chain {
    fn fits(&self, size: usize) -> bool {
        self.requests.last().is_some_and(|it| it.fits(size))
    }

    fn push(&mut self, index: usize, message: Message, size: usize) {
        if !self.fits(size) {
            self.requests.push(Request::default());
        }
        if let Some(request) = self.requests.last_mut() {
            request.indexes.push(index);
            request.messages.push(message);
            request.bytes += size;
        }
    }
}

impl Request {
    fn fits(&self, size: usize) -> bool {
        self.messages.len() < REQUEST && self.bytes + size <= LARGEST
    }
}

/// The calls that have not ended, so that `close` can wait for them.
#[derive(Default)]
struct Calls {
    closed: AtomicBool,
    running: Arc<tokio::sync::RwLock<()>>,
}

impl Calls {
    /// Begins a call; `None` once closed.
    fn begin(&self) -> Option<tokio::sync::OwnedRwLockReadGuard<()>> {
        let open = !self.closed.load(Ordering::Acquire);
        // Only `close` takes the lock for itself.
        open.then(|| self.running.clone().try_read_owned().ok())
            .flatten()
    }

    async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.running.write().await);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn requests_stay_within_the_limits_and_keep_the_order_of_each_key(
            events in prop::collection::vec((0..4u8, 1..6_000_000usize), 0..60),
            ordering: bool,
        ) {
            let keys = ["", "a", "b", "c"];
            let mut plan = Plan::new(ordering);
            for (index, (key, size)) in events.iter().enumerate() {
                let key = keys[usize::from(*key)];
                plan.push(index, (!key.is_empty()).then_some(key), Message::new(), *size);
            }
            let mut seen = Vec::new();
            for chain in &plan.chains {
                let mut last = None;
                for request in &chain.requests {
                    prop_assert!((1..=REQUEST).contains(&request.messages.len()));
                    let bytes: usize = request.indexes.iter().map(|it| events[*it].1).sum();
                    prop_assert!(bytes <= LARGEST && bytes == request.bytes);
                    for index in &request.indexes {
                        prop_assert!(last < Some(*index));
                        last = Some(*index);
                        seen.push(*index);
                    }
                    let of: std::collections::BTreeSet<u8> =
                        request.indexes.iter().map(|it| events[*it].0).collect();
                    prop_assert!(!ordering || of.len() == 1);
                }
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..events.len()).collect::<Vec<_>>());
            let chains_of = |key: u8| plan.chains.iter().filter(|chain| {
                chain.requests.iter().flat_map(|it| &it.indexes).any(|it| events[*it].0 == key)
            }).count();
            for key in 1..4 {
                prop_assert!(chains_of(key) <= 1, "a key is in one chain");
            }
        }
    }
}
