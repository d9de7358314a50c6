//! The configuration: TOML, overrides from the environment, and code, as one tree that is read
//! once.
//!
//! The `toml` crate parses, with spans; the overlay is our own. The general configuration crates
//! merge sources into one untyped map and lose what errors must show here: the text as written
//! before `${...}` was expanded, its line or variable, and the variables that matched nothing.

mod environment;
mod expand;
mod group;
mod layers;
mod mask;
mod pipelines;
mod reference;
mod routes;
mod secrets;
mod section;
mod target;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aqueduct_core::{Error, Result, SmallStr};

#[doc(inline)]
pub use aqueduct_core::{Capabilities, Capability, Claim, Claims, Limits};

pub use self::environment::Environment;
pub(crate) use self::group::{GroupConfig, IdempotencyPlace, OnUnhandled};
pub(crate) use self::layers::LayerConfigs;
pub(crate) use self::pipelines::{PipelineConfig, PipelineTargets};
pub use self::reference::reference;
pub(crate) use self::routes::RouteConfig;
pub(crate) use self::secrets::Secrets;
use self::section::Section;
pub(crate) use self::target::{Target, TargetKind};
use self::tree::{Node, Table, Tree};

/// The whole configuration, each part read and checked by itself; nothing is opened.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) client: ClientConfig,
    pub(crate) targets: BTreeMap<SmallStr, Target>,
    pub(crate) groups: BTreeMap<SmallStr, GroupConfig>,
    pub(crate) routes: BTreeMap<SmallStr, RouteConfig>,
    pub(crate) pipelines: BTreeMap<SmallStr, PipelineConfig>,
    pub(crate) layers: LayerConfigs,
    pub(crate) origins: Origins,
    pub(crate) secrets: Secrets,
}

/// The table `[client]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct ClientConfig {
    pub(crate) source: Option<SmallStr>,
    /// Whether missing resources are created, unless their own table or URL says.
    pub(crate) create: Option<&'static str>,
    pub(crate) receive_bytes: Option<usize>,
    /// The layers of every stream, store and group that names none itself.
    pub(crate) layers: Vec<SmallStr>,
}

/// The scope for reading every table.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    folder: Option<&'a Path>,
    environment: &'a Environment,
    client: &'a ClientConfig,
    layers: &'a LayerConfigs,
}

/// Where each key was written, for errors.
#[derive(Debug, Default)]
pub(crate) struct Origins(BTreeMap<String, String>);

/// The sources of a configuration; later ones override earlier ones.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) file: Option<(PathBuf, String)>,
    pub(crate) text: Option<String>,
    pub(crate) folder: Option<PathBuf>,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) environment: Environment,
}

impl Config {
    pub(crate) fn load(sources: &Sources) -> Result<Self> {
        let mut tree = Tree::default();
        if let Some((path, text)) = &sources.file {
            tree.read_toml(&path.display().to_string(), text)?;
        }
        if let Some(text) = &sources.text {
            tree.read_toml("configuration", text)?;
        }
        for (key, value) in &sources.settings {
            tree.set(key, value)?;
        }
        let folder = match (&sources.folder, &sources.file) {
            (Some(folder), _) => Some(folder.clone()),
            (None, Some((path, _))) => path.parent().map(Path::to_path_buf),
            (None, None) => None,
        };
        Self::read(tree, folder.as_deref(), &sources.environment)
    }

    fn read(mut tree: Tree, folder: Option<&Path>, environment: &Environment) -> Result<Self> {
        environment.overlay(&mut tree)?;
        let origins = tree.origins();
        let secrets = Secrets::collect(tree.root(), environment);
        match Self::read_tables(tree.into_root(), folder, environment) {
            Ok(config) => Ok(Self {
                origins,
                secrets,
                ..config
            }),
            Err(error) => Err(secrets.scrub(origins.locate(error))),
        }
    }

