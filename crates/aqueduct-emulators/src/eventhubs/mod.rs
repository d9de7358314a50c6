//! Azure Event Hubs on the wire: AMQP 1.0 on a port of the loopback interface.

mod allowance;
mod amqp;
mod attach;
mod auth;
mod connection;
mod context;
mod error;
mod fault;
mod hash;
mod hub;
mod inbound;
mod node;
mod offset;
mod options;
mod outbound;
mod output;
mod partition;
mod receivers;
mod report;
mod requests;
mod selector;
mod server;
mod session;
mod shared;
mod socket;
#[cfg(test)]
mod tests;
mod transport;
mod window;

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

pub use self::fault::EventHubsFault;
pub use self::options::EventHubsOptions;
pub use self::partition::StoredEvent;
pub use self::report::Violation;
use self::shared::{Fate, Shared};

/// A namespace of Event Hubs in memory, served on the loopback interface, over AMQP 1.0 as it is and
/// in WebSockets. Dropping it closes its connections and its port.
pub struct EventHubs {
    shared: Arc<Shared>,
    tls: Option<TlsAcceptor>,
    key: (String, String),
    listening: Mutex<Listening>,
}

/// The port and the task that accepts connections on it.
struct Listening {
    port: u16,
    accepting: AbortHandle,
}

impl EventHubs {
    /// Starts a namespace on the current Tokio runtime.
    ///
    /// # Errors
    /// If the port cannot be opened, or the certificate or key is not valid.
    pub async fn start(options: EventHubsOptions) -> io::Result<Self> {
        let tls = options.security.tls.as_ref();
        let tls = tls
            .map(|(chain, key)| server::tls(chain, key))
            .transpose()?;
        let shared = Arc::new(Shared::new(&options));
        let listening = listen(options.port, tls.clone(), &shared).await?;
        let key = options.security.keys.first().cloned();
        let key = key.unwrap_or_else(|| {
            (
                "RootManageSharedAccessKey".to_owned(),
                "SAS_KEY_VALUE".to_owned(),
            )
        });
        Ok(Self {
            shared,
            tls,
            key,
            listening: Mutex::new(listening),
        })
    }

    /// Moves to another free port: connections are cut and the old port is closed.
    ///
    /// # Errors
    /// If no port can be opened; then nothing has changed.
    pub async fn move_port(&self) -> io::Result<u16> {
        let moved = listen(0, self.tls.clone(), &self.shared).await?;
        let port = moved.port;
        let before = std::mem::replace(&mut *self.listening(), moved);
        before.accepting.abort();
        Ok(port)
    }

    fn listening(&self) -> MutexGuard<'_, Listening> {
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns its URL, for the option `endpoint`: `amqp://127.0.0.1:PORT`, or
    /// `amqps://localhost:PORT` with TLS.
    pub fn endpoint(&self) -> String {
        let port = self.port();
        if self.tls.is_some() {
            format!("amqps://localhost:{port}")
        } else {
            format!("amqp://127.0.0.1:{port}")
        }
    }

