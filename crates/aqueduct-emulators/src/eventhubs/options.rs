use std::time::Duration;

use super::offset::Offsets;

/// The namespace that [`EventHubs::start`](super::EventHubs::start) emulates, and its limits.
#[derive(Clone, Debug)]
#[must_use]
pub struct EventHubsOptions {
    pub(super) hubs: Vec<HubOptions>,
    pub(super) port: u16,
    pub(super) security: Security,
    pub(super) limits: Limits,
    pub(super) offsets: Offsets,
    pub(super) retention: Option<Duration>,
    pub(super) retained_events: usize,
    pub(super) throughput: Option<u32>,
}

#[derive(Clone, Debug)]
pub(super) struct HubOptions {
    pub(super) name: String,
    pub(super) partitions: usize,
    pub(super) groups: Vec<String>,
}

/// Who may connect, and how.
#[derive(Clone, Default)]
pub(super) struct Security {
    /// Names and values of shared access keys.
    pub(super) keys: Vec<(String, String)>,
    pub(super) tokens: Vec<String>,
    /// Certificate chain and key, as PEM.
    pub(super) tls: Option<(String, String)>,
}

/// Limits of connections and links.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) max_message_size: u64,
    pub(super) max_frame_size: u32,
    pub(super) link_credit: u32,
    pub(super) session_window: u32,
    pub(super) idle_timeout: Duration,
    pub(super) latency: Duration,
}

impl EventHubsOptions {
    /// Returns a namespace without hubs that accepts every token, on a free port.
    pub fn new() -> Self {
        Self {
            hubs: Vec::new(),
            port: 0,
            security: Security::default(),
            limits: Limits {
                max_message_size: 1 << 20,
                max_frame_size: 64 << 10,
                link_credit: 300,
                session_window: 5000,
                idle_timeout: Duration::from_secs(240),
                latency: Duration::ZERO,
            },
            offsets: Offsets::Numeric,
            retention: None,
            retained_events: usize::MAX,
            throughput: None,
        }
    }

    /// Adds a hub with the consumer group `$Default`. The names of hubs and groups are compared
    /// without case.
    pub fn with_hub(mut self, name: &str, partitions: usize) -> Self {
        self.hubs.push(HubOptions {
            name: name.to_owned(),
            partitions,
            groups: Vec::new(),
        });
        self
    }

    /// Adds a consumer group to a hub that was added before.
    pub fn with_consumer_group(mut self, hub: &str, group: &str) -> Self {
        let found = self
            .hubs
            .iter_mut()
            .find(|it| it.name.eq_ignore_ascii_case(hub));
        if let Some(found) = found {
            found.groups.push(group.to_owned());
        }
        self
    }

    /// Listens on that port of the loopback interface. Default: 0, a free port.
    pub fn with_port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Adds a shared access key. As soon as there is a key or token, every link needs a valid token
    /// for its address.
    pub fn with_key(mut self, name: &str, value: &str) -> Self {
        self.security.keys.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Accepts that bearer token (type `jwt`) for every address.
    pub fn with_token(mut self, token: &str) -> Self {
        self.security.tokens.push(token.to_owned());
        self
    }

    /// Speaks TLS with that certificate chain and private key, both PEM.
    pub fn with_tls(mut self, certificates: &str, key: &str) -> Self {
        self.security.tls = Some((certificates.to_owned(), key.to_owned()));
        self
    }

    /// Limits a delivery, batch or single event, in bytes. Default: 1 MiB, as in the standard tier.
    pub fn with_max_message_size(mut self, bytes: u64) -> Self {
        self.limits.max_message_size = bytes;
        self
    }

    /// Limits a frame, in bytes, at least 512. Default: 64 KiB, as the service.
    pub fn with_max_frame_size(mut self, bytes: u32) -> Self {
        self.limits.max_frame_size = bytes.max(512);
        self
    }

    /// Sets the credit of a sender link in deliveries. Default: 300.
    pub fn with_link_credit(mut self, deliveries: u32) -> Self {
        self.limits.link_credit = deliveries.max(1);
        self
    }

    /// Sets the incoming window of a session in frames. Default: 5000, as the service.
    pub fn with_session_window(mut self, frames: u32) -> Self {
        self.limits.session_window = frames.max(1);
        self
    }

    /// Closes a connection from which nothing comes for so long. Default: 240 s, as the service.
    pub fn with_idle_timeout(mut self, timeout: Duration) -> Self {
        self.limits.idle_timeout = timeout;
        self
    }

    /// Delays every frame of the service, without limiting how many are under way. Default: none.
    pub fn with_latency(mut self, latency: Duration) -> Self {
        self.limits.latency = latency;
        self
    }

    /// Writes offsets as opaque text, as a geo-replicated hub does. Default: numbers.
    pub fn with_opaque_offsets(mut self) -> Self {
        self.offsets = Offsets::Opaque;
        self
    }

    /// Forgets events of that age. Default: none is forgotten.
    pub fn with_retention(mut self, retention: Duration) -> Self {
        self.retention = Some(retention);
        self
    }

    /// Forgets the oldest events of a partition over that number. Default: no limit.
    pub fn with_retained_events(mut self, most: usize) -> Self {
        self.retained_events = most.max(1);
        self
    }

    /// Rejects deliveries with `com.microsoft:server-busy` once a partition got so many events
    /// within a second. Default: no limit.
    pub fn with_throughput(mut self, events_per_second: u32) -> Self {
        self.throughput = Some(events_per_second);
        self
    }
}

impl Default for EventHubsOptions {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Security {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(|(name, _)| name).collect();
        f.debug_struct("Security")
            .field("keys", &keys)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
