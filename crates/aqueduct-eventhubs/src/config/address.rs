use aqueduct_core::{Options, Result, SmallStr, Url, percent_decode};

use super::endpoint::Endpoint;

/// The event hub that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    /// The host of the namespace; `None` if the connection string names it.
    pub(super) namespace: Option<SmallStr>,
    /// The hub; `None` if the connection string or the stream's own name says it.
    pub(super) hub: Option<SmallStr>,
}

impl Address {
    /// Parses `eventhubs://NAMESPACE/HUB`, `eventhubs:HUB` or `eventhubs:`.
    pub(super) fn parse(url: &Url, options: &Options) -> Result<Self> {
        let refuse = |why: &str| Err(options.refuse_url(why));
        if !url.username().is_empty() || url.password().is_some() {
            return refuse(
                "the key belongs into `connection_string` (expected eventhubs://NAMESPACE/HUB)",
            );
        }
        if url.port().is_some() {
            return refuse("a port belongs into `endpoint` (expected eventhubs://NAMESPACE/HUB)");
        }
        if url.fragment().is_some() {
            return refuse("it has a fragment (`#`), which has no meaning here");
        }
        let mut parts = url.path().trim_matches('/').split('/');
        let hub = parts.next().unwrap_or_default();
        if parts.next().is_some() {
            return refuse("too many parts (expected eventhubs://NAMESPACE/HUB)");
        }
        let Some(hub) = percent_decode(hub) else {
            return refuse("`%` must be followed by two hexadecimal digits");
        };
        if !hub.is_empty() && !is_hub(&hub) {
            return refuse(INVALID_HUB);
        }
        let namespace = match url.host_str() {
            None | Some("") => None,
            Some(host) if is_host(host) => Some(Endpoint::host_of(host)),
            Some(_) => {
                return refuse(
                    "invalid namespace (expected its name, or a host such as \
                     orders.servicebus.windows.net)",
                );
            }
        };
        Ok(Self {
            namespace,
            hub: (!hub.is_empty()).then(|| hub.into()),
        })
    }
}

pub(super) const INVALID_HUB: &str = "invalid event hub name (expected 1 to 256 letters, digits, `.`, `-` or `_`, beginning with a letter or digit)";

/// Returns whether the service accepts the name of an event hub.
pub(super) fn is_hub(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=256).contains(&name.len())
        && name.bytes().all(allowed)
        && name.as_bytes()[0].is_ascii_alphanumeric()
}

fn is_host(host: &str) -> bool {
    host.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte))
}
