use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aqueduct_core::{Error, ErrorKind, Event, Lane, PartitionId, Receipt, Result};

use super::connections::Connections;
use super::link::Link;
use crate::codec::is_partition_key;
use crate::config::Partitioner;
use crate::hash::partition_of;
use crate::hub::Hub;

/// The links of a producer, and the choice among them.
pub(super) struct Routes {
    partitioner: Partitioner,
    partitions: Vec<(PartitionId, Link)>,
    /// Links to the hub as a whole, whose batches the service places.
    gateways: Vec<Link>,
    next: AtomicUsize,
    connections: Arc<Connections>,
}

/// The way of an event: those of one way are sent in order, in shared batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route<'a> {
    /// To the partition of that index.
    Partition(usize),
    /// To the partition that the service chooses for that key.
    Key(&'a str),
    /// To any partition: the event has no key.
    Any,
}

impl Routes {
    pub(super) fn new(hub: &Arc<Hub>, partitions: Vec<PartitionId>) -> Self {
        let connections = Connections::new(hub);
        let name = &hub.config.hub;
        let link = |address| Link::new(hub, &connections, address);
        Self {
            partitioner: hub.config.partitioner,
            partitions: partitions
                .into_iter()
                .map(|id| {
                    let address = format!("{name}/Partitions/{id}");
                    (id, link(address))
                })
                .collect(),
            gateways: (0..hub.config.links)
                .map(|_| link(name.to_string()))
                .collect(),
            next: AtomicUsize::new(0),
            connections,
        }
    }

    /// Opens the first link, which shows whether the hub may be sent to. Returns the largest message that
    /// it takes.
    pub(super) async fn open(&self) -> Result<Option<usize>> {
        self.gateway(0)?.open().await
    }

    pub(super) fn of<'a>(&self, event: &'a Event) -> Route<'a> {
        match event.key() {
            Some(key) if self.partitioner == Partitioner::Service && is_partition_key(key) => {
                Route::Key(key)
            }
            Some(key) => Route::Partition(partition_of(key, self.partitions.len())),
            None => Route::Any,
        }
    }

    pub(super) fn lane(&self, route: Route<'_>) -> Lane {
        const GATEWAYS: u64 = 1 << 32;
        match route {
            Route::Partition(index) => Lane(index as u64),
            Route::Key(key) => Lane(GATEWAYS + 1 + self.gateway_of(key) as u64),
            Route::Any => Lane(GATEWAYS),
        }
    }

    /// Sends a batch.
    pub(super) async fn send(&self, route: Route<'_>, messages: Vec<Vec<u8>>) -> Result<Receipt> {
        match route {
            Route::Partition(index) => {
                let (id, link) = self.partitions.get(index).ok_or_else(no_link)?;
                link.send(messages, None).await?;
                let mut receipt = Receipt::default();
                receipt.partition = Some(id.clone());
                Ok(receipt)
            }
            Route::Key(key) => {
                let link = self.gateway(self.gateway_of(key))?;
                link.send(messages, Some(key)).await?;
                Ok(Receipt::default())
            }
            Route::Any => {
                // One after the other, so that calls side by side do not wait for each other.
                let next = self.next.fetch_add(1, Ordering::Relaxed);
                let link = self.gateway(next % self.gateways.len().max(1))?;
                link.send(messages, None).await?;
                Ok(Receipt::default())
            }
        }
    }

    pub(super) async fn close(&self) {
        let partitions = self.partitions.iter().map(|(_, link)| link);
        for link in partitions.chain(&self.gateways) {
            link.close().await;
        }
        self.connections.close().await;
    }

    fn gateway(&self, index: usize) -> Result<&Link> {
        self.gateways.get(index).ok_or_else(no_link)
    }

    /// One key has one link: batches of a link are stored in order.
    fn gateway_of(&self, key: &str) -> usize {
        partition_of(key, self.gateways.len())
    }
}

fn no_link() -> Error {
    Error::new(ErrorKind::Internal, "there is no link for the event")
}
