use std::sync::Arc;
use std::time::SystemTime;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::amqp::FrameReader;
use super::connection::{Connection, Step};
use super::error::AmqpError;
use super::shared::{Fate, Shared};
use super::transport::Transport;

/// How much is read at once.
const READ: usize = 64 << 10;

/// Serves a connection until either side closes it.
pub(super) async fn serve<S>(stream: S, shared: Arc<Shared>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let wake = Arc::new(Notify::new());
    // A connection that is refused is closed at once.
    let Some(id) = shared.connect(&wake) else {
        return;
    };
    let mut guard = Guard {
        connection: Connection::new(id, shared, Arc::clone(&wake)),
    };
    run(stream, &mut guard.connection, &wake).await;
}

/// Unregisters a connection and its receivers, also if the task is dropped.
struct Guard {
    connection: Connection,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.connection.release();
        let context = &self.connection.context;
        context.shared.disconnect(context.connection);
    }
}

async fn run<S>(stream: S, connection: &mut Connection, wake: &Notify)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut input, mut output) = tokio::io::split(stream);
    let mut clock = Clock::new();
    let mut frames = FrameReader::default();
    let mut transport = Transport::default();
    let (mut raw, mut buffer) = (BytesMut::new(), BytesMut::new());
    loop {
        connection.pump();
        match fate(connection) {
            Some(Fate::Cut) => return,
            Some(Fate::Silence) => return silence(connection, input, wake).await,
            None => {}
        }
        let pending = !transport.wrap(&mut connection.context.output).is_empty();
        if connection.is_closed() && !pending && connection.context.output.due().is_none() {
            // The peer reads the close before the end of the stream, or it is gone already.
            output.shutdown().await.ok();
            return;
        }
        let due = clock.due(connection);
        let target = match transport.is_plain() {
            true => &mut buffer,
            false => &mut raw,
        };
        target.reserve(READ);
        tokio::select! {
            read = input.read_buf(target) => {
                match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => clock.read = Instant::now(),
                }
                match transport.unwrap(&mut raw, &mut buffer) {
                    Ok(true) => feed(connection, &mut frames, &mut buffer),
                    Ok(false) => return,
                    Err(detail) => connection.fail("protocol", &detail),
                }
            }
            written = output.write_buf(transport.wrap(&mut connection.context.output)), if pending => {
                match written {
                    Ok(bytes) => transport.wrote(bytes, &mut connection.context.output),
                    Err(_) => return,
                }
                clock.written = Instant::now();
            }
            () = wake.notified() => {}
            () = sleep_until(due) => clock.tick(connection),
        }
        if !transport.wrap(&mut connection.context.output).is_empty() {
            // TLS keeps what is written until it is flushed.
            continue;
        }
        if output.flush().await.is_err() {
            return;
        }
    }
}

fn fate(connection: &Connection) -> Option<Fate> {
    let context = &connection.context;
    context
        .fate
        .or_else(|| context.shared.fate(context.connection))
}

fn feed(connection: &mut Connection, frames: &mut FrameReader, buffer: &mut BytesMut) {
    while connection.context.fate.is_none() && !connection.is_closed() {
        match frames.next(buffer) {
            Ok(None) => return,
            Ok(Some(incoming)) => {
                if connection.take(incoming) == Step::Restart {
                    frames.restart();
                }
            }
            Err(detail) => connection.fail("protocol", &detail),
        }
    }
}

/// Reads and never writes again, until the peer gives up or the connection is cut.
async fn silence(connection: &Connection, mut input: impl AsyncRead + Unpin, wake: &Notify) {
    let mut ignored = vec![0; READ];
    loop {
        tokio::select! {
            read = input.read(&mut ignored) => {
                if !matches!(read, Ok(1..)) {
                    return;
                }
            }
            () = wake.notified() => {
                let context = &connection.context;
                if context.shared.fate(context.connection) == Some(Fate::Cut) {
                    return;
                }
            }
        }
    }
}

/// When something was read and written last.
struct Clock {
    read: Instant,
    written: Instant,
}

impl Clock {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            read: now,
            written: now,
        }
    }

    /// Returns when the connection has something to do though nothing comes in.
    fn due(&self, connection: &Connection) -> Instant {
        let idle = self.read + connection.context.shared.limits.idle_timeout;
        let beat = (connection.peer_idle).map(|idle| self.written + idle / 2);
        let expiry = connection.context.authorization.next_expiry();
        let expiry = expiry.map(|at| {
            let wait = at.duration_since(SystemTime::now()).unwrap_or_default();
            Instant::now() + wait
        });
        let output = connection.context.output.due();
        [beat, expiry, output]
            .into_iter()
            .flatten()
            .fold(idle, Instant::min)
    }

    fn tick(&mut self, connection: &mut Connection) {
        let now = Instant::now();
        connection.tick(now);
        if let Some(idle) = connection.peer_idle
            && now >= self.written + idle / 2
            && connection.is_open()
        {
            connection.heartbeat();
            self.written = now;
        }
        let limit = connection.context.shared.limits.idle_timeout;
        if now >= self.read + limit {
            let text = format!("The connection was inactive for more than {limit:?}.");
            connection.close(&AmqpError::new("amqp:connection:forced", text));
            self.read = now;
        }
    }
}
