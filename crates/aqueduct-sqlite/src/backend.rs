use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

use aqueduct_core::lease_rows::RowLeases;
use aqueduct_core::sync::lock;
use aqueduct_core::{
    Admin, Backend, BatchProducer, Capabilities, Capability, Claim, Claims, DeadLetterStore, Error,
    IdempotencyStore, Identity, LeaseStore, Limits, OptionTable, Options, Resource, Result,
    Runtime, SharedSettings, SmallStr, Source, StreamName, Url,
};
use async_trait::async_trait;

use crate::admin::SqliteAdmin;
use crate::config::{Config, SqliteOptions, SyncMode};
use crate::dead_letters::SqliteDeadLetters;
use crate::idempotency::SqliteRecords;
use crate::leases::SqliteLeases;
use crate::producer::SqliteProducer;
use crate::reference;
use crate::retention;
use crate::source::SqliteLog;
use crate::store::{Inner, SqliteStore};
use crate::streams::{StreamRow, create_stream, find_stream, need_stream, no_stream};

/// Files on this machine, under `sqlite:PATH` URLs.
///
/// A file is opened once and shared by everything that this value, or a clone of it, opens there;
/// two backends share nothing but the files.
///
/// ```
/// use aqueduct_core::{Backend, Options, Url};
/// use aqueduct_sqlite::SqliteBackend;
///
/// let url = Url::parse("sqlite:data/orders.db").expect("a URL");
/// let orders = SqliteBackend::new().parse("orders", &url, Options::new("streams.orders"))?;
/// assert_eq!(orders.stream().as_str(), "orders"); // the file is opened later
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct SqliteBackend(Arc<Stores>);

#[derive(Default)]
struct Stores {
    /// Held while one is opened, so that a file is opened once.
    opening: futures::lock::Mutex<()>,
    open: Mutex<BTreeMap<PathBuf, Weak<Inner>>>,
    /// The source of the first client that used this backend, for events without one.
    source: OnceLock<SmallStr>,
}

impl SqliteBackend {
    /// Makes a backend that has no file open.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns the store of the file at `path`; opens it if it is not open.
    ///
    /// # Errors
    /// As for [`SqliteStore::open`]; `Config` if it is open with other options.
    pub async fn store(
        &self,
        path: impl AsRef<Path>,
        options: SqliteOptions,
        runtime: &Runtime,
    ) -> Result<SqliteStore> {
        let _opening = self.0.opening.lock().await;
        let path = path.as_ref();
        let store = match self.0.find(path) {
            Some(store) => same_options(store, &options)?,
            None => {
                let store = SqliteStore::open(path, options.clone(), runtime).await?;
                // Only now is the file's one name known: another name may have opened it.
                match self.0.find(store.path()) {
                    Some(known) => same_options(known, &options)?,
                    None => {
                        self.0.remember(&store);
                        store
                    }
                }
            }
        };
        if let Some(source) = self.0.source.get() {
            store.0.source.get_or_init(|| source.clone());
        }
        Ok(store)
    }
}

impl Stores {
    fn find(&self, path: &Path) -> Option<SqliteStore> {
        // Also that of a file which was removed: no new file is created beside what has it open.
        let path = one_name(path);
        let open = lock(&self.open);
        open.get(&path)?.upgrade().map(SqliteStore)
    }

    fn remember(&self, store: &SqliteStore) {
        let mut open = lock(&self.open);
        open.retain(|_, store| store.strong_count() > 0);
        open.insert(store.path().to_owned(), Arc::downgrade(&store.0));
    }
}

fn same_options(store: SqliteStore, asked: &SqliteOptions) -> Result<SqliteStore> {
    let known = store.options();
    let differs = [
        ("sync", known.sync != asked.sync),
        ("wal_limit", known.wal_limit != asked.wal_limit),
        ("busy_timeout", known.busy_timeout != asked.busy_timeout),
        ("network", known.allow_network != asked.allow_network),
        (
            "dead_letter_retention",
            known.dead_letter_retention != asked.dead_letter_retention,
        ),
        (
            "idempotency_retention",
            known.idempotency_retention != asked.idempotency_retention,
        ),
        ("claim_life", known.claim_life != asked.claim_life),
    ];
    // `create` says nothing about a file that is open.
    match differs.into_iter().find(|(_, differs)| *differs) {
        None => Ok(store),
        Some((name, _)) => Err(Error::config(format!(
            "{}: {name} differs from what the file is open with; it must be the same for \
             everything in one file",
            store.path().display()
        ))),
    }
}

impl Backend for SqliteBackend {
    fn schemes(&self) -> &[&'static str] {
        &["sqlite"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        if let Some(source) = options.default_source() {
            self.0.source.get_or_init(|| source.clone());
        }
        let config = Config::parse(name, url, options)?;
        Ok(Arc::new(SqliteResource {
            backend: self.clone(),
            config,
        }))
    }

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

impl std::fmt::Debug for SqliteBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let open = lock(&self.0.open);
        f.debug_tuple("SqliteBackend").field(&open.keys()).finish()
    }
}

