use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// A TCP proxy on the loopback interface whose connections can die silently. Dropping it closes them.
pub struct Proxy {
    endpoint: String,
    path: Arc<Path>,
    _stop: oneshot::Sender<()>,
}

struct Path {
    target: String,
    /// The connections opened so far.
    opened: AtomicU64,
    /// The bytes forwarded to clients.
    delivered: AtomicU64,
    /// The connections up to this one are dead.
    dead: watch::Sender<u64>,
}

impl Proxy {
    /// Starts a proxy before the server at `endpoint`, such as `https://localhost:4566`.
    ///
    /// # Errors
    /// If no port can be opened.
    pub async fn start(endpoint: &str) -> io::Result<Self> {
        let (scheme, authority) = endpoint
            .split_once("://")
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let (host, _) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let path = Arc::new(Path {
            target: authority.to_owned(),
            opened: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            dead: watch::Sender::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let accepting = accept(listener, path.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = accepting => {}
                // A dropped sender ends the proxy as well as a message does.
                _ = stopped => {}
            }
        });
        Ok(Self {
            endpoint: format!("{scheme}://{host}:{port}"),
            path,
            _stop: stop,
        })
    }

    /// Returns its URL, of the server's scheme and host.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Swallows all bytes of the connections that are open, in both directions, and keeps them open. New
    /// connections work.
    pub fn swallow(&self) {
        self.path.dead.send_replace(self.connections());
    }

    /// Returns the number of bytes forwarded from the server to its clients so far.
    pub fn delivered_bytes(&self) -> u64 {
        self.path.delivered.load(Ordering::SeqCst)
    }

    /// Returns the number of connections opened so far.
    pub fn connections(&self) -> u64 {
        self.path.opened.load(Ordering::SeqCst)
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxy")
            .field("endpoint", &self.endpoint)
            .field("connections", &self.connections())
            .finish_non_exhaustive()
    }
}

async fn accept(listener: TcpListener, path: Arc<Path>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    let number = path.opened.fetch_add(1, Ordering::SeqCst) + 1;
                    connections.spawn(forward(client, number, path.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(mut client: TcpStream, number: u64, path: Arc<Path>) {
    let Ok(mut server) = TcpStream::connect(&path.target).await else {
        return;
    };
    client.set_nodelay(true).ok();
    server.set_nodelay(true).ok();
    let mut dead = path.dead.subscribe();
    {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let up = copy(&mut from_client, &mut to_server, None);
        let down = copy(&mut from_server, &mut to_client, Some(&path.delivered));
        tokio::select! {
            // An end or an error of either side, which both see as a closed connection.
            () = up => return,
            () = down => return,
            died = dead.wait_for(|dead| number <= *dead) => {
                // The sender lives as long as the path.
                drop(died);
            }
        }
    }
    // The client's bytes are taken, as by a network that still acknowledges them.
    let mut swallowed = vec![0; BUFFER];
    while let Ok(1..) = client.read(&mut swallowed).await {}
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    count: Option<&AtomicU64>,
) {
    let mut buffer = vec![0; BUFFER];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
        if let Some(count) = count {
            count.fetch_add(read as u64, Ordering::SeqCst);
        }
    }
}

const BUFFER: usize = 64 << 10;
