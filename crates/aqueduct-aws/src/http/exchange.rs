use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::body::SdkBody;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::http::Extensions;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use tokio::time::{Instant, sleep_until};

use super::failure::{Silent, convert};
use super::lanes::Place;
use super::life::Life;
use super::pool::Pool;

/// Sends a request over a connection of `pool` and waits for the head of its response.
///
/// A connection that gave no sign of life is not used again, whether the wait ended here or was
/// cancelled: the SDK drops the future when an attempt times out.
pub(super) async fn exchange(
    pool: Arc<Pool>,
    request: HttpRequest,
    silence: Duration,
    place: Option<Place>,
) -> Result<HttpResponse, ConnectorError> {
    let mut request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?;
    let captured = capture_connection(&mut request);
    if let Some(capture) = request.extensions().get::<CaptureSmithyConnection>() {
        let captured = captured.clone();
        capture.set_connection_retriever(move || metadata(captured.clone()));
    }
    let current = pool.current();
    let guard = Guard {
        pool,
        number: current.number,
        captured,
        begun: Instant::now(),
        silence,
        over: false,
        _place: place,
    };
    let mut response = pin!(current.client.request(request));
    let response = loop {
        let limit = guard.quiet_until();
        tokio::select! {
            response = &mut response => break response,
            () = sleep_until(limit) => {
                if guard.gives_up() {
                    return Err(ConnectorError::timeout(Silent(silence).into()));
                }
            }
        }
    };
    let mut guard = guard;
    match response {
        Ok(response) => {
            let response = response.map(|body| SdkBody::from_body_1_x(Watched { body, guard }));
            HttpResponse::try_from(response)
                .map_err(|error| ConnectorError::other(error.into(), None))
        }
        Err(failed) => {
            // The HTTP client has closed it.
            guard.over = true;
            Err(convert(failed))
        }
    }
}

/// The connection as the SDK sees it: it discards connections after some errors.
fn metadata(captured: CaptureConnection) -> Option<ConnectionMetadata> {
    captured.connection_metadata().as_ref()?;
    let made = ConnectionMetadata::builder()
        .proxied(false)
        .poison_fn(move || poison(&captured));
    Some(made.build())
}

/// Keeps later requests off the connection.
fn poison(captured: &CaptureConnection) {
    if let Some(connected) = captured.connection_metadata().as_ref() {
        connected.poison();
    }
}

/// The connection of an exchange.
struct Connection {
    is_h2: bool,
    life: Life,
}

/// Discards the connection of an exchange that ended without a sign of life.
struct Guard {
    pool: Arc<Pool>,
    /// Of the client that has the connection.
    number: u64,
    captured: CaptureConnection,
    begun: Instant,
    silence: Duration,
    over: bool,
    _place: Option<Place>,
}

impl Guard {
    fn connection(&self) -> Option<Connection> {
        let captured = self.captured.connection_metadata();
        let connected = captured.as_ref()?;
        let mut extras = Extensions::new();
        connected.get_extras(&mut extras);
        Some(Connection {
            is_h2: connected.is_negotiated_h2(),
            life: extras.remove::<Life>()?,
        })
    }

    /// Returns when the connection has been silent for too long, unless something comes before.
    fn quiet_until(&self) -> Instant {
        match self.connection() {
            Some(Connection { is_h2: false, life }) => {
                life.last_moved().max(self.begun) + self.silence
            }
            // While connecting, its own limit holds; pings watch an HTTP/2 connection, where a response may
            // take long though others pass.
            _ => Instant::now() + self.silence,
        }
    }

    fn gives_up(&self) -> bool {
        Instant::now() >= self.quiet_until()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let Some(Connection { is_h2, life }) = self.connection() else {
            return;
        };
        let heard = life.last_received().max(self.begun);
        // Whoever cancels a request early has not waited for long enough to tell.
        if heard.elapsed() < self.silence / 2 {
            return;
        }
        poison(&self.captured);
        if !is_h2 {
            self.pool.forget_idle(self.number);
        }
    }
}

/// The body of a response and the guard of its connection.
struct Watched {
    body: Incoming,
    guard: Guard,
}

impl Body for Watched {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(None | Some(Err(_))) = frame {
            self.guard.over = true;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
