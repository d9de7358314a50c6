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
    /// Connections opened before this generation pass nothing on, without being closed.
    silent_before: AtomicUsize,
    opened: AtomicUsize,
    refusing: AtomicBool,
    cut: Notify,
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
                let number = accepting.opened.fetch_add(1, Ordering::SeqCst);
                let Ok(server) = TcpStream::connect(&server).await else {
                    continue;
                };
                let state = accepting.clone();
                tokio::spawn(async move { pass(client, server, number, &state).await });
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
        self.state
            .silent_before
            .store(self.opened(), Ordering::SeqCst);
    }
}

async fn pass(client: TcpStream, server: TcpStream, number: usize, state: &State) {
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = state.cut.notified() => {}
        () = copy(from_client, to_server, number, state) => {}
        () = copy(from_server, to_client, number, state) => {}
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, number: usize, state: &State) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if number < state.silent_before.load(Ordering::SeqCst) {
            continue;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}
