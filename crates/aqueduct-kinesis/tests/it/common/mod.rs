//! An in-process server, streams on it, and faults between it and its clients.
#![allow(dead_code, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_aws::{Aws, Transport};
use aqueduct_core::{
    Admin, Backend as _, BatchProducer, Error, Options, PartitionedLog, Resource, Result, Runtime,
    Source, StreamSpec, Url,
};
use aqueduct_emulators::{
    HttpFaults, KinesisServer, ListenOptions, StoreOptions, TlsIdentity, test_credentials,
};
use aqueduct_kinesis::KinesisBackend;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::{BehaviorVersion, Region};

/// A server and the streams made on it.
pub(crate) struct Server {
    pub(crate) kinesis: KinesisServer,
    pub(crate) transport: Transport,
    streams: AtomicUsize,
}

impl Server {
    pub(crate) async fn quick() -> Self {
        Self::start(KinesisServer::quick()).await
    }

    pub(crate) async fn start(options: StoreOptions) -> Self {
        Self::listening(options, &ListenOptions::new()).await
    }

    pub(crate) async fn listening(options: StoreOptions, listen: &ListenOptions) -> Self {
        Self {
            kinesis: KinesisServer::start_on(options, listen).await.unwrap(),
            transport: Transport::new(),
            streams: AtomicUsize::new(0),
        }
    }

    /// Starts a server that speaks TLS and HTTP/2, as the service does.
    pub(crate) async fn secure(options: StoreOptions) -> Self {
        let identity = TlsIdentity::generate(&["localhost"]).unwrap();
        let listen = ListenOptions::new().with_tls(&identity);
        Self {
            kinesis: KinesisServer::start_on(options, &listen).await.unwrap(),
            transport: Transport::new().with_root_certificates(identity.certificate()),
            streams: AtomicUsize::new(0),
        }
    }

    /// Returns a name that no other stream of this server has.
    pub(crate) fn name(&self) -> String {
        format!("stream-{}", self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// Creates a stream of `shards` shards, polled often.
    pub(crate) async fn stream(&self, shards: u32, options: &[(&'static str, &str)]) -> Stream {
        let stream = self.at(&self.name(), options);
        let admin = stream.admin().await;
        admin
            .create(&StreamSpec::with_partitions(shards))
            .await
            .unwrap();
        stream
    }

    /// Opens the stream `name` as another process would.
    pub(crate) fn at(&self, name: &str, options: &[(&'static str, &str)]) -> Stream {
        Stream::open(&self.transport, self.kinesis.endpoint(), name, options)
    }
}

/// One stream, with its own connections.
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) resource: Arc<dyn Resource>,
    pub(crate) faults: HttpFaults,
    transport: Transport,
    pub(crate) runtime: Runtime,
    endpoint: String,
}

impl Stream {
    pub(crate) fn open(
        transport: &Transport,
        endpoint: &str,
        name: &str,
        options: &[(&'static str, &str)],
    ) -> Self {
        let faults = HttpFaults::over(transport.requests());
        let resource = resource(&faults, endpoint, name, options).unwrap();
        Self {
            name: name.to_owned(),
            resource,
            faults,
            transport: transport.clone(),
            runtime: aqueduct_runtime::tokio(),
            endpoint: endpoint.to_owned(),
        }
    }

    /// Returns the same stream with other options, over the same connections.
    pub(crate) fn with(&self, options: &[(&'static str, &str)]) -> Self {
        Self {
            name: self.name.clone(),
            resource: resource(&self.faults, &self.endpoint, &self.name, options).unwrap(),
            faults: self.faults.clone(),
            transport: self.transport.clone(),
            runtime: self.runtime.clone(),
            endpoint: self.endpoint.clone(),
        }
    }

    pub(crate) async fn log(&self) -> Arc<dyn PartitionedLog> {
        self.try_log().await.unwrap()
    }

    pub(crate) async fn try_log(&self) -> Result<Arc<dyn PartitionedLog>> {
        match self.resource.source(&self.runtime).await? {
            Source::Log(log) => Ok(log),
            _ => Err(Error::unsupported("no log")),
        }
    }

    pub(crate) async fn producer(&self) -> Arc<dyn BatchProducer> {
        self.resource.producer(&self.runtime).await.unwrap()
    }

    pub(crate) async fn admin(&self) -> Arc<dyn Admin> {
        self.resource.admin(&self.runtime).await.unwrap()
    }

    /// Returns a plain client of the AWS SDK.
    pub(crate) fn raw(&self) -> Client {
        Client::from_conf(
            aws_sdk_kinesis::Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("us-east-1"))
                .endpoint_url(&self.endpoint)
                .credentials_provider(test_credentials())
                .http_client(self.transport.requests())
                .build(),
        )
    }
}

pub(crate) fn resource(
    faults: &HttpFaults,
    endpoint: &str,
    name: &str,
    options: &[(&'static str, &str)],
) -> Result<Arc<dyn Resource>> {
    let aws = Aws::new()
        .with_http_client(faults.client())
        .with_credentials(test_credentials());
    let url = Url::parse(&format!("kinesis://{name}"))
        .map_err(|error| Error::config(error.to_string()))?;
    let mut all = Options::new("streams.subject")
        .with("endpoint", endpoint)
        .with("region", "us-east-1");
    if options.iter().all(|(name, _)| *name != "poll_interval") {
        all = all.with("poll_interval", "20ms");
    }
    for (name, value) in options {
        all = all.with(*name, *value);
    }
    KinesisBackend::with(aws).parse(name, &url, all)
}

/// Waits until `done` returns a value.
pub(crate) async fn until<T>(what: &str, mut done: impl AsyncFnMut() -> Option<T>) -> T {
    let waiting = async {
        loop {
            if let Some(answer) = done().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(30), waiting).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited in vain for {what}"),
    }
}
