mod address;
mod connection_string;
mod endpoint;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use aqueduct_core::{Error, Options, Result, SmallStr, StreamName, Url};

use self::address::{Address, INVALID_HUB, is_hub};
pub(crate) use self::connection_string::{ConnectionString, SharedAccess};
pub(crate) use self::endpoint::{Endpoint, Transport};

/// The environment variable with the connection string of a hub that configures none.
pub(crate) const VARIABLE: &str = "EVENTHUBS_CONNECTION_STRING";

/// The parsed URL and options of a hub.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    /// The key of the configuration, for errors after parsing.
    pub(crate) place: SmallStr,
    pub(crate) hub: StreamName,
    /// The host of the namespace, if the configuration says it.
    pub(crate) namespace: Option<SmallStr>,
    pub(crate) connection_string: Option<ConnectionString>,
    /// Where to connect instead of the namespace's own host.
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) transport: Transport,
    /// The certificates to trust instead of the system's.
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) consumer_group: Option<SmallStr>,
    pub(crate) encoding: Encoding,
    pub(crate) partitioner: Partitioner,
    /// How many links carry events whose partition the service chooses. Default 4.
    pub(crate) links: usize,
    pub(crate) timing: Timing,
    /// The most events that the service may send ahead of a reader. Default 1,000.
    pub(crate) prefetch: u32,
}

/// Time limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    /// The limit of one attempt: to connect, to send a batch, to read properties. Default 20 s, below the
    /// producer engine's limit of a request, so that this one says what was waited for.
    pub(crate) request: Duration,
    /// How long a connection may be silent before it is given up. Default 15 s: the peer is asked for
    /// a sign of life every half of it.
    pub(crate) idle: Duration,
}

/// How an event becomes a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The AMQP binding of CloudEvents, in binary mode.
    CloudEvents,
    /// The data alone; every attribute but the key and the content type is lost.
    Raw,
}

/// Who chooses the partition of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Partitioner {
    /// This client, so that events of many keys share a batch.
    Client,
    /// The service, by the partition key of a batch: a batch per key.
    Service,
}

impl Config {
    pub(crate) fn parse(name: &str, url: &Url, mut options: Options) -> Result<Self> {
        options.join_query(url);
        let address = Address::parse(url, &options)?;
        let connection_string = match options.text("connection_string")? {
            Some(text) => Some(parse_connection_string(&text, options.place())?),
            None => None,
        };
        let hub = pick_hub(name, address.hub, connection_string.as_ref(), &options)?;
        let endpoint = match options.text("endpoint")? {
            Some(text) => match Endpoint::parse(&text) {
                Some(endpoint) => Some(endpoint),
                None => {
                    return Err(options.refuse(
                        "endpoint",
                        "expected amqps://HOST:PORT, or amqp://HOST:PORT without encryption",
                    ));
                }
            },
            None => None,
        };
        let timing = Timing::read(&mut options)?;
        let consumer_group = options.text("consumer_group")?;
        if consumer_group.as_ref().is_some_and(|it| !is_group(it)) {
            return Err(options.refuse(
                "consumer_group",
                "expected $Default, or 1 to 50 letters, digits, `.`, `-` or `_`",
            ));
        }
        let encoding = options.choice("encoding", &["cloudevents", "raw"])?;
        let partitioner = options.choice("partitioner", &["client", "service"])?;
        let transport = options.choice("transport", &["amqp", "websocket"])?;
        let config = Self {
            place: options.place().into(),
            hub: StreamName::new(hub),
            namespace: address.namespace,
            connection_string,
            endpoint,
            transport: match transport {
                Some("websocket") => Transport::WebSocket,
                _ => Transport::Amqp,
            },
            ca_file: options
                .text("ca_file")?
                .map(|it| PathBuf::from(it.as_str())),
            consumer_group,
            encoding: match encoding {
                Some("raw") => Encoding::Raw,
                _ => Encoding::CloudEvents,
            },
            partitioner: match partitioner {
                Some("service") => Partitioner::Service,
                _ => Partitioner::Client,
            },
            links: options.number("links", 1..=64)?.unwrap_or(4),
            timing,
            prefetch: options.number("prefetch", 1..=10_000)?.unwrap_or(1_000),
        };
        config.check_namespace(config.connection_string.as_ref())?;
        options.finish()?;
        Ok(config)
    }

    /// Checks that the URL and a connection string name the same namespace.
    pub(crate) fn check_namespace(&self, found: Option<&ConnectionString>) -> Result<()> {
        match (&self.namespace, found) {
            (Some(named), Some(found)) if !named.eq_ignore_ascii_case(&found.host) => {
                Err(Error::config(format!(
                    "{}.connection_string: its `Endpoint` is {}, and the URL names {named} (leave the \
                     namespace out of the URL, as in eventhubs:{}, or use the connection string of \
                     that namespace)",
                    self.place, found.host, self.hub
                )))
            }
            _ => Ok(()),
        }
    }

    /// Returns the consumer group that a group reads by. A reader without a lease (generation 0)
    /// belongs to no group, and its name is not one that the service knows.
    pub(crate) fn consumer_group<'a>(&'a self, group: &'a str, generation: u64) -> &'a str {
        match &self.consumer_group {
            Some(configured) => configured,
            None if generation > 0 => group,
            None => "$Default",
        }
    }
}

impl Timing {
    fn read(options: &mut Options) -> Result<Self> {
        let timing = Self {
            request: options
                .duration("timeout")?
                .unwrap_or(Duration::from_secs(20)),
            idle: options
                .duration("idle_timeout")?
                .unwrap_or(Duration::from_secs(15)),
        };
        for (name, value, least, most) in [
            ("timeout", timing.request, 1, 600),
            ("idle_timeout", timing.idle, 1, 240),
        ] {
            if !(Duration::from_secs(least)..=Duration::from_secs(most)).contains(&value) {
                return Err(options.refuse(name, format_args!("from {least}s to {most}s")));
            }
        }
        Ok(timing)
    }
}

/// Parses the connection string that `place.connection_string` or the environment holds.
pub(crate) fn parse_connection_string(text: &str, place: &str) -> Result<ConnectionString> {
    ConnectionString::parse(text)
        .map_err(|why| Error::config(format!("{place}.connection_string: {why}")))
}

fn pick_hub(
    name: &str,
    in_url: Option<SmallStr>,
    connection_string: Option<&ConnectionString>,
    options: &Options,
) -> Result<SmallStr> {
    match (in_url, connection_string.and_then(|it| it.hub.clone())) {
        (Some(ours), Some(theirs)) if ours != theirs => Err(Error::config(format!(
            "{}.connection_string: its `EntityPath` is {theirs}, and the URL names the hub {ours}",
            options.place()
        ))),
        (Some(hub), _) | (None, Some(hub)) => Ok(hub),
        (None, None) if is_hub(name) => Ok(name.into()),
        (None, None) => Err(options.refuse_url(format_args!(
            "the hub is missing, and the stream's own name cannot be one: {INVALID_HUB}"
        ))),
    }
}

/// Returns whether the service accepts the name of a consumer group.
fn is_group(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    name == "$Default" || ((1..=50).contains(&name.len()) && name.bytes().all(allowed))
}