    fn read_tables(
        mut root: Table,
        folder: Option<&Path>,
        environment: &Environment,
    ) -> Result<Self> {
        let client = take_table(&mut root, "client")?;
        let streams = take_table(&mut root, "streams")?;
        let stores = take_table(&mut root, "stores")?;
        let groups = take_table(&mut root, "groups")?;
        let layers = take_table(&mut root, "layers")?;
        let pipelines = take_table(&mut root, "pipelines")?;
        let routes = take_table(&mut root, "routes")?;
        if let Some(name) = root.keys().next() {
            return Err(Error::config(format!(
                "{name}: no such table; valid: {}",
                TABLES.join(", ")
            )));
        }
        let layers = LayerConfigs::read(layers, environment)?;
        let client = ClientConfig::read(Section::new("client", client, environment)?, &layers)?;
        let scope = Scope {
            folder,
            environment,
            client: &client,
            layers: &layers,
        };
        let mut targets = BTreeMap::new();
        for (kind, tables) in [(TargetKind::Stream, streams), (TargetKind::Store, stores)] {
            for (name, node) in tables {
                let place = format!("{}.{name}", kind.table());
                let table = as_table(&place, node)?;
                let target = Target::read(kind, &name, table, scope)?;
                if targets.insert(name.clone(), target).is_some() {
                    return Err(Error::config(format!(
                        "{place}: a stream has that name already; a group could not tell them apart"
                    )));
                }
            }
        }
        let mut read = BTreeMap::new();
        for (name, node) in groups {
            let place = format!("groups.{name}");
            let section = Section::new(place.as_str(), as_table(&place, node)?, environment)?;
            let group = GroupConfig::read(&name, section, &mut targets, scope)?;
            read.insert(name, group);
        }
        let routes = routes
            .into_iter()
            .map(|(name, node)| {
                let place = format!("routes.{name}");
                let table = as_table(&place, node)?;
                let rules = routes::read(&place, table, &targets, environment)?;
                Ok((name, rules))
            })
            .collect::<Result<_>>()?;
        let declared = pipelines::Declared {
            groups: &read,
            targets: &targets,
            environment,
        };
        let pipelines = pipelines
            .into_iter()
            .map(|(name, node)| {
                let table = as_table(&format!("pipelines.{name}"), node)?;
                let pipeline = pipelines::read(&name, table, declared)?;
                Ok((name, pipeline))
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            client,
            targets,
            groups: read,
            routes,
            pipelines,
            layers,
            origins: Origins::default(),
            secrets: Secrets::default(),
        })
    }
}

impl ClientConfig {
    fn read(mut section: Section, layers: &LayerConfigs) -> Result<Self> {
        let client = Self {
            source: section.text("source")?,
            create: section.choice("create", &["missing", "never"])?,
            receive_bytes: section.bytes("receive_bytes")?,
            layers: layers.read_names(&mut section)?.unwrap_or_default(),
        };
        check_source(&section, client.source.as_ref())?;
        section.finish()?;
        Ok(client)
    }
}

impl Origins {
    /// Adds to `error` where the key at the beginning of its message was written.
    pub(crate) fn locate(&self, error: Error) -> Error {
        let message = error.message();
        let found = self
            .0
            .iter()
            .filter(|(key, _)| {
                message.strip_prefix(key.as_str()).is_some_and(|rest| {
                    !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_' || c == '-')
                })
            })
            .max_by_key(|(key, _)| key.len())
            .map(|(_, origin)| origin.clone());
        match found {
            Some(origin) => error.context(origin),
            None => error,
        }
    }
}

/// The tables of a configuration.
const TABLES: [&str; 7] = [
    "client",
    "groups",
    "layers",
    "pipelines",
    "routes",
    "stores",
    "streams",
];

/// Refuses a source that CloudEvents does not allow: it must be a URI reference, so an empty one or
/// one with spaces identifies nothing.
fn check_source(section: &Section, source: Option<&SmallStr>) -> Result<()> {
    match source {
        Some(source) if source.trim().is_empty() => Err(section.refuse(
            "source",
            "it is empty; CloudEvents requires a URI reference, such as /shop/web",
        )),
        Some(source) if source.contains(|c: char| c.is_whitespace() || c.is_control()) => {
            Err(section.refuse(
                "source",
                "it contains white space; CloudEvents requires a URI reference, such as /shop/web",
            ))
        }
        _ => Ok(()),
    }
}

fn take_table(root: &mut Table, name: &str) -> Result<Table> {
    root.remove(name)
        .map_or_else(|| Ok(Table::new()), |node| as_table(name, node))
}

fn as_table(place: &str, node: Node) -> Result<Table> {
    match node {
        Node::Table(table) => Ok(table),
        other => Err(Error::config(format!(
            "{place}: expected a table, found {}",
            other.describe()
        ))),
    }
}

/// Returns the names, for an error that lists the valid ones.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a SmallStr>) -> String {
    let names: Vec<_> = names.into_iter().map(SmallStr::as_str).collect();
    match names.is_empty() {
        true => "none".into(),
        false => names.join(", "),
    }
}