    /// Returns its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.listening().port
    }

    /// Returns a connection string without a hub, with the first key of the options. Without TLS it
    /// ends with `UseDevelopmentEmulator=true`, which makes Microsoft's clients speak plain AMQP.
    pub fn connection_string(&self) -> String {
        let (name, key) = &self.key;
        let port = self.port();
        let (host, emulator) = match self.tls {
            Some(_) => ("localhost", ""),
            None => ("127.0.0.1", ";UseDevelopmentEmulator=true"),
        };
        format!(
            "Endpoint=sb://{host}:{port};SharedAccessKeyName={name};SharedAccessKey={key}{emulator}"
        )
    }

    /// Creates a hub with the consumer group `$Default`. One that exists stays as it is.
    pub fn create_hub(&self, name: &str, partitions: usize) {
        self.shared.create_hub(name, partitions, &[]);
    }

    /// Adds partitions to a hub until it has that many, as Azure Resource Manager does in the tiers that can.
    /// Returns false if the hub does not exist. Keys move to other partitions with their next event.
    pub fn add_partitions(&self, hub: &str, partitions: usize) -> bool {
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok();
        hub.map(|hub| hub.grow(partitions)).is_some()
    }

    /// Deletes a hub with its events. Its links are detached with `amqp:not-found` when they are
    /// used next.
    pub fn delete_hub(&self, name: &str) {
        self.shared.hubs().remove(name);
    }

    /// Returns the stored events of a partition, oldest first; empty if the hub or partition does not exist.
    pub fn events(&self, hub: &str, partition: usize) -> Vec<StoredEvent> {
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok();
        let log = hub.and_then(|hub| hub.partition(&partition.to_string()));
        log.map_or_else(Vec::new, |log| log.events().cloned().collect())
    }

    /// Stores an encoded AMQP message, as a sender to that partition would. Returns false if the
    /// hub or partition does not exist or the bytes are not a message.
    pub fn publish(&self, hub: &str, partition: usize, message: impl Into<Bytes>) -> bool {
        let bytes = message.into();
        let Ok(message) = amqp::read_message(&bytes) else {
            return false;
        };
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok();
        hub.is_some_and(|hub| hub.append(partition, vec![(bytes, message)], None).is_ok())
    }

    /// Returns the partition of a key, by the hash that Microsoft's clients use; `None` if there is
    /// no such hub.
    pub fn partition_of(&self, hub: &str, key: &str) -> Option<usize> {
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok()?;
        Some(hash::partition_of(key, hub.partitions()))
    }

    /// Forgets the events of a partition before `sequence_number`, as if retention had passed.
    pub fn expire(&self, hub: &str, partition: usize, sequence_number: i64) {
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok();
        if let Some(log) = hub.and_then(|hub| hub.partition(&partition.to_string())) {
            log.expire(sequence_number);
        }
    }

    /// Adds a fault for the next operation on an address: `$cbs`, `$management`, `HUB`,
    /// `HUB/Partitions/N` or `HUB/ConsumerGroups/GROUP/Partitions/N`. Faults apply once and in
    /// order.
    pub fn inject(&self, address: &str, fault: EventHubsFault) {
        self.shared.inject(address, fault);
    }

    /// Returns how many injected faults have not applied yet.
    pub fn pending_faults(&self) -> usize {
        self.shared.pending_faults()
    }

    /// Cuts every open connection.
    pub fn cut_connections(&self) {
        self.shared.doom(Fate::Cut);
    }

    /// Keeps every open connection open and never writes to it again. New ones work.
    pub fn silence_connections(&self) {
        self.shared.doom(Fate::Silence);
    }

    /// Closes new connections at once, until it is called with `false`.
    pub fn refuse_connections(&self, refuse: bool) {
        self.shared.refuse(refuse);
    }

    /// Detaches the receivers of a partition with `amqp:link:stolen`; returns how many.
    pub fn steal(&self, hub: &str, group: &str, partition: usize) -> usize {
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok();
        hub.map_or(0, |hub| {
            hub.receivers().steal(group, &partition.to_string())
        })
    }

    /// Returns how many receivers of a group are attached to a partition.
    pub fn receivers(&self, hub: &str, group: &str, partition: usize) -> usize {
        let mut hubs = self.shared.hubs();
        let hub = hubs.get(hub).ok();
        hub.map_or(0, |hub| {
            hub.receivers().count(group, &partition.to_string())
        })
    }

    /// Returns the number of open connections.
    pub fn connections(&self) -> usize {
        self.shared.connections()
    }

    /// Returns how many deliveries came, requests to `$cbs` and `$management` included.
    pub fn deliveries(&self) -> u64 {
        self.shared.deliveries()
    }

    /// Returns the violations of the protocol by clients so far, oldest first.
    pub fn violations(&self) -> Vec<Violation> {
        self.shared.violations()
    }
}

async fn listen(
    port: u16,
    tls: Option<TlsAcceptor>,
    shared: &Arc<Shared>,
) -> io::Result<Listening> {
    let listener = server::listen(port).await?;
    let port = listener.local_addr()?.port();
    let accepting = tokio::spawn(server::accept(listener, tls, Arc::clone(shared)));
    Ok(Listening {
        port,
        accepting: accepting.abort_handle(),
    })
}

impl Drop for EventHubs {
    fn drop(&mut self) {
        self.listening().accepting.abort();
    }
}

impl fmt::Debug for EventHubs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventHubs")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}
