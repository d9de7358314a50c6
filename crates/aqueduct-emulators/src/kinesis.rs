use std::fmt;
use std::io;

use axum::extract::DefaultBodyLimit;
use ferrokinesis::store::Store;
pub use ferrokinesis::store::StoreOptions;

use crate::ListenOptions;
use crate::listen::Listening;
use crate::refusals::Refusals;

/// A full request of 10 MiB grows by a third in Base64; the default of the framework is 2 MB.
const LARGEST_REQUEST: usize = 64 << 20;

/// Kinesis on a free port of the loopback interface. Dropping it stops the server.
pub struct KinesisServer {
    listening: Listening,
    store: Store,
    refusals: Refusals,
}

impl KinesisServer {
    /// Starts a server over plain HTTP on the current Tokio runtime.
    ///
    /// # Errors
    /// The I/O error if no port can be opened.
    pub async fn start(options: StoreOptions) -> io::Result<Self> {
        Self::start_on(options, &ListenOptions::new()).await
    }

    /// Starts a server that listens as `listen` says.
    ///
    /// # Errors
    /// The I/O error if the port cannot be opened.
    pub async fn start_on(options: StoreOptions, listen: &ListenOptions) -> io::Result<Self> {
        let (app, store) = ferrokinesis::create_app(options);
        let app = app.layer(DefaultBodyLimit::max(LARGEST_REQUEST));
        let refusals = Refusals::default();
        let listening = Listening::start(listen, |_| refusals.over(app)).await?;
        Ok(Self {
            listening,
            store,
            refusals,
        })
    }

    /// Returns options under which streams are active at once and nothing is limited.
    pub fn quick() -> StoreOptions {
        StoreOptions {
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: 0,
            shard_limit: 10_000,
            ..StoreOptions::default()
        }
    }

    /// Returns its URL, for the option `endpoint`.
    pub fn endpoint(&self) -> &str {
        self.listening.endpoint()
    }

    /// Refuses that share of the records of later PutRecords, in thousandths, each by itself, as a shard over
    /// its limit does.
    pub fn refuse_records(&self, thousandths: u64) {
        self.refusals.set(thousandths);
    }

    /// Returns the number of records refused so.
    pub fn refused_records(&self) -> u64 {
        self.refusals.count()
    }

    /// Expires every record stored in `stream`.
    pub async fn expire(&self, stream: &str) {
        self.store.delete_expired_records(stream, 0).await;
    }
}

impl fmt::Debug for KinesisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisServer")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}
