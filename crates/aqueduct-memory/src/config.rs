use std::time::Duration;

use aqueduct_core::{Error, Options, Result, StreamName, Url};

/// The parsed URL and options. All but `create` and `idempotency_retention` apply when the stream
/// is created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    pub(crate) stream: StreamName,
    pub(crate) create: bool,
    pub(crate) settings: Settings,
    pub(crate) idempotency_retention: Option<Duration>,
}

/// The settings of a new stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) partitions: u32,
    pub(crate) retention: Option<Duration>,
    pub(crate) max_events: usize,
    pub(crate) max_event_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            partitions: 4,
            retention: None,
            max_events: 250_000,
            max_event_bytes: 1 << 20,
        }
    }
}

pub(crate) const MAX_PARTITIONS: u32 = 1024;

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let stream = stream_name(name, url, &options)?;
        let defaults = Settings::default();
        let create = options.choice("create", &["missing", "never"])?;
        let partitions = options.number("partitions", 1..=MAX_PARTITIONS)?;
        let retention = options.positive_duration("retention")?;
        let max_events = options.number("max_events", 1..=usize::MAX)?;
        let max_event_bytes = options.bytes("max_event_bytes")?;
        let idempotency_retention = options.positive_duration("idempotency_retention")?;
        if max_event_bytes == Some(0) {
            return Err(options.refuse("max_event_bytes", "expected a size above 0"));
        }
        if create == Some("never") {
            let makes = ["partitions", "retention", "max_events", "max_event_bytes"];
            if let Some(useless) = makes.into_iter().find(|name| options.contains(name)) {
                let why = "it applies to a new stream, and create = \"never\" creates none: remove one of the two";
                return Err(options.refuse(useless, why));
            }
        }
        if let (Some(records), Some(events)) = (idempotency_retention, retention)
            && records < events
        {
            let why = "an event may come again as long as it is kept, so this must not be below retention";
            return Err(options.refuse("idempotency_retention", why));
        }
        options.finish()?;
        Ok(Self {
            stream,
            create: create != Some("never"),
            settings: Settings {
                partitions: partitions.unwrap_or(defaults.partitions),
                retention,
                max_events: max_events.unwrap_or(defaults.max_events),
                max_event_bytes: max_event_bytes.map_or(defaults.max_event_bytes, |bytes| {
                    usize::try_from(bytes).unwrap_or(usize::MAX)
                }),
            },
            idempotency_retention,
        })
    }
}

/// Parses the stream's name from `memory:`, `memory:orders` or `memory://orders`.
fn stream_name(name: &str, url: &Url, options: &Options) -> Result<StreamName> {
    let place = options.place();
    let path = url.path().trim_matches('/');
    let host = url.host_str().unwrap_or("");
    let more = !url.username().is_empty()
        || url.password().is_some()
        || url.port().is_some()
        || url.fragment().is_some();
    let named = match (host, path) {
        _ if more => None,
        ("", "") => Some(name),
        ("", one) | (one, "") => Some(one),
        _ => None,
    };
    match named {
        Some(one) if !one.is_empty() && !one.contains(['/', '%']) => Ok(StreamName::from(one)),
        _ => Err(Error::config(format!(
            "{place}.url: expected `memory:` or `memory:STREAM`, the name without `/`, `%`, user, port or fragment"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, pairs: &[(&'static str, &'static str)]) -> Result<Config> {
        let options = pairs
            .iter()
            .fold(Options::new("streams.orders"), |options, (name, value)| {
                options.with(*name, *value)
            });
        Config::parse("orders", &Url::parse(url).unwrap(), options)
    }

    #[test]
    fn the_name_is_the_tables_unless_the_url_names_another() {
        for (url, name) in [
            ("memory:", "orders"),
            ("memory:shop", "shop"),
            ("memory://shop", "shop"),
            ("memory:/shop", "shop"),
        ] {
            assert_eq!(parse(url, &[]).unwrap().stream.as_str(), name, "{url}");
        }
    }

    #[test]
    fn the_query_is_part_of_the_options() {
        assert!(!parse("memory:?create=never", &[]).unwrap().create);
        let refused = parse("memory:?colour=red", &[]).unwrap_err();
        assert!(refused.to_string().contains("colour"), "{refused}");
    }

    #[test]
    fn wrong_options_are_named_with_the_valid_choices() {
        for (url, pairs, said) in [
            (
                "memory:",
                &[("partitions", "0")][..],
                "partitions = \"0\": expected a whole number from 1 to 1024",
            ),
            (
                "memory:",
                &[("partitions", "many")],
                "partitions = \"many\": expected a whole number",
            ),
            (
                "memory:",
                &[("retention", "0s")],
                "retention = \"0s\": expected a duration above 0",
            ),
            (
                "memory:",
                &[("max_events", "0")],
                "max_events = \"0\": expected a whole number from 1",
            ),
            (
                "memory:",
                &[("max_event_bytes", "0")],
                "max_event_bytes = \"0\": expected a size above 0",
            ),
            (
                "memory:",
                &[("create", "always")],
                "create = \"always\": expected one of missing, never",
            ),
            (
                "memory:",
                &[("create", "never"), ("partitions", "2")],
                "partitions = \"2\": it applies to a new stream",
            ),
            (
                "memory:",
                &[("retention", "2h"), ("idempotency_retention", "1h")],
                "must not be below retention",
            ),
            (
                "memory:",
                &[("colour", "red")],
                "colour: no such option; valid: create, idempotency_retention, max_event_bytes, max_events, partitions, retention",
            ),
            (
                "memory://user:hunter2@shop",
                &[],
                "expected `memory:` or `memory:STREAM`",
            ),
            (
                "memory://shop/orders",
                &[],
                "expected `memory:` or `memory:STREAM`",
            ),
        ] {
            let error = parse(url, pairs).unwrap_err();
            assert!(error.is(aqueduct_core::ErrorKind::Config));
            let text = error.to_string();
            assert!(
                text.starts_with("streams.orders.") && text.contains(said),
                "{text}"
            );
            assert!(!text.contains("hunter2"), "{text}");
        }
    }
}
