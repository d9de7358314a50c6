use aqueduct_core::SmallStr;

/// How AMQP is carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// On a TCP connection of its own, ports 5671 and 5672.
    Amqp,
    /// In the binary messages of a WebSocket, ports 443 and 80: where a firewall lets only those out.
    WebSocket,
}

/// Where to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: SmallStr,
    /// `None` is the port that the transport has by default.
    port: Option<u16>,
    /// Whether the connection is encrypted.
    pub(crate) tls: bool,
}

impl Endpoint {
    pub(crate) fn tls(host: SmallStr, port: Option<u16>) -> Self {
        Self {
            host,
            port,
            tls: true,
        }
    }

    pub(crate) fn plain(host: SmallStr, port: Option<u16>) -> Self {
        Self {
            host,
            port,
            tls: false,
        }
    }

    /// Returns the port to connect to.
    pub(crate) fn port(&self, transport: Transport) -> u16 {
        self.port.unwrap_or(match (transport, self.tls) {
            (Transport::Amqp, true) => 5671,
            (Transport::Amqp, false) => 5672,
            (Transport::WebSocket, true) => 443,
            (Transport::WebSocket, false) => 80,
        })
    }

    /// Parses `amqp://HOST[:PORT]` or `amqps://HOST[:PORT]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (host, port) = split_port(rest.trim_end_matches('/'))?;
        match scheme {
            "amqp" => Some(Self::plain(host.into(), port)),
            "amqps" => Some(Self::tls(host.into(), port)),
            _ => None,
        }
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