/// Returns the name by which a file is compared: absolute, links resolved as far as they exist.
fn one_name(path: &Path) -> PathBuf {
    if let Ok(known) = path.canonicalize() {
        return known;
    }
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = absolute
        .parent()
        .and_then(|folder| folder.canonicalize().ok());
    match (folder, absolute.file_name()) {
        (Some(folder), Some(file)) => folder.join(file),
        _ => absolute,
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "for ever".to_owned(), |time| format!("{time:?}"))
}

struct SqliteResource {
    backend: SqliteBackend,
    config: Config,
}

impl SqliteResource {
    async fn store(&self, runtime: &Runtime) -> Result<SqliteStore> {
        self.backend
            .store(&self.config.path, self.config.file.clone(), runtime)
            .await
    }

    /// Returns the store and the largest event that the stream takes; creates the stream if it is
    /// missing and may be created.
    async fn stream(&self, runtime: &Runtime) -> Result<(SqliteStore, usize)> {
        let store = self.store(runtime).await?;
        let Config {
            stream, file, log, ..
        } = self.config.clone();
        let now = runtime.wall();
        let limited = log.retention.is_some() || log.max_bytes.is_some();
        let name = stream.clone();
        let found = store
            .read(move |connection| find_stream(connection, name.as_str()))
            .await?;
        if found.is_none() && !file.create {
            return Err(no_stream(&stream).context(self.describe()));
        }
        let as_asked = |row: &StreamRow| {
            !limited
                && log
                    .max_event_bytes
                    .is_none_or(|asked| asked == row.max_event_bytes)
        };
        let limit = match found.filter(as_asked) {
            Some(row) => row.max_event_bytes,
            None => {
                store
                    .transaction(move |tx| {
                        create_stream(tx, &stream, &log, now)?;
                        let row = need_stream(tx, &stream)?;
                        retention::configure(tx, row.id, &log)?;
                        Ok(log.max_event_bytes.unwrap_or(row.max_event_bytes))
                    })
                    .await?
            }
        };
        Ok((store, limit))
    }

    fn capabilities(&self, event_bytes: usize) -> Capabilities {
        Capabilities {
            claims: self.claims(),
            limits: Limits {
                event_bytes: Some(event_bytes),
                ..Limits::default()
            },
        }
    }
}

#[async_trait]
impl Resource for SqliteResource {
    fn describe(&self) -> String {
        format!("sqlite:{}", self.config.path.display())
    }

    fn identity(&self) -> Identity {
        Identity::new(format!(
            "sqlite:{} {}",
            one_name(&self.config.path).display(),
            self.config.stream
        ))
    }

    fn shared_settings(&self) -> Option<SharedSettings> {
        let path = one_name(&self.config.path);
        let file = &self.config.file;
        Some(SharedSettings {
            place: Identity::new(format!("sqlite:{}", path.display())),
            described: format!("the file {}", path.display()),
            values: vec![
                ("sync", format!("{:?}", file.sync).to_lowercase()),
                ("wal_limit", format!("{} bytes", file.wal_limit)),
                ("busy_timeout", format!("{:?}", file.busy_timeout)),
                ("network", file.allow_network.to_string()),
                ("dead_letter_retention", shown(file.dead_letter_retention)),
                ("idempotency_retention", shown(file.idempotency_retention)),
                ("claim_life", format!("{:?}", file.claim_life)),
            ],
        })
    }

    fn stream(&self) -> &StreamName {
        &self.config.stream
    }

    fn claims(&self) -> Claims {
        let all = Claims::of(&Capability::ALL);
        match self.config.file.sync {
            SyncMode::Full => all,
            SyncMode::Normal => all.with(
                Capability::Durable,
                Claim::No(SmallStr::literal(
                    "sync = \"normal\": the last moments before a loss of power may be missing",
                )),
            ),
        }
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let (store, limit) = self.stream(runtime).await?;
        Ok(Arc::new(SqliteProducer::new(
            store,
            self.config.stream.clone(),
            limit,
            self.capabilities(limit),
        )))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let (store, limit) = self.stream(runtime).await?;
        Ok(Source::Log(Arc::new(SqliteLog::new(
            store,
            self.config.stream.clone(),
            runtime.clone(),
            self.capabilities(limit),
        ))))
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        let rows = SqliteLeases::new(self.store(runtime).await?);
        Ok(Arc::new(RowLeases::new(rows)))
    }

    async fn idempotency(&self, runtime: &Runtime) -> Result<Arc<dyn IdempotencyStore>> {
        Ok(Arc::new(SqliteRecords::new(self.store(runtime).await?)))
    }

    async fn dead_letters(&self, runtime: &Runtime) -> Result<Arc<dyn DeadLetterStore>> {
        Ok(Arc::new(SqliteDeadLetters::new(self.store(runtime).await?)))
    }

    async fn close(&self) -> Result<()> {
        match self.backend.0.find(&self.config.path) {
            Some(store) => store.checkpoint().await,
            None => Ok(()),
        }
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        Ok(Arc::new(SqliteAdmin::new(
            self.store(runtime).await?,
            self.config.stream.clone(),
            self.config.log.clone(),
        )))
    }
}
