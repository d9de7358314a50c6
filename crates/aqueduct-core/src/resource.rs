use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use crate::{
    Admin, BatchProducer, Capability, Claim, Claims, DeadLetterStore, Error, IdempotencyStore,
    Identity, LeaseStore, OptionTable, Options, PartitionedLog, Queue, Result, Runtime,
    SharedSettings, StreamName,
};

/// Turns URLs of its schemes into resources.
///
/// ```
/// use std::sync::Arc;
/// use aqueduct_core::{Backend, Claims, Options, Resource, Result, StreamName, Url};
///
/// /// Streams that exist and offer nothing.
/// struct Nothing;
///
/// struct Named(StreamName);
///
/// impl Backend for Nothing {
///     fn schemes(&self) -> &[&'static str] {
///         &["nothing"]
///     }
///
///     fn parse(&self, name: &str, _: &Url, options: Options) -> Result<Arc<dyn Resource>> {
///         options.finish()?; // refuses every option
///         Ok(Arc::new(Named(name.into())))
///     }
/// }
///
/// impl Resource for Named {
///     fn describe(&self) -> String {
///         "nothing:".to_owned()
///     }
///
///     fn stream(&self) -> &StreamName {
///         &self.0
///     }
///
///     fn claims(&self) -> Claims {
///         Claims::none()
///     }
/// }
///
/// let url = Url::parse("nothing:").expect("a URL");
/// assert!(Nothing.parse("orders", &url, Options::new("streams.orders")).is_ok());
/// let unknown = Options::new("streams.orders").with("pace", "5");
/// assert!(Nothing.parse("orders", &url, unknown).is_err());
/// ```
pub trait Backend: Send + Sync {
    /// Returns the schemes that it serves, such as `sqlite`.
    fn schemes(&self) -> &[&'static str];

    /// Reads and checks a URL and its options, without I/O. `name` is the stream's (or store's)
    /// name in the configuration; a URL may name another.
    ///
    /// # Errors
    /// `Config`, naming the key, the text as written and the valid choices; never a part of the URL itself,
    /// which may hold secrets expanded ([`Options::refuse_url`]).
    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>>;

    /// Returns the documentation of the options that [`parse`](Self::parse) reads; empty if the backend
    /// documents them elsewhere.
    fn options(&self) -> Vec<OptionTable> {
        Vec::new()
    }
}

/// Something that a URL names: it offers any of producer, source, leases, idempotency, dead letters and
/// admin.
///
/// # Errors
/// Every method that opens something returns `Unsupported` if the resource does not offer it; `NotFound` if
/// it does not exist and may not be created; `Denied` without the rights to open it; `Config` if what exists
/// contradicts the options; `Full` if there is no room to create it; `Throttled`, `Unavailable` or
/// `TimedOut` if opening again may help.
///
/// ```
/// use aqueduct_core::{Event, Resource, Result, Runtime};
///
/// async fn announce(orders: &dyn Resource, runtime: &Runtime) -> Result<()> {
///     let producer = orders.producer(runtime).await?;
///     let event = Event::new("shop.opened").with_source("/shop");
///     producer.send_batch(&[event]).await.into_result()?;
///     producer.close().await?;
///     orders.close().await
/// }
/// ```
#[async_trait]
pub trait Resource: Send + Sync {
    /// Returns scheme and place without secrets, for errors.
    fn describe(&self) -> String;

    /// Returns the stream that it names.
    fn stream(&self) -> &StreamName;

    /// Returns its claims, as far as they are known without connecting.
    fn claims(&self) -> Claims;

    /// Returns the place that it names, to compare it with other resources.
    fn identity(&self) -> Identity {
        Identity::new(format!("{} {}", self.describe(), self.stream()))
    }

    /// Returns whether dead letters that are put here become events of the stream, which its consumers
    /// receive. By default they do if there is no store of their own.
    fn dead_letters_are_events(&self) -> bool {
        matches!(self.claims().get(Capability::DeadLetters), Claim::No(_))
    }

    /// Returns whether its lease store serves one group on one stream alone.
    fn leases_are_exclusive(&self) -> bool {
        false
    }

    /// Returns the settings that every resource of the same place must share; `None` if there are
    /// none.
    fn shared_settings(&self) -> Option<SharedSettings> {
        None
    }

    /// Opens a producer.
    ///
    /// # Errors
    /// Those of every method of this trait that opens something.
    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let _ = runtime;
        Err(self.does_not_offer("producer"))
    }

    /// Opens what consumers read from.
    ///
    /// # Errors
    /// Those of every method of this trait that opens something.
    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let _ = runtime;
        Err(self.does_not_offer("source"))
    }

    /// Opens its lease store.
    ///
    /// # Errors
    /// Those of every method of this trait that opens something.
    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        let _ = runtime;
        Err(self.does_not_offer("lease store"))
    }

    /// Opens its idempotency store.
    ///
    /// # Errors
    /// Those of every method of this trait that opens something.
    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        let _ = runtime;
        Err(self.does_not_offer("idempotency store"))
    }

    /// Opens its dead letters.
    ///
    /// # Errors
    /// Those of every method of this trait that opens something.
    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        let _ = runtime;
        Err(self.does_not_offer("dead letters"))
    }

    /// Opens its administration; the stream itself may be missing.
    ///
    /// # Errors
    /// Those of every method of this trait that opens something.
    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        let _ = runtime;
        Err(self.does_not_offer("administration"))
    }

    /// Completes pending work of the resource, such as merging a database's write-ahead log into its
    /// file. Called once producers and consumers are closed; handles that are still open stay usable.
    ///
    /// # Errors
    /// `Unavailable` or `Full` if it cannot be done now; no data is lost in that case.
    async fn close(&self) -> Result<()> {
        Ok(())
    }

    /// Returns the error for something that it does not offer.
    fn does_not_offer(&self, what: &str) -> Error {
        Error::unsupported(format!("{} offers no {what}", self.describe()))
    }
}

/// The source that consumers read from.
///
/// ```
/// use aqueduct_core::Source;
///
/// fn kind(source: &Source) -> &'static str {
///     match source {
///         Source::Log(_) => "partitions with positions",
///         Source::Queue(_) => "messages with leases",
///         _ => "unknown",
///     }
/// }
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub enum Source {
    /// A log: `aqueduct-group` makes a consumer of it.
    Log(Arc<dyn PartitionedLog>),
    /// A queue service: `aqueduct-queue` makes a consumer of it.
    Queue(Arc<dyn Queue>),
}
