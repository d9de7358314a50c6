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

/// Where a suite runs: how to get there, names that nobody else uses, and what was made.
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

    /// A name that nothing else has, in this run or in another.
    pub(crate) fn name(&self) -> String {
        format!(
            "{}-{}",
            self.run,
            self.names.fetch_add(1, Ordering::Relaxed)
        )
    }

    /// A configuration of clients, and what makes their requests go wrong; nothing does on a real
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

    /// What `backend` makes of a name there.
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

    /// A stream in memory.
    pub(crate) fn in_memory(&self, name: &str) -> Result<Arc<dyn Resource>> {
        let options = Options::new(format!("streams.{name}"));
        self.memory.parse(name, &parse("memory:")?, options)
    }

    /// Makes what goes wrong in memory go wrong there.
    pub(crate) fn memory(&self) -> &MemoryBackend {
        &self.memory
    }

    /// Will delete what has that name, with [`clean`](Self::clean).
    pub(crate) fn delete_at_end(&self, service: Service, name: &str) {
        self.made.list().insert((service, name.to_owned()));
    }

    /// Will delete what has that name once the value is gone, or else at the end.
    pub(crate) fn delete_after(&self, service: Service, name: &str) -> Deleted {
        self.delete_at_end(service, name);
        Deleted {
            this: (service, name.to_owned()),
            made: self.made.clone(),
            place: self.place.clone(),
            aws: self.aws().0,
        }
    }

    /// Deletes what is left of what was made; answers what could not be.
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

    /// What the setup lacks for that suite.
    pub(crate) fn lacks(&self, suite: Suite) -> Vec<Lack> {
        let of_suite = self.setup.lacks.iter().filter(|(of, ..)| *of == suite);
        // A few words for the whole run.
        let kept = |text: &String| -> &'static str { Box::leak(text.clone().into_boxed_str()) };
        of_suite
            .map(|(_, case, reason)| Lack {
                case: kept(case),
                reason: kept(reason),
            })
            .collect()
    }

    pub(crate) fn timing(&self) -> Timing {
        let mut timing = Timing::default().scaled(self.setup.batch_wait);
        // A lease may not live longer because requests take longer: it is what cases wait for.
        timing.lease_ttl = Timing::default().lease_ttl;
        timing.backlog = self.setup.backlog.unwrap_or(10_000);
        timing
    }
}

/// What was made and is not deleted yet.
#[derive(Clone, Default)]
struct Made(Arc<Mutex<BTreeSet<(Service, String)>>>);

impl Made {
    fn list(&self) -> MutexGuard<'_, BTreeSet<(Service, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Deletes what was made when it is dropped.
pub(crate) struct Deleted {
    this: (Service, String),
    made: Made,
    place: Place,
    aws: Aws,
}

impl Drop for Deleted {
    fn drop(&mut self) {
        // Where no runtime is left, the end of the suite deletes it.
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
