use std::time::Duration;

/// Settings of a [`PubSub`](super::PubSub) emulator.
#[derive(Clone, Debug)]
#[must_use]
pub struct PubSubOptions {
    pub(super) port: u16,
    pub(super) seed: u64,
    pub(super) batch_limit: usize,
    pub(super) keep_alive: Duration,
    pub(super) pull_wait: Duration,
}

impl PubSubOptions {
    /// A free port, seed 0, up to 100 messages a response, a keep-alive every 30 seconds.
    pub fn new() -> Self {
        Self {
            port: 0,
            seed: 0,
            batch_limit: 100,
            // Clients of protocol version 1 take a stream for dead after about 45 s of silence.
            keep_alive: Duration::from_secs(30),
            pull_wait: Duration::from_secs(5),
        }
    }

    /// Sets the port of 127.0.0.1; 0 takes a free one.
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Sets the seed of the random sizes of delivered batches.
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the most messages of one response of a stream; at least 1. Responses have random sizes up to it.
    pub fn with_batch_limit(mut self, messages: usize) -> Self {
        self.batch_limit = messages.max(1);
        self
    }

    /// Sets how often an idle stream gets an empty response, if its client asked for protocol version 1 or later.
    pub fn with_keep_alive(mut self, every: Duration) -> Self {
        self.keep_alive = every.max(Duration::from_millis(1));
        self
    }

    /// Sets how long a unary pull waits for a message. Default: 5 seconds.
    pub fn with_pull_wait(mut self, wait: Duration) -> Self {
        self.pull_wait = wait;
        self
    }
}

impl Default for PubSubOptions {
    fn default() -> Self {
        Self::new()
    }
}
