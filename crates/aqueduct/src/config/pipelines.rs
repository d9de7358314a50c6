use std::collections::BTreeMap;

use aqueduct_core::{Error, Event, Result, SmallStr};
use aqueduct_routing::{Condition, Targets};

use super::routes::{self, RouteConfig};
use super::section::{Section, read_leaf};
use super::target::Target;
use super::tree::{Node, Table};
use super::{Environment, GroupConfig, as_table, list};

/// One table of `[pipelines]`.
#[derive(Clone, Debug)]
pub(crate) struct PipelineConfig {
    pub(crate) name: SmallStr,
    pub(crate) group: SmallStr,
    pub(crate) filter: Option<Condition>,
    pub(crate) to: PipelineTargets,
    set: Vec<Setting>,
}

/// Where the events of a pipeline go.
#[derive(Clone, Debug)]
pub(crate) enum PipelineTargets {
    /// By `[routes.NAME]`, or a router in code.
    Route(SmallStr),
    /// To these streams.
    To(Targets),
}

#[derive(Clone, Debug)]
enum Setting {
    Subject(SmallStr),
    Key(SmallStr),
    Attribute(SmallStr, SmallStr),
}

impl PipelineConfig {
    /// Sets what the table sets.
    ///
    /// # Errors
    /// `Invalid` if the event cannot have one more attribute.
    pub(crate) fn apply(&self, event: Event) -> Result<Event> {
        self.set.iter().try_fold(event, |event, setting| {
            Ok(match setting {
                Setting::Subject(subject) => event.with_subject(subject.clone()),
                Setting::Key(key) => event.with_key(key.clone()),
                Setting::Attribute(name, value) => {
                    event.with_attribute(name.clone(), value.clone())?
                }
            })
        })
    }

    pub(crate) fn sets_something(&self) -> bool {
        !self.set.is_empty()
    }
}

/// The tables that a pipeline refers to.
#[derive(Clone, Copy)]
pub(super) struct Declared<'a> {
    pub(super) groups: &'a BTreeMap<SmallStr, GroupConfig>,
    pub(super) targets: &'a BTreeMap<SmallStr, Target>,
    pub(super) environment: &'a Environment,
}

pub(super) fn read(
    name: &SmallStr,
    mut table: Table,
    declared: Declared<'_>,
) -> Result<PipelineConfig> {
    let place = format!("pipelines.{name}");
    let to = table.remove("to");
    let attributes = match table.get_mut("set") {
        Some(Node::Table(set)) => set.remove("attributes"),
        _ => None,
    };
    let mut section = Section::new(place.as_str(), table, declared.environment)?;
    section.add_known("to");
    let Some(group) = section.text("group")? else {
        return Err(Error::config(format!(
            "{place}.group: it is missing; name the group that reads the events; declared: {}",
            list(declared.groups.keys())
        )));
    };
    if !declared.groups.contains_key(&group) {
        return Err(section.refuse(
            "group",
            format_args!("unknown group; declared: {}", list(declared.groups.keys())),
        ));
    }
    let filter = routes::read_expression(&mut section, "filter")?;
    let route = section.text("route")?;
    let to = match (route, to) {
        (Some(route), None) => PipelineTargets::Route(route),
        (None, Some(node)) => {
            let (targets, environment) = (declared.targets, declared.environment);
            PipelineTargets::To(routes::read_targets(
                &place,
                "to",
                node,
                targets,
                environment,
            )?)
        }
        (None, None) => {
            return Err(Error::config(format!(
                "{place}.to: it is missing; name a stream or a list of them, or name one of [routes] in \
                 `route`"
            )));
        }
        (Some(_), Some(_)) => {
            return Err(section.refuse("route", "the pipeline has `to` already; give one of both"));
        }
    };
    let mut set = Vec::new();
    let mut settings = section.table("set")?;
    settings.add_known("attributes");
    set.extend(settings.text("subject")?.map(Setting::Subject));
    set.extend(settings.text("key")?.map(Setting::Key));
    settings.finish()?;
    if let Some(node) = attributes {
        let place = format!("{place}.set.attributes");
        for (name, node) in as_table(&place, node)? {
            let Node::Leaf(leaf) = node else {
                return Err(Error::config(format!(
                    "{place}.{name}: expected a text, found {}",
                    node.describe()
                )));
            };
            let value = read_leaf(&place, &name, &leaf, declared.environment)?.text;
            routes::attribute(&format!("{place}.{name}"), name.clone())?;
            set.push(Setting::Attribute(name, value));
        }
    }
    section.finish()?;
    Ok(PipelineConfig {
        name: name.clone(),
        group,
        filter,
        to,
        set,
    })
}

impl PipelineTargets {
    /// Returns the streams that are known, unless a router in code decides.
    pub(crate) fn streams<'a>(
        &'a self,
        routes: &'a BTreeMap<SmallStr, RouteConfig>,
    ) -> Vec<&'a SmallStr> {
        match self {
            Self::To(targets) => targets.names().iter().collect(),
            Self::Route(route) => {
                let route = routes.get(route);
                route.into_iter().flat_map(RouteConfig::targets).collect()
            }
        }
    }
}
