use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use axum::extract::DefaultBodyLimit;
use ferrokinesis::store::Store;
pub use ferrokinesis::store::StoreOptions;
use tokio::sync::oneshot;

/// A full request of 10 MiB is a third longer in base64; the framework's own limit is 2 MB.
const LARGEST_REQUEST: usize = 64 << 20;

/// Kinesis on a free port of the loopback interface; it ends with this value.
pub struct KinesisServer {
    endpoint: String,
    store: Store,
    _stop: oneshot::Sender<()>,
}

impl KinesisServer {
    /// Starts one, on the current Tokio runtime.
    ///
    /// # Errors
    /// Where no port can be opened.
    pub async fn start(options: StoreOptions) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let (stop, stopped) = oneshot::channel();
        let (app, store) = ferrokinesis::create_app(options);
        let app = app.layer(DefaultBodyLimit::max(LARGEST_REQUEST));
        tokio::spawn(ferrokinesis::serve_plain_http(listener, app, async {
            // The sender's end says the same as a message.
            let _ = stopped.await;
        }));
        Ok(Self {
            endpoint,
            store,
            _stop: stop,
        })
    }

    /// Options under which streams are ready at once and nothing is limited.
    pub fn quick() -> StoreOptions {
        StoreOptions {
            create_stream_ms: 0,
            delete_stream_ms: 0,
            update_stream_ms: 0,
            shard_limit: 10_000,
            ..StoreOptions::default()
        }
    }

    /// Where it listens, as the option `endpoint` takes it.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }
    /// Lets retention remove every record that is stored in `stream` now.
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
