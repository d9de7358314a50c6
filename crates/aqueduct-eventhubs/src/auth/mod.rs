//! Tokens that open a hub.

#[cfg(feature = "entra")]
mod entra;
mod sas;

use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, Result, SmallStr, Timestamp};
use async_trait::async_trait;

#[cfg(feature = "entra")]
pub(crate) use self::entra::Entra;
pub(crate) use self::sas::SharedKey;

/// A token for the service's claims-based security.
pub(crate) struct Token {
    pub(crate) kind: &'static str,
    /// The token itself, a secret.
    pub(crate) text: String,
    /// When it stops being accepted; `None` if that is not known.
    pub(crate) expires: Option<Timestamp>,
}

/// The kind of a token that a shared access key signed.
pub(crate) const SAS: &str = "servicebus.windows.net:sastoken";

/// Makes tokens.
#[async_trait]
pub(crate) trait Tokens: Send + Sync {
    /// Returns a token that is valid now for `audience`, such as `sb://HOST/HUB`.
    async fn token(&self, audience: &str, now: Timestamp) -> Result<Token>;
}

/// A signature that was made elsewhere and cannot be renewed.
pub(crate) struct Presigned(pub(crate) SmallStr);

#[async_trait]
impl Tokens for Presigned {
    async fn token(&self, audience: &str, now: Timestamp) -> Result<Token> {
        let expires = self
            .0
            .split(['&', ' '])
            .find_map(|it| it.strip_prefix("se="));
        let expires = expires
            .and_then(|seconds| seconds.parse().ok())
            .and_then(|seconds| Timestamp::from_parts(seconds, 0).ok());
        match expires {
            Some(at) if at <= now => Err(Error::new(
                ErrorKind::Denied,
                format!(
                    "{audience}: the `SharedAccessSignature` of the connection string expired at {at}"
                ),
            )),
            expires => Ok(Token {
                kind: SAS,
                text: self.0.to_string(),
                expires,
            }),
        }
    }
}

/// The tokens of one hub, shared by its connections.
pub(crate) type SharedTokens = Arc<dyn Tokens>;

#[cfg(test)]
mod tests {
    use futures::executor::block_on;

    use super::*;

    #[test]
    fn an_expired_signature_is_refused_before_it_is_sent() {
        let signature = "SharedAccessSignature sr=sb%3a%2f%2fx&sig=secret&se=1700000000&skn=send";
        let presigned = Presigned(signature.into());
        let at = |seconds| Timestamp::from_parts(seconds, 0).unwrap();
        let token = block_on(presigned.token("sb://x/y", at(1_699_999_999))).unwrap();
        assert_eq!(token.expires, Some(at(1_700_000_000)));
        let error = block_on(presigned.token("sb://x/y", at(1_700_000_000)))
            .err()
            .unwrap();
        assert!(error.is(ErrorKind::Denied));
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
