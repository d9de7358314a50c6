use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use aqueduct_core::{Backend, Error, ErrorKind, Result, Runtime, SmallStr};
use aqueduct_group::ByteBudget;
use aqueduct_memory::MemoryBackend;

use super::schemes::Schemes;
use super::slot::Slot;
use super::{Client, Inner};
use crate::config::{Config, Environment, Sources};

/// What every partition may hold whatever the others do, where `receive_bytes` is set: a fetch.
const SHARE: usize = 1 << 20;

/// Makes a [`Client`]: from a file, TOML and single keys, the environment over all of them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
/// use aqueduct::{Client, Environment, MemoryBackend};
///
/// let memory = MemoryBackend::new();
/// let client = Client::builder()
///     .set("streams.orders.url", "memory:")
///     .backend("memory", memory.clone())
///     .environment(Environment::empty())
///     .build()
///     .await?;
/// assert_eq!(client.streams().collect::<Vec<_>>(), ["orders"]);
/// # Ok(()) }
/// ```
#[derive(Default)]
pub struct ClientBuilder {
    sources: Sources,
    environment: Option<Environment>,
    backends: BTreeMap<SmallStr, Arc<dyn Backend>>,
    only: Option<MemoryBackend>,
    runtime: Option<Runtime>,
    refused: Option<Error>,
}

impl ClientBuilder {
    /// Reads a configuration file. Relative paths in it start at its folder.
    #[must_use]
    pub fn file(mut self, path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        match std::fs::read_to_string(path) {
            Ok(text) => self.sources.file = Some((path.to_path_buf(), text)),
            Err(error) => {
                let kind = match error.kind() {
                    std::io::ErrorKind::NotFound => ErrorKind::NotFound,
                    std::io::ErrorKind::PermissionDenied => ErrorKind::Denied,
                    _ => ErrorKind::Config,
                };
                let said = format!("{}: {error}", path.display());
                self.refused
                    .get_or_insert(Error::new(kind, said).with_source(error));
            }
        }
        self
    }

    /// Reads TOML, over the file.
    #[must_use]
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.sources.text = Some(text.into());
        self
    }

    /// Sets one key, such as `streams.orders.url`, over file and TOML.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.sources.settings.push((key.into(), value.into()));
        self
    }

    /// Where relative paths start; the file's folder unless this is said.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.sources.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Serves URLs of `scheme` by `backend`, in place of the one that is compiled in.
    #[must_use]
    pub fn backend(mut self, scheme: impl Into<SmallStr>, backend: impl Backend + 'static) -> Self {
        self.backends.insert(scheme.into(), Arc::new(backend));
        self
    }

    /// Serves every URL by `backend`, whatever its scheme.
    pub(crate) fn only_backend(mut self, backend: MemoryBackend) -> Self {
        self.only = Some(backend);
        self
    }

    /// The environment, for `${NAME}` and for variables that set keys; the process's own unless
    /// this is said.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Time, tasks and randomness; the current Tokio runtime unless this is said.
    #[must_use]
    pub fn runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Reads and checks the configuration. Nothing is opened.
    ///
    /// # Errors
    /// `NotFound` for a missing file; `Config`, with the key, the text as written and the valid
    /// choices.
    pub async fn build(self) -> Result<Client> {
        if let Some(refused) = self.refused {
            return Err(refused);
        }
        let runtime = match self.runtime {
            Some(runtime) => runtime,
            None => aqueduct_runtime::try_tokio()?,
        };
        let mut sources = self.sources;
        sources.environment = self.environment.unwrap_or_else(Environment::process);
        let config = Config::load(&sources)?;
        let schemes = match self.only {
            Some(memory) => Schemes::only(memory),
            None => Schemes::new(self.backends),
        };
        let slots = config
            .targets
            .iter()
            .map(|(id, target)| {
                let resource = schemes.parse(id, target);
                let resource = resource.map_err(|error| config.origins.locate(error))?;
                Ok((id.clone(), Slot::new(target.clone(), resource)))
            })
            .collect::<Result<_>>()?;
        let budget = config
            .client
            .receive_bytes
            .map(|limit| Arc::new(ByteBudget::new(limit, SHARE.min(limit))));
        Ok(Client(Arc::new(Inner {
            config,
            runtime,
            slots,
            budget,
            consumers: Mutex::default(),
        })))
    }
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientBuilder")
            .field("backends", &self.backends.keys())
            .finish_non_exhaustive()
    }
}
