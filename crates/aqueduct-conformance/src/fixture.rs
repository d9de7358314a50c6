use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{Resource, Result, Runtime, StreamSpec};
use async_trait::async_trait;

/// Makes what the suite tests: implement it for your backend.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The name of what is tested, for the report: the backend and the emulator that it runs on.
    fn name(&self) -> &str;

    /// Makes a stream that is empty and that nobody else uses. Cases run side by side, each with
    /// streams of its own. Where `spec` says nothing of retention, events stay.
    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject>;

    /// Something that names a stream which is not there; `None` where nothing can be missing.
    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        None
    }

    /// Something that names a stream which is there, with credentials that do not suffice; `None`
    /// where there are none.
    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        None
    }

    /// What this place lacks though the backend claims it: these cases are not run, and the report
    /// says why.
    fn lacks(&self) -> Vec<Lack> {
        Vec::new()
    }

    /// How patient the suite is.
    fn timing(&self) -> Timing {
        Timing::default()
    }
}

const _: () = {
    const fn object_safe(_: Option<&dyn Fixture>, _: Option<&dyn Faults>) {}
    object_safe(None, None);
};

/// A case that cannot be shown here, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The name of the case.
    pub case: &'static str,
    /// Why, for the report.
    pub reason: &'static str,
}

/// One stream to test, and what belongs to it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Subject {
    /// The stream.
    pub stream: Arc<dyn Resource>,
    /// Who keeps its leases.
    pub leases: Arc<dyn Resource>,
    /// Who keeps its idempotency records.
    pub idempotency: Arc<dyn Resource>,
    /// Who keeps its dead letters.
    pub dead_letters: Arc<dyn Resource>,
    /// The same stream as another process would open it.
    pub peer: Option<Arc<dyn Resource>>,
    /// Makes things go wrong.
    pub faults: Option<Arc<dyn Faults>>,
    guard: Option<Arc<dyn Any + Send + Sync>>,
}

impl Subject {
    /// A stream that keeps its leases, records and dead letters itself, where it keeps any.
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

    /// Keeps its leases there.
    #[must_use]
    pub fn with_leases(mut self, leases: Arc<dyn Resource>) -> Self {
        self.leases = leases;
        self
    }

    /// Keeps its idempotency records there.
    #[must_use]
    pub fn with_idempotency(mut self, idempotency: Arc<dyn Resource>) -> Self {
        self.idempotency = idempotency;
        self
    }

    /// Keeps its dead letters there.
    #[must_use]
    pub fn with_letters(mut self, dead_letters: Arc<dyn Resource>) -> Self {
        self.dead_letters = dead_letters;
        self
    }

    /// Names the same stream as another process would open it.
    #[must_use]
    pub fn with_peer(mut self, peer: Arc<dyn Resource>) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Lets the suite make things go wrong.
    #[must_use]
    pub fn with_faults(mut self, faults: Arc<dyn Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Keeps `guard` until the last case that uses the subject has ended: a temporary directory,
    /// a server.
    #[must_use]
    pub fn with_guard(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guard = Some(Arc::new(guard));
        self
    }
}

/// Makes things go wrong in one subject.
#[async_trait]
pub trait Faults: Send + Sync {
    /// Whether it can make that go wrong.
    fn offers(&self, fault: Fault) -> bool;

    /// Makes it go wrong.
    async fn inject(&self, fault: Fault) -> Result<()>;
}

/// What can go wrong in a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The next call that sends is throttled, as a whole or for each event, without effect.
    Throttle,
    /// The next call that sends is refused as unavailable, without effect.
    Refuse,
    /// The next call that sends stores its events, and its answer is lost.
    LoseSendAnswer,
    /// Every connection is cut once: calls and reads under way fail or reconnect by themselves,
    /// later ones work.
    Cut,
    /// The next lease write is done, and its answer is lost.
    LoseLeaseAnswer,
    /// Retention removes every event that is stored now, the newest of each partition excepted
    /// where the service must keep one.
    Expire,
}

impl Fault {
    /// What it does, in the words of the report.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Throttle => "throttle",
            Self::Refuse => "refuse a send",
            Self::LoseSendAnswer => "lose the answer of a send",
            Self::Cut => "cut connections",
            Self::LoseLeaseAnswer => "lose the answer of a lease write",
            Self::Expire => "let events expire",
        }
    }
}

/// How patient the suite is. A slow emulator multiplies; a virtual clock may keep the defaults.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Timing {
    /// How long something that must come is waited for. Default: 20 s, since a busy machine may
    /// hold back a task for seconds.
    pub deadline: Duration,
    /// How long something that must not come is watched for. Default: 250 ms, far above the time
    /// that it takes where it is wrong.
    pub quiet: Duration,
    /// The life of a lease where a member dies. Default: 2 s: short, and still many renewals.
    pub lease_ttl: Duration,
    /// How long one case may take. Default: 90 s.
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
    /// The same, `factor` times as patient.
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
