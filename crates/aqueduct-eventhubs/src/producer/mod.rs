mod batch;
mod connections;
mod link;
mod routes;

use std::collections::BTreeMap;
use std::sync::Arc;

use aqueduct_core::outcomes::SendOutcomes;
use aqueduct_core::{
    BatchProducer, Capabilities, Error, ErrorKind, Event, Lane, Limits, Receipt, Result, SendReport,
};
use async_trait::async_trait;
use futures::future::join_all;
use tokio::sync::RwLock;

use self::batch::{Batch, ENVELOPE, MESSAGE};
use self::routes::{Route, Routes};
use crate::codec;
use crate::hub::Hub;
use crate::metrics::Sending;
use crate::source::EventHubsLog;

/// Sends events to one hub, over a link for each partition.
pub(crate) struct EventHubsProducer {
    hub: Arc<Hub>,
    routes: Routes,
    /// The largest batch that the links take.
    batch_bytes: usize,
    metrics: Sending,
    /// False once it is closed. Calls hold it for reading, so that closing waits for them.
    is_open: RwLock<bool>,
}

/// The largest message of a service that does not report its limit: that of the cheapest tier.
const SMALLEST_LIMIT: usize = 256 << 10;

impl EventHubsProducer {
    /// # Errors
    /// `NotFound` if the hub does not exist, `Denied` without the right to send.
    pub(crate) async fn open(hub: Arc<Hub>) -> Result<Self> {
        let properties = hub.properties().await?;
        let routes = Routes::new(&hub, properties.partitions);
        let limit = routes.open().await?;
        Ok(Self {
            batch_bytes: limit.unwrap_or(SMALLEST_LIMIT),
            metrics: Sending::new(&hub),
            hub,
            routes,
            is_open: RwLock::new(true),
        })
    }

    fn limits(&self) -> Limits {
        Limits {
            event_bytes: Some(self.batch_bytes.saturating_sub(ENVELOPE + MESSAGE)),
            ..Limits::default()
        }
    }

    fn encode(&self, event: &Event) -> Result<Vec<u8>> {
        let message = codec::encode(event, self.hub.config.encoding)?;
        self.limits().check_event(event, message.len())?;
        Ok(message)
    }

    /// Sends the events of one route in order, in as few batches as they fit. Nothing is sent behind a
    /// batch that failed.
    async fn send_route(
        &self,
        route: Route<'_>,
        events: &[Event],
        indices: &[usize],
    ) -> SendReport {
        let key = |at: usize| events[indices[at]].key();
        let mut outcomes = SendOutcomes::new(indices.len());
        let mut batch = Batch::new(self.batch_bytes);
        let mut failure = None;
        for (at, index) in indices.iter().enumerate() {
            if let Some(error) = &failure {
                outcomes.skip(at, key(at), error);
                continue;
            }
            if !outcomes.admit(at, key(at)) {
                continue;
            }
            let message = match self.encode(&events[*index]) {
                Ok(message) => message,
                Err(error) => {
                    outcomes.failed(at, key(at), error);
                    continue;
                }
            };
            if !batch.fits(&message) {
                let sent = self.send(route, &mut batch).await;
                failure = settle(&mut outcomes, sent, key);
            }
            match &failure {
                Some(error) => outcomes.skip(at, key(at), error),
                None => batch.push(at, message),
            }
        }
        let sent = self.send(route, &mut batch).await;
        settle(&mut outcomes, sent, key);
        outcomes.into_report()
    }

    /// Sends what a batch holds, if anything, and returns the places of its events with their outcome.
    async fn send(&self, route: Route<'_>, batch: &mut Batch) -> (Vec<usize>, Result<Receipt>) {
        let (places, messages, bytes) = batch.take();
        if places.is_empty() {
            return (places, Ok(Receipt::default()));
        }
        self.metrics.batches.increment(1);
        let sent = self.routes.send(route, messages).await;
        match &sent {
            Ok(_) => {
                self.metrics.events.increment(places.len() as u64);
                self.metrics.bytes.increment(bytes as u64);
            }
            Err(_) => self.metrics.failed.increment(1),
        }
        (places, sent)
    }
}

/// Records the outcome of a batch for its events. Returns the error if it failed.
fn settle<'a>(
    outcomes: &mut SendOutcomes<&'a str>,
    (places, sent): (Vec<usize>, Result<Receipt>),
    key: impl Fn(usize) -> Option<&'a str>,
) -> Option<Error> {
    for at in places {
        // The batch failed as a whole: each of its events has that outcome, also behind another one of
        // its key.
        outcomes.settle(at, key(at), sent.clone());
    }
    sent.err()
}

#[async_trait]
impl BatchProducer for EventHubsProducer {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let is_open = self.is_open.read().await;
        if !*is_open {
            let message = format!("{}: the producer is closed", self.hub.shown);
            return SendReport::failed(events.len(), &Error::new(ErrorKind::Closed, message));
        }
        let mut routes: BTreeMap<Route<'_>, Vec<usize>> = BTreeMap::new();
        for (index, event) in events.iter().enumerate() {
            routes.entry(self.routes.of(event)).or_default().push(index);
        }
        let sends = routes.iter().map(|(route, indices)| async move {
            let report = self.send_route(*route, events, indices).await;
            (indices, report)
        });
        let mut outcomes: SendOutcomes<&str> = SendOutcomes::new(events.len());
        for (indices, report) in join_all(sends).await {
            for (index, outcome) in indices.iter().zip(report.into_outcomes()) {
                outcomes.settle(*index, None, outcome);
            }
        }
        outcomes.into_report()
    }

    fn lane(&self, event: &Event) -> Lane {
        self.routes.lane(self.routes.of(event))
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: EventHubsLog::claims(),
            limits: self.limits(),
        }
    }

    async fn close(&self) -> Result<()> {
        *self.is_open.write().await = false;
        self.routes.close().await;
        Ok(())
    }
}
