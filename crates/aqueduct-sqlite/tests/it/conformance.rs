//! SQLite passes the cases of all its claims, plain and through all layers, on real files and a real
//! clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use aqueduct_conformance::{Fault, Faults, Fixture, LayerSet, Subject, SuiteOptions, Timing, run};
use aqueduct_core::{Backend as _, Error, Options, Resource, Result, Runtime, StreamSpec, Url};
use aqueduct_sqlite::{SqlResultExt as _, SqliteBackend, SqliteOptions};
use async_trait::async_trait;
use tempfile::TempDir;

/// Returns the suite's options; `AQUEDUCT_CASES=nack,gap` runs only cases whose names contain these.
fn options() -> SuiteOptions {
    let cases = std::env::var("AQUEDUCT_CASES").unwrap_or_default();
    SuiteOptions::default().only(cases.split(',').filter(|part| !part.is_empty()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims() {
    let fixture = Sqlite::new(100_000);
    let report = run(&fixture, &aqueduct_runtime::tokio(), options()).await;
    report.assert_passed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_what_it_claims_through_all_layers() {
    // A layer that writes on each acknowledgement waits for the disk each time.
    let fixture = Sqlite::new(10_000);
    let runtime = aqueduct_runtime::tokio();
    let options = options().through(LayerSet::combined());
    run(&fixture, &runtime, options).await.assert_passed();
}

/// A folder with a file for each stream, each opened by its own backend.
struct Sqlite {
    folder: TempDir,
    backlog: usize,
}

impl Sqlite {
    fn new(backlog: usize) -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            backlog,
        }
    }
}

fn resource(backend: &SqliteBackend, file: &Path, options: Options) -> Result<Arc<dyn Resource>> {
    let url = Url::parse(&format!("sqlite:{}", file.display()))
        .map_err(|error| Error::config(error.to_string()))?;
    backend.parse("subject", &url, options)
}

#[async_trait]
impl Fixture for Sqlite {
    fn name(&self) -> &str {
        "sqlite"
    }

    fn timing(&self) -> Timing {
        let mut timing = Timing::default();
        timing.backlog = self.backlog;
        // Other tests write to the same disk meanwhile.
        timing.deadline = Duration::from_secs(60);
        timing.case = Duration::from_secs(180);
        timing
    }

    async fn open(&self, spec: &StreamSpec, runtime: &Runtime) -> Result<Subject> {
        let file = self
            .folder
            .path()
            .join(format!("{:016x}.db", runtime.random()));
        let backend = SqliteBackend::new();
        let options = || Options::new("streams.subject");
        let stream = resource(&backend, &file, options())?;
        stream.admin(runtime).await?.create(spec).await?;
        // Another backend shares only the file, as another process does.
        let peer = resource(&SqliteBackend::new(), &file, options())?;
        let faults = Injected {
            backend,
            file,
            runtime: runtime.clone(),
        };
        Ok(Subject::new(stream)
            .with_peer(peer)
            .with_faults(Arc::new(faults)))
    }

    async fn missing(&self) -> Option<Arc<dyn Resource>> {
        let file = self.folder.path().join("missing.db");
        let never = Options::new("streams.missing").with("create", "never");
        resource(&SqliteBackend::new(), &file, never).ok()
    }
}

struct Injected {
    backend: SqliteBackend,
    file: PathBuf,
    runtime: Runtime,
}

#[async_trait]
impl Faults for Injected {
    fn offers(&self, fault: Fault) -> bool {
        fault == Fault::Expire
    }

    async fn inject(&self, fault: Fault) -> Result<()> {
        if !self.offers(fault) {
            return Err(Error::unsupported("a file has no such fault"));
        }
        let store = self
            .backend
            .store(&self.file, SqliteOptions::default(), &self.runtime)
            .await?;
        store
            .transaction(|tx| {
                tx.execute_batch(
                    "DELETE FROM aqueduct_segment;
                     UPDATE aqueduct_partition SET first = next, bytes = 0;",
                )
                .sql("let events expire")
            })
            .await
    }
}
