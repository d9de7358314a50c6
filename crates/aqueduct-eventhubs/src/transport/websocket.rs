use std::fmt;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aqueduct_core::{Error, ErrorKind, Result};
use bytes::{Buf as _, Bytes};
use futures::{Sink, Stream as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::client::ClientRequestBuilder;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::error;

/// Where the service accepts WebSockets.
const PATH: &str = "/$servicebus/websocket";

/// The subprotocol of AMQP, as Microsoft's clients name it.
const PROTOCOL: &str = "AMQPWSB10";

/// AMQP in the binary messages of a WebSocket.
pub(super) struct WebSocket<Io> {
    stream: WebSocketStream<Io>,
    /// The bytes that were received and not read yet.
    received: Bytes,
}

impl<Io: AsyncRead + AsyncWrite + Unpin> WebSocket<Io> {
    /// Opens a WebSocket over `stream` for `authority`, `HOST:PORT`.
    ///
    /// # Errors
    /// `Denied` if the service refuses with status 401 or 403, `Unavailable` otherwise.
    pub(super) async fn open(stream: Io, authority: &str, tls: bool) -> Result<Self> {
        let scheme = if tls { "wss" } else { "ws" };
        let uri: Uri = format!("{scheme}://{authority}{PATH}")
            .parse()
            .map_err(|source| {
                Error::config(format!("{authority}: the host is not valid in a URL"))
                    .with_source(source)
            })?;
        let request = ClientRequestBuilder::new(uri).with_sub_protocol(PROTOCOL);
        match client_async(request, stream).await {
            Ok((stream, _)) => Ok(Self {
                stream,
                received: Bytes::new(),
            }),
            Err(WsError::Http(response)) => {
                let status = response.status();
                let kind = match status.as_u16() {
                    401 | 403 => ErrorKind::Denied,
                    _ => ErrorKind::Unavailable,
                };
                let message = format!(
                    "{authority}: the WebSocket was refused with status {status} (expected 101)"
                );
                Err(Error::new(kind, message))
            }
            Err(failed) => Err(
                error::unavailable(authority, "the WebSocket cannot be opened").with_source(failed),
            ),
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<Io> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.received.is_empty() {
                let count = self.received.len().min(buffer.remaining());
                buffer.put_slice(&self.received[..count]);
                self.received.advance(count);
                return Poll::Ready(Ok(()));
            }
            match ready!(Pin::new(&mut self.stream).poll_next(cx)) {
                Some(Ok(Message::Binary(data))) => self.received = data,
                Some(Ok(Message::Text(_))) => {
                    let text = "a text message in a WebSocket of AMQP (expected a binary one)";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                // Pings are responded to by the library, with the next read or write.
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                // The end of the stream.
                None
                | Some(Ok(Message::Close(_)))
                | Some(Err(WsError::ConnectionClosed | WsError::AlreadyClosed)) => {
                    return Poll::Ready(Ok(()));
                }
                Some(Err(failed)) => return Poll::Ready(Err(io_error(failed))),
            }
        }
    }
}

impl<Io: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<Io> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut stream = Pin::new(&mut self.stream);
        ready!(stream.as_mut().poll_ready(cx)).map_err(io_error)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        stream.start_send(message).map_err(io_error)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx).map_err(io_error)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_close(cx)) {
            Ok(()) | Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => Poll::Ready(Ok(())),
            Err(failed) => Poll::Ready(Err(io_error(failed))),
        }
    }
}

fn io_error(error: WsError) -> io::Error {
    match error {
        WsError::Io(error) => error,
        WsError::ConnectionClosed | WsError::AlreadyClosed => io::ErrorKind::BrokenPipe.into(),
        other => io::Error::other(other),
    }
}

impl<Io> fmt::Debug for WebSocket<Io> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocket").finish_non_exhaustive()
    }
}
