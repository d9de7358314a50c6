mod calls;
mod failure;
mod fault;
mod grpc;
mod json;
mod machine;
mod options;
mod pulls;
mod rest;
mod server;
mod service;
mod stream;
mod streams;
mod wire;

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

pub use self::fault::PubSubFault;
pub use self::options::PubSubOptions;
use self::service::Service;
use self::wire::Connections;

/// Google Pub/Sub on a port of the loopback interface: gRPC and REST. Dropping it stops the server.
///
/// Names of topics, subscriptions and snapshots are full ones, such as `projects/PROJECT/topics/TOPIC`.
pub struct PubSub {
    port: u16,
    service: Arc<Service>,
    connections: Arc<Connections>,
    _stop: watch::Sender<()>,
}

impl PubSub {
    /// Starts a server on the current Tokio runtime.
    ///
    /// # Errors
    /// The I/O error if the port cannot be opened.
    pub async fn start(options: PubSubOptions) -> io::Result<Self> {
        let service = Arc::new(Service::new(options));
        let connections = Arc::new(Connections::default());
        let (stop, stopped) = watch::channel(());
        let listening = server::listen(Arc::clone(&service), Arc::clone(&connections), stopped);
        Ok(Self {
            port: listening.await?,
            service,
            connections,
            _stop: stop,
        })
    }

    /// Returns its URL, for the endpoint of a client.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.host())
    }

    /// Returns host and port, for `PUBSUB_EMULATOR_HOST`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns its port of 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Moves its clock forward: leases and back-offs end, retention passes, snapshots expire.
    pub fn advance(&self, by: Duration) {
        self.service.advance(by);
    }

    /// Returns how many streaming pulls of a subscription are open.
    pub fn streams(&self, subscription: &str) -> usize {
        self.service.streams.count(subscription)
    }

    /// Returns how many messages of a subscription are not acknowledged; 0 if it does not exist.
    pub fn unacked(&self, subscription: &str) -> usize {
        self.service
            .with(|broker, _| broker.unacknowledged(subscription))
    }

    /// Returns how many messages of a subscription are delivered and neither acknowledged nor given back.
    pub fn outstanding(&self, subscription: &str) -> u64 {
        self.service
            .with(|broker, _| broker.outstanding(subscription))
    }

    /// Lets a snapshot expire.
    pub fn expire_snapshot(&self, snapshot: &str) {
        self.service.with(|broker, now| {
            broker.expire_snapshot(snapshot);
            broker.tick(now);
        });
    }

    /// Lets the next call of a method fail, by REST or gRPC; `method` is the name in gRPC, for example `Publish`.
    ///
    /// Faults of one method are used in order, each once. What a stream acknowledges or extends counts as `Acknowledge`
    /// and `ModifyAckDeadline`.
    pub fn inject(&self, method: &str, fault: PubSubFault) {
        self.service.faults.add(method, fault);
    }

    /// Returns how many injected faults were not used yet.
    pub fn pending_faults(&self) -> usize {
        self.service.faults.pending()
    }

    /// Resets every connection (TCP RST).
    pub fn cut_connections(&self) {
        for connection in self.connections.all() {
            connection.reset();
        }
    }

    /// Keeps the current connections open without reading from or writing to them ever again.
    pub fn silence_connections(&self) {
        for connection in self.connections.all() {
            connection.silence();
        }
    }

    /// Ends every streaming pull with the status of a fault; faults without one end them with `UNAVAILABLE`.
    pub fn end_streams(&self, fault: &PubSubFault) {
        let status = fault.status().or_else(|| PubSubFault::Unavailable.status());
        if let Some(status) = status {
            self.service.streams.end_all(status);
        }
    }
}

impl fmt::Debug for PubSub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PubSub")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
