//! The suite's own subject: the memory backend, intact or broken on purpose.
#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod broken;
pub(crate) mod layer;
pub(crate) mod tokens;
pub(crate) mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_conformance::{Fault, Faults, Fixture, Lack, Subject, Timing};
use aqueduct_core::{
    Backend as _, Error, ErrorKind, Options, Resource, Result, Runtime, StreamSpec, Url,
};
use aqueduct_memory::{Applied, MemoryBackend, Operation};
use async_trait::async_trait;

/// Breaks a resource.
pub(crate) type Break = fn(Arc<dyn Resource>) -> Arc<dyn Resource>;

/// The memory backend as a fixture.
pub(crate) struct Memory {
    backend: MemoryBackend,
    streams: AtomicUsize,
    timing: Timing,
    broken: Option<Break>,
    lacks: Vec<Lack>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            backend: MemoryBackend::new(),
            streams: AtomicUsize::new(0),
            timing: Timing::default(),
            broken: None,
            lacks: Vec::new(),
        }
    }

    /// Sets a small backlog: a simulation runs on one thread, so its run time is its work.
    pub(crate) fn small() -> Self {
        let mut memory = Self::new();
        memory.timing.backlog = 5_000;
        memory
    }

    /// Wraps every stream in `wrap`, which breaks no promise.
    pub(crate) fn wrapped(wrap: Break) -> Self {
        Self {
            broken: Some(wrap),
            ..Self::small()
        }
    }

    /// Breaks every stream with `broken`.
    pub(crate) fn broken(broken: Break) -> Self {
        Self {
            broken: Some(broken),
            ..Self::impatient()
        }
    }

    /// Sets short limits, for cases that are expected to fail.
    pub(crate) fn impatient() -> Self {
        let mut timing = Timing::default();
        timing.deadline = Duration::from_secs(12);
        timing.case = Duration::from_secs(40);
        timing.backlog = 5_000;
        Self {
            timing,
            ..Self::new()
        }
    }

    /// Declares that these cases cannot run.
    pub(crate) fn lacking(cases: &[&'static str]) -> Self {
        let reason = "left out on purpose";
        let lack = |case: &&'static str| Lack { case, reason };
        Self {
            lacks: cases.iter().map(lack).collect(),
            ..Self::new()
        }
    }

    fn resource(&self, name: &str, options: Options) -> Result<Arc<dyn Resource>> {
        let url = Url::parse("memory:").map_err(|error| Error::config(error.to_string()))?;
        self.backend.parse(name, &url, options)
    }
}

#[async_trait]
impl Fixture for Memory {
    fn name(&self) -> &str {
        "memory"
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let name = format!(
            "conformance-{}",
            self.streams.fetch_add(1, Ordering::Relaxed)
        );
        let stream = self.resource(&name, Options::new("streams.conformance"))?;
        stream.admin(runtime).await?.create(spec).await?;
        let peer = self.resource(&name, Options::new("streams.peer"))?;
        let broken = self.broken.unwrap_or(|resource| resource);
        let faults = Injected(self.backend.faults(name.as_str()));
        Ok(Subject::new(broken(stream))
            .with_peer(broken(peer))
            .with_faults(Arc::new(faults)))
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let never = Options::new("streams.missing").with("create", "never");
        self.resource("missing", never).ok()
    }

    async fn denied(&self) -> Option<Arc<dyn Resource>> {
        let denied = self
            .resource("denied", Options::new("streams.denied"))
            .ok()?;
        self.backend.faults("denied").deny(true);
        Some(denied)
    }

    fn lacks(&self) -> Vec<Lack> {
        self.lacks.clone()
    }

    fn timing(&self) -> Timing {
        self.timing
    }
}

struct Injected(aqueduct_memory::MemoryFaults);

#[async_trait]
impl Faults for Injected {
    fn offers(&self, _: Fault) -> bool {
        true
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        use aqueduct_memory::MemoryFault as Of;
        let unavailable = || Of::refused(ErrorKind::Unavailable);
        match fault {
            Fault::Throttle => {
                self.0
                    .next(Operation::Send, 1, Of::throttled(Duration::from_millis(20)));
            }
            Fault::Refuse => self.0.next(Operation::Send, 1, unavailable()),
            Fault::LoseSendResponse => {
                self.0
                    .next(Operation::Send, 1, Of::lost_response(Applied::Yes));
            }
            Fault::Cut => {
                self.0.next(Operation::Send, 1, unavailable());
                self.0.next(Operation::Read, 1, unavailable());
            }
            Fault::LoseLeaseResponse => {
                self.0
                    .next(Operation::LeaseWrite, 1, Of::lost_response(Applied::Yes));
            }
            Fault::Expire => self.0.expire_all()?,
            _ => return Err(Error::unsupported(format!("{fault:?}"))),
        }
        Ok(())
    }
}
