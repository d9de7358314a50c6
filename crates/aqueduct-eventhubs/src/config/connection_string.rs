use std::fmt;

use aqueduct_core::SmallStr;

use super::address::{INVALID_HUB, is_hub};
use super::endpoint::split_port;

/// A connection string of Event Hubs. `Debug` shows no key and no signature.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ConnectionString {
    /// The host of the namespace.
    pub(crate) host: SmallStr,
    /// The port, which only the development emulator has.
    pub(crate) port: Option<u16>,
    pub(crate) access: SharedAccess,
    /// The hub (`EntityPath`).
    pub(crate) hub: Option<SmallStr>,
    /// Whether it names the development emulator, which speaks plain AMQP.
    pub(crate) emulator: bool,
}

/// The right to use a namespace or a hub.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum SharedAccess {
    /// A named key, which signs tokens.
    Key { name: SmallStr, key: SmallStr },
    /// A token that was signed elsewhere.
    Signature(SmallStr),
}

/// The parts that a connection string may have.
const PARTS: [&str; 6] = [
    "Endpoint",
    "SharedAccessKeyName",
    "SharedAccessKey",
    "SharedAccessSignature",
    "EntityPath",
    "UseDevelopmentEmulator",
];

impl ConnectionString {
    /// Parses a connection string.
    ///
    /// # Errors
    /// The reason, naming the part. It shows no value of a part: any may be a misplaced secret.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut values: [Option<&str>; PARTS.len()] = [None; PARTS.len()];
        let parts = text.split(';').map(str::trim);
        for (at, part) in parts.enumerate().filter(|(_, part)| !part.is_empty()) {
            let Some((name, value)) = part.split_once('=') else {
                return Err(format!("part {} has no `=`", at + 1));
            };
            let known = PARTS.iter().position(|it| it.eq_ignore_ascii_case(name));
            let Some(known) = known else {
                let valid = PARTS.join(", ");
                return Err(format!(
                    "part {} has an unknown name; valid: {valid}",
                    at + 1
                ));
            };
            if values[known].replace(value.trim()).is_some() {
                return Err(format!("`{}` is given twice", PARTS[known]));
            }
        }
        let [endpoint, name, key, signature, hub, emulator] = values;
        let (host, port) = parse_endpoint(endpoint.ok_or("`Endpoint` is missing")?)?;
        let emulator = match emulator.map(str::to_ascii_lowercase).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => return Err("`UseDevelopmentEmulator` is neither true nor false".into()),
        };
        if hub.is_some_and(|hub| !is_hub(hub)) {
            return Err(format!("`EntityPath`: {INVALID_HUB}"));
        }
        Ok(Self {
            host: host.into(),
            port,
            access: SharedAccess::parse(name, key, signature)?,
            hub: hub.map(SmallStr::from),
            emulator,
        })
    }
}

fn parse_endpoint(text: &str) -> Result<(&str, Option<u16>), String> {
    let invalid = "`Endpoint` is invalid (expected sb://NAMESPACE.servicebus.windows.net/)";
    let (scheme, rest) = text.split_once("://").ok_or(invalid)?;
    if !["sb", "amqp", "amqps"].contains(&scheme) {
        return Err(invalid.into());
    }
    split_port(rest.trim_end_matches('/')).ok_or_else(|| invalid.to_owned())
}

impl SharedAccess {
    fn parse(
        name: Option<&str>,
        key: Option<&str>,
        signature: Option<&str>,
    ) -> Result<Self, String> {
        match (name, key, signature) {
            (Some(name), Some(key), None) if !name.is_empty() && !key.is_empty() => Ok(Self::Key {
                name: name.into(),
                key: key.into(),
            }),
            (None, None, Some(signature)) if signature.starts_with("SharedAccessSignature ") => {
                Ok(Self::Signature(signature.into()))
            }
            (None, None, Some(_)) => Err(
                "`SharedAccessSignature` is invalid (expected it to begin with `SharedAccessSignature sr=`)"
                    .into(),
            ),
            (Some(_), None, None) => Err("`SharedAccessKey` is missing".into()),
            (None, Some(_), None) => Err("`SharedAccessKeyName` is missing".into()),
            (Some(name), Some(_), None) => Err(format!(
                "`{}` is empty",
                if name.is_empty() { "SharedAccessKeyName" } else { "SharedAccessKey" }
            )),
            (None, None, None) => Err(
                "`SharedAccessKeyName` and `SharedAccessKey`, or `SharedAccessSignature`, are missing"
                    .into(),
            ),
            (_, _, Some(_)) => {
                Err("it has both a key and a `SharedAccessSignature` (expected one)".into())
            }
        }
    }
}

impl fmt::Debug for ConnectionString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionString")
            .field("host", &self.host)
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for SharedAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedAccess")
    }
}
