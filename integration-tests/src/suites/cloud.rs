use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use aqueduct_aws::Aws;
use aqueduct_conformance::{Lack, Timing};
use aqueduct_core::{Backend, Error, Options, Resource, Result, Url};
use aqueduct_emulators::{HttpFaults, test_credentials};
use aqueduct_memory::MemoryBackend;

use super::Suite;
use super::delete::delete;
use crate::services::{Place, Service};
use crate::setup::Setup;

/// The place where a suite runs: clients, unique names, and the resources created.
pub(crate) struct Cloud {
    pub(crate) setup: Setup,
    pub(crate) place: Place,
    run: String,
    names: AtomicU32,
    memory: MemoryBackend,
    made: Made,
}

impl Cloud {
    pub(crate) fn new(setup: &Setup, place: &Place) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let run = since.map_or(0, |since| since.as_millis());
        Self {
            setup: setup.clone(),
            place: place.clone(),
            run: format!("aqueduct-{run:x}"),
            names: AtomicU32::new(0),
            memory: MemoryBackend::new(),
            made: Made::default(),
        }
    }

    /// Returns a name that is unique across runs.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}-{}",
            self.run,
            self.names.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// Returns the configuration of clients and their fault injection; there is none on a real
    /// account.
    pub(crate) fn aws(&self) -> (Aws, Option<HttpFaults>) {
        match self.place {
            Place::Account => (Aws::new(), None),
            Place::Emulators(_) => {
                let http = aws_smithy_http_client::Builder::new().build_http();
                let faults = HttpFaults::over(http);
                let aws = Aws::new()
                    .with_credentials(test_credentials())
                    .with_http_client(faults.client());
                (aws, Some(faults))
            }
        }
    }

    /// Opens the resource of a name by `backend`.
    pub(crate) fn resource(
        &self,
        backend: &dyn Backend,
        service: Service,
        name: &str,
        more: &[(&'static str, &str)],
    ) -> Result<Arc<dyn Resource>> {
        let mut options = Options::new(format!("streams.{name}"));
        for (key, value) in self.place.options(service).map_err(Error::config)? {
            options = options.with(key, value);
        }
        for (key, value) in more {
            options = options.with(*key, *value);
        }
        backend.parse(
            name,
            &parse(&format!("{}://{name}", service.name()))?,
            options,
        )
    }

    /// Returns a stream in memory.
    pub(crate) fn in_memory(&self, name: &str) -> Result<Arc<dyn Resource>> {
        let options = Options::new(format!("streams.{name}"));
        self.memory.parse(name, &parse("memory:")?, options)
    }

    /// Injects the faults of the memory backend.
    pub(crate) fn memory(&self) -> &MemoryBackend {
        &self.memory
    }

    /// Registers a resource for deletion by [`clean`](Self::clean).
    pub(crate) fn delete_at_end(&self, service: Service, name: &str) {
        self.made.list().insert((service, name.to_owned()));
    }

    /// Registers a resource for deletion when the value is dropped, or at the end.
    pub(crate) fn delete_after(&self, service: Service, name: &str) -> Deleted {
        self.delete_at_end(service, name);
        Deleted {
            this: (service, name.to_owned()),
            made: self.made.clone(),
            place: self.place.clone(),
            aws: self.aws().0,
        }
    }

    /// Deletes the remaining resources. Returns those that could not be deleted.
    pub(crate) async fn clean(&self) -> Vec<String> {
        let (aws, _) = self.aws();
        let mut failed = Vec::new();
        loop {
            let Some((service, name)) = self.made.list().pop_first() else {
                return failed;
            };
            let deleted = delete(&aws, &self.place, service, &name).await;
            failed.extend(deleted.err().map(|why| format!("{name}: {why}")));
        }
    }

    /// Returns the cases that the setup lacks for a suite.
    pub(crate) fn lacks(&self, suite: Suite) -> Vec<Lack> {
        let of_suite = self.setup.lacks.iter().filter(|(of, ..)| *of == suite);
        // Leaked once per run: a few words.
        let kept = |text: &String| -> &'static str { Box::leak(text.clone().into_boxed_str()) };
        of_suite
            .map(|(_, case, reason)| Lack {
                case: kept(case),
                reason: kept(reason),
            })
            .collect()
    }

    pub(crate) fn timing(&self) -> Timing {
        let mut timing = Timing::default().scaled(self.setup.time_factor);
        // Slower requests do not lengthen the lease ttl: cases wait for it.
        timing.lease_ttl = Timing::default().lease_ttl;
        timing.backlog = self.setup.backlog.unwrap_or(10_000);
        timing
    }
}

/// The resources that are not deleted yet.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<BTreeSet<(Service, String)>>>);

impl Made {
    fn list(&self) -> MutexGuard<'_, BTreeSet<(Service, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes a resource on drop.
pub(crate) struct Deleted {
    this: (Service, String),
    made: Made,
    place: Place,
    aws: Aws,
}

impl Drop for Deleted {
    fn drop(&mut self) {
        // Without a runtime, the end of the suite deletes it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let (this, made) = (self.this.clone(), self.made.clone());
        let (place, aws) = (self.place.clone(), self.aws.clone());
        runtime.spawn(async move {
            if delete(&aws, &place, this.0, &this.1).await.is_ok() {
                made.list().remove(&this);
            }
        });
    }
}

pub(crate) fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| Error::config(format!("{url}: {error}")))
}
