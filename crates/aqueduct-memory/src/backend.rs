use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use aqueduct_core::lease_rows::RowLeases;
use aqueduct_core::{
    Admin, Backend, BatchProducer, Capabilities, Capability, Claim, Claims, DeadLetterStore,
    IdempotencyStore, LeaseStore, Limits, OptionTable, Options, Resource, Result, Runtime,
    SmallStr, Source, StreamName, Url,
};
use async_trait::async_trait;

use crate::admin::MemoryAdmin;
use crate::config::Config;
use crate::dead_letters::MemoryDeadLetters;
use crate::faults::{MemoryFaults, Operation};
use crate::idempotency::MemoryRecords;
use crate::leases::MemoryLeases;
use crate::producer::MemoryProducer;
use crate::reference;
use crate::source::MemoryLog;
use crate::stream::Stream;
use aqueduct_core::sync::lock;

/// A set of streams in the memory of this process, under `memory:` URLs.
///
/// Clones are handles on the same streams; two backends share nothing. A stream is created when it
/// is first opened, since no other process can have created it; with `create = "never"`, opening a
/// missing stream returns `NotFound`.
///
/// ```
/// use aqueduct_core::{Backend, Options, Url};
/// use aqueduct_memory::MemoryBackend;
///
/// let memory = MemoryBackend::new();
/// let url = Url::parse("memory:").expect("a URL");
/// let options = Options::new("streams.orders").with("partitions", "4");
/// let orders = memory.parse("orders", &url, options)?;
/// assert_eq!(orders.stream().as_str(), "orders");
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct MemoryBackend(Arc<Mutex<BTreeMap<StreamName, Arc<Stream>>>>);

impl MemoryBackend {
    /// Creates a backend without streams.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the faults of that stream, which need not exist yet.
    pub fn faults(&self, stream: impl Into<StreamName>) -> MemoryFaults {
        MemoryFaults::new(self.stream(&stream.into()))
    }

    fn stream(&self, name: &StreamName) -> Arc<Stream> {
        let mut streams = lock(&self.0);
        let stream = streams
            .entry(name.clone())
            .or_insert_with(|| Arc::new(Stream::new(name.clone())));
        stream.clone()
    }
}

impl Backend for MemoryBackend {
    fn schemes(&self) -> &[&'static str] {
        &["memory"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        let config = Config::parse(name, url, options)?;
        let stream = self.stream(&config.stream);
        Ok(Arc::new(MemoryResource { stream, config }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MemoryBackend")
            .field(&lock(&self.0).keys())
            .finish()
    }
}

struct MemoryResource {
    stream: Arc<Stream>,
    config: Config,
}

impl MemoryResource {
    /// Returns the stream; creates it if it is missing and `create` allows that.
    async fn open(&self, runtime: &Runtime) -> Result<Arc<Stream>> {
        let open = || {
            if self.config.create {
                self.stream.create(self.config.settings, runtime);
            }
            self.stream.with_log(|_| Ok(self.stream.clone()))
        };
        self.stream.plan.run(Operation::Open, runtime, open).await
    }

    /// Returns the capabilities as opened: the size limit is that of the existing stream.
    fn capabilities(&self) -> Result<Capabilities> {
        let event_bytes = self
            .stream
            .with_log(|log| Ok(log.settings.max_event_bytes))?;
        Ok(Capabilities {
            claims: self.claims(),
            limits: Limits {
                event_bytes: Some(event_bytes),
                ..Limits::default()
            },
        })
    }
}

#[async_trait]
impl Resource for MemoryResource {
    fn describe(&self) -> String {
        format!("memory:{}", self.config.stream)
    }

    fn stream(&self) -> &StreamName {
        &self.config.stream
    }

    fn claims(&self) -> Claims {
        let no = |why| Claim::No(SmallStr::literal(why));
        Capability::ALL
            .into_iter()
            .fold(Claims::none(), |claims, capability| {
                claims.with(capability, Claim::Yes)
            })
            .with(Capability::Durable, no("memory is gone with its process"))
            .with(Capability::Shared, no("memory belongs to one process"))
            .with(
                Capability::Transactions,
                no("it has no database to write in"),
            )
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let stream = self.open(runtime).await?;
        Ok(Arc::new(MemoryProducer::new(
            stream,
            runtime.clone(),
            self.capabilities()?,
        )))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let stream = self.open(runtime).await?;
        let log = MemoryLog::new(stream, runtime.clone(), self.capabilities()?);
        Ok(Source::Log(Arc::new(log)))
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        let stream = self.open(runtime).await?;
        let rows = MemoryLeases::new(stream, runtime.clone());
        Ok(Arc::new(RowLeases::new(rows)))
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        let stream = self.open(runtime).await?;
        let retention = self.config.idempotency_retention;
        Ok(Arc::new(MemoryRecords::new(
            stream,
            runtime.clone(),
            retention,
        )))
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        let stream = self.open(runtime).await?;
        Ok(Arc::new(MemoryDeadLetters::new(stream, runtime.clone())))
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        let interrupt = self.stream.plan.interrupt(Operation::Open, runtime);
        interrupt.await?;
        let settings = self.config.settings;
        Ok(Arc::new(MemoryAdmin::new(
            self.stream.clone(),
            runtime.clone(),
            settings,
        )))
    }
}
