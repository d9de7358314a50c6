use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

#[cfg(doc)]
use aqueduct_core::Stage;
use aqueduct_core::{Backend, Error, ErrorKind, Layer, Result, Router, Runtime, SmallStr};
use aqueduct_group::{ByteBudget, IsolationGate};
use aqueduct_memory::MemoryBackend;

use super::layers::Layers;
use super::resource::NamedResource;
use super::schemes::Schemes;
use super::{Client, Inner};
use crate::config::{Config, Environment, Sources};

/// The bytes that each partition may always hold under `receive_bytes`: one fetch.
const SHARE: usize = 1 << 20;

/// Builds a [`Client`] from a file, TOML and single keys; the environment overrides all of them.
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
    layers: Vec<Arc<dyn Layer>>,
    routers: BTreeMap<SmallStr, Arc<dyn Router>>,
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
                    _ if matches!(error.raw_os_error(), Some(23 | 24)) && cfg!(unix) => {
                        // Too many open files: the file itself may be fine.
                        ErrorKind::Unavailable
                    }
                    _ => ErrorKind::Config,
                };
                let said = format!("{}: {error}", path.display());
                self.refused
                    .get_or_insert(Error::new(kind, said).with_source(error));
            }
        }
        self
    }

    /// Reads TOML, which overrides the file.
    #[must_use]
    pub fn toml(mut self, text: impl Into<String>) -> Self {
        self.sources.text = Some(text.into());
        self
    }

    /// Sets one key, such as `streams.orders.url`, which overrides file and TOML.
    #[must_use]
    pub fn set(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.sources.settings.push((key.into(), value.into()));
        self
    }

    /// Sets where relative paths start; default: the folder of the file.
    #[must_use]
    pub fn folder(mut self, folder: impl AsRef<Path>) -> Self {
        self.sources.folder = Some(folder.as_ref().to_path_buf());
        self
    }

    /// Serves URLs of `scheme` by `backend`, instead of the one that is compiled in.
    #[must_use]
    pub fn backend(mut self, scheme: impl Into<SmallStr>, backend: impl Backend + 'static) -> Self {
        self.backends.insert(scheme.into(), Arc::new(backend));
        self
    }

    /// Adds a layer around every producer and every group, inside of those added before.
    ///
    /// The order is fixed by the layers' [stages](Stage): observe, idempotency, dead letters,
    /// backend, from the outside. A group's own layers (idempotency, dead letters) take the place
    /// of their stage, and the layers that the configuration names come inside of these within one
    /// stage.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
    /// use aqueduct::core::{Layer, Stage};
    /// use aqueduct::{Client, Event};
    ///
    /// /// Marks each event with the region that it was sent from.
    /// struct Region(&'static str);
    ///
    /// impl Layer for Region {
    ///     fn name(&self) -> &'static str { "region" }
    ///     fn stage(&self) -> Stage { Stage::Observe }
    ///     fn stamp(&self, event: &mut Event) {
    ///         let _ = event.attributes_mut().set("region", self.0);
    ///     }
    /// }
    ///
    /// let client = Client::builder()
    ///     .set("streams.orders.url", "memory:")
    ///     .layer(Region("eu-west-1"))
    ///     .build()
    ///     .await?;
    /// # let _ = client; Ok(()) }
    /// ```
    ///
    /// [`build`](Self::build) refuses a stage outside of an earlier one, and a name that comes
    /// twice, with `Config`.
    #[must_use]
    pub fn layer(mut self, layer: impl Layer + 'static) -> Self {
        self.layers.push(Arc::new(layer));
        self
    }

    /// Adds a router by the name that [`Client::router`] takes. A closure is one.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
    /// use aqueduct::{Client, Event, Route};
    ///
    /// let client = Client::builder()
    ///     .set("client.source", "/shop")
    ///     .set("streams.orders.url", "memory:")
    ///     .router("shop", |event: &Event| match event.kind().starts_with("order.") {
    ///         true => Route::one("orders"),
    ///         false => Route::Nowhere,
    ///     })
    ///     .build()
    ///     .await?;
    /// let shop = client.router("shop").await?;
    /// shop.send(Event::new("order.placed")).await?;
    /// assert!(shop.send(Event::new("cart.opened")).await.is_err());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn router(mut self, name: impl Into<SmallStr>, router: impl Router + 'static) -> Self {
        let name = name.into();
        if self
            .routers
            .insert(name.clone(), Arc::new(router))
            .is_some()
        {
            let twice = format!("the router `{name}` is given twice: choose another name for one");
            self.refused.get_or_insert(Error::config(twice));
        }
        self
    }

    /// Serves every URL of any scheme by `backend`.
    pub(crate) fn only_backend(mut self, backend: MemoryBackend) -> Self {
        self.only = Some(backend);
        self
    }

    /// Sets the environment, for `${NAME}` and for variables that set keys; default: that of the
    /// process.
    #[must_use]
    pub fn environment(mut self, environment: Environment) -> Self {
        self.environment = Some(environment);
        self
    }

    /// Sets the runtime for time, tasks and randomness; default: the current Tokio runtime.
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
        let layers = Layers::new(self.layers, &config.layers, &runtime)?;
        let locate = |error| config.secrets.scrub(config.origins.locate(error));
        let resources = config
            .targets
            .iter()
            .map(|(id, target)| {
                let resource = schemes
                    .parse(id, target, config.client.source.as_ref())
                    .map_err(locate)?;
                let stack = layers.stack(&target.layers, []).map_err(|error| {
                    let place = format!("{}.layers", target.options.place());
                    locate(error.context(place))
                })?;
                Ok((
                    id.clone(),
                    NamedResource::new(target.clone(), resource, stack, config.secrets.clone()),
                ))
            })
            .collect::<Result<_>>()?;
        for group in config.groups.values() {
            let place = |error: Error| error.context(format_args!("groups.{}.layers", group.name));
            layers.check_group(group).map_err(place).map_err(locate)?;
        }
        let mut routers = self.routers;
        for (name, rules) in &config.routes {
            let place = |error: Error| error.context(format_args!("routes.{name}"));
            let router = rules.router(&runtime).map_err(place)?;
            if routers.insert(name.clone(), router).is_some() {
                let twice = format!("routes.{name}: code gives a router of that name too");
                return Err(Error::config(twice));
            }
        }
        let budget = config
            .client
            .receive_bytes
            .map(|limit| Arc::new(ByteBudget::new(limit, SHARE.min(limit))));
        Ok(Client(Arc::new(Inner {
            config,
            runtime,
            resources,
            layers,
            routers,
            budget,
            isolation: Arc::new(IsolationGate::new()),
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
