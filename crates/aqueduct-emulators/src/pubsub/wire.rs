use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;

/// A connection as faults see it.
#[derive(Clone, Debug, Default)]
pub(super) struct Connection {
    switches: Arc<Switches>,
}

#[derive(Debug, Default)]
struct Switches {
    silent: AtomicBool,
    reset: AtomicBool,
    changed: Notify,
}

impl Connection {
    /// Makes it end with a TCP RST.
    pub(super) fn reset(&self) {
        self.switches.reset.store(true, Ordering::SeqCst);
        self.switches.changed.notify_one();
    }

    /// Keeps it open without ever reading or writing again.
    pub(super) fn silence(&self) {
        self.switches.silent.store(true, Ordering::SeqCst);
    }

    /// Waits until it has to be reset.
    pub(super) async fn until_reset(&self) {
        while !self.switches.reset.load(Ordering::SeqCst) {
            self.switches.changed.notified().await;
        }
    }
}

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Connections {
    open: Mutex<Vec<Weak<Switches>>>,
}

impl Connections {
    pub(super) fn add(&self) -> Connection {
        let connection = Connection::default();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|it| it.strong_count() > 0);
        open.push(Arc::downgrade(&connection.switches));
        connection
    }

    pub(super) fn all(&self) -> Vec<Connection> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.iter().filter_map(Weak::upgrade);
        open.map(|switches| Connection { switches }).collect()
    }
}

/// A socket that can fall silent, and that ends with a TCP RST when it was told to.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    connection: Connection,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Connection) -> Self {
        Self { stream, connection }
    }

    fn is_silent(&self) -> bool {
        self.connection.switches.silent.load(Ordering::SeqCst)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if self.connection.switches.reset.load(Ordering::SeqCst) {
            // Without it the connection ends orderly, which clients take more kindly.
            drop(self.stream.set_zero_linger());
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.is_silent() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_silent() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_silent() {
            return Poll::Pending;
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
