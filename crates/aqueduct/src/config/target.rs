use std::collections::BTreeMap;
use std::path::Path;

use aqueduct_core::{Backoff, Error, Options, Result, SmallStr, Url};
use aqueduct_producer::ProducerOptions;

use super::mask::mask_url;
use super::section::{Section, read_leaf, read_text};
use super::tree::{Leaf, Node, Table};
use super::{ClientConfig, Scope, check_source};

/// The target of a URL: a stream, or a store beside the streams.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) kind: TargetKind,
    /// The name that its backend receives: that of its table.
    pub(crate) name: SmallStr,
    pub(crate) url: Url,
    /// The URL as errors may print it.
    pub(crate) shown: SmallStr,
    /// The options of the table and of the URL's query, as one set.
    pub(crate) options: Options,
    /// The keys that every backend shares, for the error that lists what is valid.
    pub(crate) common: Vec<&'static str>,
    pub(crate) producer: ProducerOptions,
    /// The layers of its producer, the outermost first.
    pub(crate) layers: Vec<SmallStr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TargetKind {
    Stream,
    Store,
}

impl TargetKind {
    pub(crate) fn table(self) -> &'static str {
        match self {
            Self::Stream => "streams",
            Self::Store => "stores",
        }
    }
}

impl Target {
    pub(super) fn read(
        kind: TargetKind,
        name: &SmallStr,
        mut table: Table,
        scope: Scope<'_>,
    ) -> Result<Self> {
        let environment = scope.environment;
        let place = format!("{}.{name}", kind.table());
        let url = match table.remove("url") {
            Some(Node::Leaf(url)) => url,
            Some(other) => {
                return Err(Error::config(format!(
                    "{place}.url: expected a URL, found {}",
                    other.describe()
                )));
            }
            None => {
                return Err(Error::config(format!(
                    "{place}.url: it is missing; a URL says where the {} is, such as sqlite:data/{name}.db",
                    if kind == TargetKind::Stream {
                        "stream"
                    } else {
                        "store"
                    }
                )));
            }
        };
        let mut section = Section::new(place.as_str(), table.clone(), environment)?;
        let producer = read_producer(section.table("producer")?, name, scope.client)?;
        let layers = scope.layers.read_names(&mut section)?;
        let (_, mut common) = section.into_options()?;
        common.push("url");
        for name in &common {
            table.remove(*name);
        }
        let (url, shown, options) = read_url(&place, "url", &url, table, scope)?;
        Ok(Self {
            kind,
            name: name.clone(),
            url,
            shown,
            options: created(options, scope.client),
            common,
            producer,
            layers: layers.unwrap_or_else(|| scope.client.layers.clone()),
        })
    }

    /// Returns the target of a URL in a group's table.
    pub(super) fn inline(
        place: &str,
        key: &str,
        name: SmallStr,
        url: &Leaf,
        scope: Scope<'_>,
    ) -> Result<Self> {
        let (url, shown, options) = read_url(place, key, url, Table::new(), scope)?;
        Ok(Self {
            kind: TargetKind::Store,
            name,
            url,
            shown,
            options: created(options, scope.client),
            common: Vec::new(),
            producer: ProducerOptions::default(),
            layers: scope.client.layers.clone(),
        })
    }
}

/// Returns the options; `create` is taken from `[client]` if they do not set it.
fn created(mut options: Options, client: &ClientConfig) -> Options {
    if let (Some(create), false) = (client.create, options.contains("create")) {
        options.set("create", create, create);
    }
    options
}

