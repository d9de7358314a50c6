use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Resource, Result, Runtime, StreamSpec};
use async_trait::async_trait;

/// Creates the subjects of the suite. Implement it for your backend.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Returns the name for the report: the backend and the emulator that it runs on.
    fn name(&self) -> &str;

    /// Creates an empty stream that nothing else uses. Cases run concurrently, each with its own
    /// streams. If `spec` sets no retention, events must not expire.
    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject>;

    /// Returns a stream that does not exist; `None` if the backend cannot have a missing stream.
    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        None
    }

    /// Returns an existing stream opened with insufficient credentials; `None` if the backend has no
    /// credentials.
    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        None
    }

    /// Returns the cases that cannot run in this environment although the backend claims them. They
    /// are skipped, and the report says why.
    fn lacks(&self) -> Vec<Lack> {
        Vec::new()
    }

    /// Returns the time limits of the suite.
    fn timing(&self) -> Timing {
        Timing::default()
    }
}

const _: () = {
    const fn object_safe(_: Option<&dyn Fixture>, _: Option<&dyn Faults>) {}
    object_safe(None, None);
};

/// A case that cannot run in this environment, and the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The name of the case.
    pub case: &'static str,
    /// The reason, for the report.
    pub reason: &'static str,
}

/// One stream to test, with its stores and faults.
#[derive(Clone)]
#[non_exhaustive]
pub struct Subject {
    /// The stream.
    pub stream: Arc<dyn Resource>,
    /// Stores its leases.
    pub leases: Arc<dyn Resource>,
    /// Stores its idempotency records.
    pub idempotency: Arc<dyn Resource>,
    /// Stores its dead letters.
    pub dead_letters: Arc<dyn Resource>,
    /// The same stream, opened as by another process.
    pub peer: Option<Arc<dyn Resource>>,
    /// Injects faults.
    pub faults: Option<Arc<dyn Faults>>,
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl Subject {
    /// Creates a subject whose leases, records and dead letters, if any, are stored by the stream.
    pub fn new(stream: Arc<dyn Resource>) -> Self {
        Self {
            leases: stream.clone(),
            idempotency: stream.clone(),
            dead_letters: stream.clone(),
            stream,
            peer: None,
            faults: None,
            guard: None,
        }
    }

    /// Stores its leases in `leases`.
    #[must_use]
    pub fn with_leases(mut self, leases: Arc<dyn Resource>) -> Self {
        self.leases = leases;
        self
    }

    /// Stores its idempotency records in `idempotency`.
    #[must_use]
    pub fn with_idempotency(mut self, idempotency: Arc<dyn Resource>) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// Stores its dead letters in `dead_letters`.
    #[must_use]
    pub fn with_dead_letters(mut self, dead_letters: Arc<dyn Resource>) -> Self {
        self.dead_letters = dead_letters;
        self
    }

    /// Sets the same stream, opened as by another process.
    #[must_use]
    pub fn with_peer(mut self, peer: Arc<dyn Resource>) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Lets the suite inject faults.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Keeps `guard`, such as a temporary directory or a server, until the last case that uses the
    /// subject has ended.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }
}

/// Injects faults into one subject.
#[async_trait]
pub trait Faults: Send + Sync {
    /// Returns whether it can inject the fault.
    fn offers(&self, fault: Fault) -> bool;

    /// Injects the fault.
    async fn inject(&self, fault: Fault) -> Result<()>;
}

/// A fault of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The next send is throttled, as a whole or for each event, and stores nothing.
    Throttle,
    /// The next send is refused as unavailable and stores nothing.
    Refuse,
    /// The next send stores its events, and its response is lost.
    LoseSendResponse,
    /// Every connection is cut once: calls and reads in progress fail or reconnect by themselves,
    /// later ones succeed.
    Cut,
    /// The next lease write is executed, and its response is lost.
    LoseLeaseResponse,
    /// Retention removes every event that is stored now, except the newest of each partition if
    /// the service must keep one.
    Expire,
}

impl Fault {
    /// Returns the description of the fault in the report.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Refuse => "refuse a send",
            Self::LoseSendResponse => "lose the response of a send",
            Self::Cut => "cut connections",
            Self::LoseLeaseResponse => "lose the response of a lease write",
            Self::Expire => "let events expire",
        }
    }
}

/// The time limits of the suite. Scale them up for a slow emulator; a virtual clock can use the
/// defaults.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timing {
    /// The limit for something that must happen. Default: 20 s, since a busy machine may delay a
    /// task for seconds.
    pub deadline: Duration,
    /// How long to watch for something that must not happen. Default: 250 ms, far longer than a
    /// fault takes to show.
    pub quiet: Duration,
    /// The lease duration in cases in which a member dies. Default: 2 s, short but many renewals
    /// long.
    pub lease_ttl: Duration,
    /// The limit for one case. Default: 90 s.
    pub case: Duration,
    /// The number of events of the backlog case. Default: 100,000.
    pub backlog: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(20),
            quiet: Duration::from_millis(250),
            lease_ttl: Duration::from_secs(2),
            case: Duration::from_secs(90),
            backlog: 100_000,
        }
    }
}

impl Timing {
    /// Multiplies every duration by `factor`.
    #[must_use]
    pub fn scaled(mut self, factor: u32) -> Self {
        for duration in [
            &mut self.deadline,
            &mut self.quiet,
            &mut self.lease_ttl,
            &mut self.case,
        ] {
            *duration *= factor;
        }
        self
    }
}
