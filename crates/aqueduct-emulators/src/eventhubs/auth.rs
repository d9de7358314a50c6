use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;

use super::error::AmqpError;
use super::node;
use super::options::Security;

/// The tokens that a connection has put.
#[derive(Debug, Default)]
pub(super) struct Authorization {
    /// The path of each audience, and when its token expires.
    audiences: BTreeMap<String, SystemTime>,
    /// SASL PLAIN has proven a key.
    plain: bool,
}

impl Security {
    pub(super) fn is_open(&self) -> bool {
        self.keys.is_empty() && self.tokens.is_empty()
    }

    /// Checks a token; returns when it expires.
    ///
    /// # Errors
    /// The reason for status 401.
    pub(super) fn check(&self, token: &str, audience: &str) -> Result<SystemTime, String> {
        let never = SystemTime::now() + Duration::from_secs(365 * 86_400);
        if self.is_open() {
            return Ok(never);
        }
        let Some(signature) = token.strip_prefix("SharedAccessSignature ") else {
            let known = self.tokens.iter().any(|it| it == token);
            return known.then_some(never).ok_or_else(|| {
                "InvalidToken: the bearer token is not one of the configured tokens.".to_owned()
            });
        };
        let fields: BTreeMap<_, _> = url::form_urlencoded::parse(signature.as_bytes()).collect();
        let field = |name: &str| {
            let found = fields.get(name).map(|it| it.as_ref());
            found.ok_or_else(|| format!("MalformedToken: the token has no field '{name}'."))
        };
        let (name, resource) = (field("skn")?, field("sr")?);
        let (expiry, claimed) = (field("se")?, field("sig")?);
        let key = self.keys.iter().find(|(known, _)| known == name);
        let key = key.ok_or_else(|| format!("InvalidSignature: there is no key '{name}'."))?;
        let claimed = STANDARD.decode(claimed);
        let claimed = claimed.map_err(|_| "MalformedToken: 'sig' is not Base64.".to_owned())?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, key.1.as_bytes());
        if !signed_resources(signature, resource).any(|signed| {
            let signed = format!("{signed}\n{expiry}");
            hmac::verify(&key, signed.as_bytes(), &claimed).is_ok()
        }) {
            return Err("InvalidSignature: The token has an invalid signature.".to_owned());
        }
        let seconds = expiry.parse().ok().map(Duration::from_secs);
        let expiry = seconds.and_then(|since| UNIX_EPOCH.checked_add(since));
        let expiry = expiry.ok_or("MalformedToken: 'se' is not a time in seconds.")?;
        if expiry <= SystemTime::now() {
            return Err("ExpiredToken: The token is expired.".to_owned());
        }
        if !covers(node::path(resource), node::path(audience)) {
            return Err(format!(
                "InvalidAudience: the token is for '{resource}', not for '{audience}'."
            ));
        }
        Ok(expiry)
    }

    pub(super) fn check_plain(&self, user: &str, password: &str) -> bool {
        self.is_open()
            || self
                .keys
                .iter()
                .any(|(name, key)| name == user && key == password)
    }
}

/// Returns what can be signed: the resource as it stands in the token, percent-encoded.
fn signed_resources<'a>(
    signature: &'a str,
    decoded: &'a str,
) -> impl Iterator<Item = &'a str> + use<'a> {
    let mut fields = signature.split('&');
    let raw = fields.find_map(|field| field.strip_prefix("sr="));
    raw.into_iter().chain([decoded])
}

impl Authorization {
    pub(super) fn grant(&mut self, audience: &str, expiry: SystemTime) {
        let path = node::path(audience).to_owned();
        self.audiences.insert(path, expiry);
    }

    pub(super) fn grant_all(&mut self) {
        self.plain = true;
    }

    /// # Errors
    /// The error for a link to `address`, if no token covers it.
    pub(super) fn check(&self, security: &Security, address: &str) -> Result<(), AmqpError> {
        if security.is_open() || self.plain {
            return Ok(());
        }
        let now = SystemTime::now();
        let path = node::path(address);
        let granted = self.audiences.iter();
        let mut granted = granted.filter(|(audience, _)| covers(audience, path));
        if granted.any(|(_, expiry)| *expiry > now) {
            return Ok(());
        }
        Err(AmqpError::unauthorized())
    }

    /// Returns when the next token expires.
    pub(super) fn next_expiry(&self) -> Option<SystemTime> {
        let now = SystemTime::now();
        self.audiences
            .values()
            .copied()
            .filter(|it| *it > now)
            .min()
    }
}

/// Returns true if a token for `audience` covers `path`: whole segments, without case.
fn covers(audience: &str, path: &str) -> bool {
    let (audience, path) = (audience.to_ascii_lowercase(), path.to_ascii_lowercase());
    match path.strip_prefix(&audience) {
        Some(rest) => audience.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_covers_what_lies_below_its_audience() {
        assert!(covers("", "orders"));
        assert!(covers("Orders", "orders/Partitions/1"));
        assert!(!covers("orders", "orders-2"));
        assert!(!covers("orders/Partitions/1", "orders"));
    }
}
