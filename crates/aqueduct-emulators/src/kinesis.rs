use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use axum::extract::DefaultBodyLimit;
use ferrokinesis::store::Store;
pub use ferrokinesis::store::StoreOptions;
use tokio::sync::oneshot;

/// A full request of 10 MiB grows by a third in Base64; the default of the framework is 2 MB.
const LARGEST_REQUEST: usize = 64 << 20;

/// Kinesis on a free port of the loopback interface. Dropping it stops the server.
pub struct KinesisServer {
    endpoint: String,
    store: Store,
    _stop: oneshot::Sender<()>,
}

impl KinesisServer {
    /// Starts a server on the current Tokio runtime.
    ///
    /// # Errors
    /// The I/O error if no port can be opened.
    pub async fn start(options: StoreOptions) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let (app, store) = ferrokinesis::create_app(options);
        let app = app.layer(DefaultBodyLimit::max(LARGEST_REQUEST));
        tokio::spawn(ferrokinesis::serve_plain_http(listener, app, async {
            // A dropped sender means the same as a message.
            let _ = stopped.await;
        }));
        Ok(Self {
            endpoint,
            store,
            _stop: stop,
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
        &self.endpoint
    }
    /// Expires every record stored in `stream`.
    pub async fn expire(&self, stream: &str) {
        self.store.delete_expired_records(stream, 0).await;
    }
}

impl fmt::Debug for KinesisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisServer")
            .field("endpoint", &self.endpoint)
            .finish_non_exhaustive()
    }
}