/// Reads a URL, and its query and `table` as one set of options.
fn read_url(
    place: &str,
    key: &str,
    leaf: &Leaf,
    table: Table,
    scope: Scope<'_>,
) -> Result<(Url, SmallStr, Options)> {
    let environment = scope.environment;
    let options_place = match key {
        "url" => SmallStr::from(place),
        inline => SmallStr::from(format!("{place}.{inline}")),
    };
    let mut options = Section::new(options_place, table.clone(), environment)?
        .into_options()?
        .0;
    let shown = SmallStr::from(mask_url(&leaf.written));
    options = options.with_url(format!("{place}.{key}"), shown.clone());
    // The query is split before its references are replaced: a secret may hold any character.
    let (base, query) = match leaf.written.split_once('?') {
        Some((base, query)) => (base, query),
        None => (leaf.written.as_str(), ""),
    };
    let expanded = read_text(place, key, base, leaf.references, environment)?.text;
    let (expanded, hidden) = match expanded.split_once('?') {
        Some((base, query)) => (base, query),
        None => (expanded.as_str(), ""),
    };
    let mut given: BTreeMap<SmallStr, SmallStr> = BTreeMap::new();
    for (query, references) in [(hidden, false), (query, leaf.references)] {
        for (name, written) in url::form_urlencoded::parse(query.as_bytes()) {
            let name = SmallStr::from(name.as_ref());
            let mut value = read_text(place, &name, &written, references, environment)?;
            if query == hidden && base != expanded {
                value.shown = shown.clone();
            }
            let in_table = match table.get(&name) {
                Some(Node::Leaf(leaf)) => Some(read_leaf(place, &name, leaf, environment)?),
                _ => None,
            };
            let other = in_table
                .as_ref()
                .map(|other| &other.text)
                .or(given.get(&name));
            if other.is_some_and(|other| *other != value.text) {
                let other = in_table.map_or_else(
                    || "is in the query twice, with different values".to_string(),
                    |other| {
                        format!(
                            "is \"{}\" in the table and \"{}\" in the URL's query: set it only once",
                            other.shown, value.shown
                        )
                    },
                );
                return Err(Error::config(format!("{place}.{name}: it {other}")));
            }
            given.insert(name.clone(), value.text.clone());
            options.set(name, value.text, value.shown);
        }
    }
    let refuse = |why: String| Err(Error::config(format!("{place}.{key} = \"{shown}\": {why}")));
    // The URL's parser would drop line ends and tabs from within, and open another place.
    if expanded.contains(char::is_control) {
        return refuse("it contains a control character, such as a line end or a tab".into());
    }
    let url = match Url::parse(expanded) {
        Ok(url) => url,
        Err(error) => {
            return refuse(format!(
                "not a URL ({error}); it needs a scheme, such as sqlite:data/orders.db or memory:"
            ));
        }
    };
    match rebase(url, scope.folder) {
        Some(url) => Ok((url, shown, options)),
        None => refuse("the configuration's folder cannot be part of a URL".into()),
    }
}

/// Lets a relative path of a file start at the configuration's folder.
fn rebase(url: Url, folder: Option<&Path>) -> Option<Url> {
    let path = url.path();
    let (true, Some(folder)) = (url.scheme() == "sqlite" && url.cannot_be_a_base(), folder) else {
        return Some(url);
    };
    if path.is_empty() || folder.as_os_str().is_empty() {
        return Some(url);
    }
    let mut plain = String::new();
    for character in folder.to_str()?.chars() {
        match character {
            '%' => plain.push_str("%25"),
            '?' => plain.push_str("%3F"),
            '#' => plain.push_str("%23"),
            _ => plain.push(character),
        }
    }
    let joined = Path::new(&plain).join(path);
    let mut rebased = Url::parse(&format!("{}:{}", url.scheme(), joined.to_str()?)).ok()?;
    // The backend refuses a fragment. If it were dropped here, another file would be opened.
    rebased.set_fragment(url.fragment());
    Some(rebased)
}

fn read_producer(
    mut section: Section,
    name: &SmallStr,
    client: &ClientConfig,
) -> Result<ProducerOptions> {
    let mut options = ProducerOptions {
        name: name.clone(),
        source: client.source.clone(),
        ..ProducerOptions::default()
    };
    let set = &mut options;
    let source = section.text("source")?;
    check_source(&section, source.as_ref())?;
    set.source = source.or(set.source.take());
    set.linger = section.duration_or_zero("linger")?.unwrap_or(set.linger);
    set.batch_wait = section
        .duration_or_zero("batch_wait")?
        .unwrap_or(set.batch_wait);
    let counts = 1..=1_000_000;
    for (key, value) in [
        ("max_batch_events", &mut set.max_batch_events),
        ("max_buffered_events", &mut set.max_buffered_events),
        ("in_flight", &mut set.in_flight),
    ] {
        *value = section.number(key, counts.clone())?.unwrap_or(*value);
    }
    for (key, value) in [
        ("max_batch_bytes", &mut set.max_batch_bytes),
        ("max_buffered_bytes", &mut set.max_buffered_bytes),
    ] {
        *value = section.bytes(key)?.unwrap_or(*value);
    }
    set.attempts = section
        .number("attempts", 1..=1_000_000)?
        .unwrap_or(set.attempts);
    for (key, value) in [
        ("deadline", &mut set.deadline),
        ("request_timeout", &mut set.request_timeout),
        ("drain", &mut set.drain),
    ] {
        *value = section.duration(key)?.unwrap_or(*value);
    }
    let first = section.duration("first")?;
    let max = section.duration("max")?;
    if first.is_some() || max.is_some() {
        let default = Backoff::new(set.backoff.ceiling(1), set.backoff.ceiling(u32::MAX));
        let first = first.unwrap_or(default.ceiling(1));
        let max = max.unwrap_or(default.ceiling(u32::MAX));
        if first > max {
            return Err(section.refuse("first", format_args!("it is longer than max, {max:?}")));
        }
        set.backoff = Backoff::new(first, max);
    }
    set.resend_unknown = section
        .boolean("resend_unknown")?
        .unwrap_or(set.resend_unknown);
    options
        .validate()
        .map_err(|error| error.context(format_args!("streams.{name}.producer")))?;
    section.finish()?;
    Ok(options)
}
