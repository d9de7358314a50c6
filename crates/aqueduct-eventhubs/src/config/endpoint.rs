use aqueduct_core::SmallStr;

/// The port of AMQP over TLS.
const TLS_PORT: u16 = 5671;

/// The port of plain AMQP.
const PLAIN_PORT: u16 = 5672;

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: SmallStr,
    pub(crate) port: u16,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
}

impl Endpoint {
    pub(crate) fn tls(host: SmallStr) -> Self {
        Self {
            host,
            port: TLS_PORT,
            tls: true,
        }
    }

    pub(crate) fn plain(host: SmallStr, port: Option<u16>) -> Self {
        Self {
            host,
            port: port.unwrap_or(PLAIN_PORT),
            tls: false,
        }
    }

    /// Parses `amqp://HOST[:PORT]` or `amqps://HOST[:PORT]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let tls = match scheme {
            "amqp" => false,
            "amqps" => true,
            _ => return None,
        };
        let (host, port) = split_port(rest.trim_end_matches('/'))?;
        let standard = if tls { TLS_PORT } else { PLAIN_PORT };
        Some(Self {
            host: host.into(),
            port: port.unwrap_or(standard),
            tls,
        })
    }

    /// Returns the host of a namespace: its own name, or a whole host.
    pub(super) fn host_of(namespace: &str) -> SmallStr {
        match namespace.contains('.') || namespace == "localhost" {
            true => namespace.into(),
            false => format!("{namespace}.servicebus.windows.net").into(),
        }
    }
}

/// Splits `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
pub(super) fn split_port(text: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']);
    match (is_host, port) {
        (false, _) => None,
        (true, None) => Some((host, None)),
        (true, Some(port)) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}
