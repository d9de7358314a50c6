use aqueduct_core::{Error, Result, SmallStr};
use aqueduct_layers::{TimeoutOptions, TracingOptions};

use super::section::Section;
use super::tree::Table;
use super::{Environment, as_table};

/// The layers that a configuration can name, and those that have a table, with their options.
#[derive(Clone, Debug, Default)]
pub(crate) struct LayerConfigs {
    pub(crate) tracing: TracingOptions,
    /// `None` without a table: a time-out without a limit has no effect.
    pub(crate) timeout: Option<TimeoutOptions>,
}

/// The names that `layers` and `[layers.NAME]` take.
pub(crate) const LAYERS: [&str; 2] = ["timeout", "tracing"];

impl LayerConfigs {
    /// Reads `[layers]`.
    pub(super) fn read(tables: Table, environment: &Environment) -> Result<Self> {
        let mut configs = Self::default();
        for (name, node) in tables {
            let place = format!("layers.{name}");
            let section = Section::new(place.as_str(), as_table(&place, node)?, environment)?;
            match name.as_str() {
                "timeout" => configs.timeout = Some(read_timeout(section)?),
                "tracing" => configs.tracing = read_tracing(section)?,
                _ => {
                    return Err(Error::config(format!(
                        "{place}: unknown layer; valid: {}",
                        LAYERS.join(", ")
                    )));
                }
            }
        }
        Ok(configs)
    }

    /// Reads the option `layers`: names, the outermost layer first.
    pub(super) fn read_names(&self, section: &mut Section) -> Result<Option<Vec<SmallStr>>> {
        let Some(names) = section.list("layers")? else {
            return Ok(None);
        };
        let names: Vec<_> = names.into_iter().filter(|name| !name.is_empty()).collect();
        for (at, name) in names.iter().enumerate() {
            if !LAYERS.contains(&name.as_str()) {
                return Err(section.refuse(
                    "layers",
                    format_args!("unknown layer `{name}`; valid: {}", LAYERS.join(", ")),
                ));
            }
            if names.iter().skip(at + 1).any(|other| other == name) {
                return Err(section.refuse(
                    "layers",
                    format_args!("layer `{name}` is given twice: once is enough"),
                ));
            }
            if name == "timeout" && self.timeout.is_none() {
                return Err(section.refuse(
                    "layers",
                    "`timeout` has no limits: set `send`, `settle` or `handler` in [layers.timeout]",
                ));
            }
        }
        Ok(Some(names))
    }
}

fn read_timeout(mut section: Section) -> Result<TimeoutOptions> {
    let options = TimeoutOptions {
        send: section.duration("send")?,
        settle: section.duration("settle")?,
        handler: section.duration("handler")?,
    };
    section.finish()?;
    options
        .validate()
        .map_err(|error| error.context("layers.timeout"))?;
    Ok(options)
}

fn read_tracing(mut section: Section) -> Result<TracingOptions> {
    let defaults = TracingOptions::default();
    let sampled = section.boolean("sampled")?;
    section.finish()?;
    Ok(TracingOptions {
        sampled: sampled.unwrap_or(defaults.sampled),
    })
}
