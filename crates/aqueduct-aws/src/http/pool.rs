use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioTimer};

use super::dial::Dial;

/// The flow control of a connection: received bytes that the reader has not taken yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows {
    /// Of one stream.
    pub(super) stream: u32,
    /// Of all streams of the connection together.
    pub(super) connection: u32,
}

/// Connections that are used again.
pub(super) struct Pool {
    builder: Builder,
    dial: Dial,
    current: Mutex<Current>,
}

/// A client and the number of clients before it.
#[derive(Clone)]
pub(super) struct Current {
    pub(super) client: Client<Dial, SdkBody>,
    pub(super) number: u64,
}

impl Pool {
    /// Creates a pool whose HTTP/2 connections are closed after `silence` without a sign of life while a
    /// request waits on them.
    pub(super) fn new(dial: Dial, silence: Duration, windows: Windows) -> Self {
        // Data is received as a rule, so that pings are rare. They are sent only while a request waits: a
        // connection that died idle is noticed by its next request, which pings at once.
        let interval = silence.mul_f32(0.4);
        let mut builder = Client::builder(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .http2_keep_alive_interval(interval)
            .http2_keep_alive_timeout(silence - interval)
            .http2_keep_alive_while_idle(false)
            .http2_initial_stream_window_size(windows.stream)
            .http2_initial_connection_window_size(windows.connection);
        let client = builder.build(dial.clone());
        Self {
            builder,
            dial,
            current: Mutex::new(Current { client, number: 0 }),
        }
    }

    pub(super) fn current(&self) -> Current {
        self.lock().clone()
    }

    /// Forgets the idle connections of the client `number`: one of them was dead, and those opened beside it
    /// took the same path. Requests under way go on.
    pub(super) fn forget_idle(&self, number: u64) {
        let mut current = self.lock();
        if current.number == number {
            *current = Current {
                client: self.builder.build(self.dial.clone()),
                number: number + 1,
            };
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
