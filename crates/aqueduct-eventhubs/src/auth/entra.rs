use std::fmt;
use std::sync::Arc;

use aqueduct_core::{Error, ErrorKind, Result, Timestamp};
use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_core::error::ErrorKind as AzureErrorKind;

use super::{Token, Tokens};

/// The kind of a bearer token.
const JWT: &str = "jwt";

/// The scope that a token must have.
const SCOPE: &str = "https://eventhubs.azure.net/.default";

/// Tokens of Microsoft Entra ID.
pub(crate) struct Entra(pub(crate) Arc<dyn TokenCredential>);

#[async_trait]
impl Tokens for Entra {
    async fn token(&self, audience: &str, _: Timestamp) -> Result<Token> {
        let token = self.0.get_token(&[SCOPE], None).await;
        let token = token.map_err(|failed| {
            let kind = match failed.kind() {
                AzureErrorKind::Io => ErrorKind::Unavailable,
                AzureErrorKind::HttpResponse { status, .. } if u16::from(*status) == 429 => {
                    ErrorKind::Throttled
                }
                AzureErrorKind::HttpResponse { status, .. } if u16::from(*status) >= 500 => {
                    ErrorKind::Unavailable
                }
                _ => ErrorKind::Denied,
            };
            let message = format!("{audience}: the credential gave no token for {SCOPE}");
            Error::new(kind, message).with_source(failed)
        })?;
        let seconds = token.expires_on.unix_timestamp();
        Ok(Token {
            kind: JWT,
            text: token.token.secret().to_owned(),
            expires: Timestamp::from_parts(seconds, 0).ok(),
        })
    }
}

impl fmt::Debug for Entra {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Entra")
    }
}
