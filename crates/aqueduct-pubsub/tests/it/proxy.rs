//! A TCP proxy that loses connections, or falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// Passes connections to a server.
pub(crate) struct Proxy {
    pub(crate) endpoint: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    opened: AtomicUsize,
    refusing: AtomicBool,
    cut: Notify,
    silence: Notify,
}

impl Proxy {
    pub(crate) async fn to(endpoint: &str) -> Self {
        let server = endpoint.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(State::default());
        let accepting = state.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if accepting.refusing.load(Ordering::SeqCst) {
                    continue;
                }
                accepting.opened.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let state = accepting.clone();
                tokio::spawn(async move { pass(client, server, &state).await });
            }
        });
        Self { endpoint, state }
    }

    /// Returns how many connections were opened.
    pub(crate) fn opened(&self) -> usize {
        self.state.opened.load(Ordering::SeqCst)
    }

    /// Closes every connection.
    pub(crate) fn cut(&self) {
        self.state.cut.notify_waiters();
    }

    /// Closes every connection, and new ones at once while `refuse`.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state.refusing.store(refuse, Ordering::SeqCst);
        self.cut();
    }

    /// Lets every connection that is open now fall silent for ever.
    pub(crate) fn silence(&self) {
        self.state.silence.notify_waiters();
    }
}

async fn pass(client: TcpStream, server: TcpStream, state: &State) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    tokio::select! {
        () = state.cut.notified() => return,
        () = state.silence.notified() => {}
        () = copy(&mut from_client, &mut to_server) => return,
        () = copy(&mut from_server, &mut to_client) => return,
    }
    // As a router that has forgotten the connection: the server's side ends, the client hears nothing.
    drop((from_server, to_server));
    state.cut.notified().await;
}

async fn copy(from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
