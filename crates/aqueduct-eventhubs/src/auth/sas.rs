use std::time::Duration;

use aqueduct_core::{Result, SmallStr, Timestamp};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ring::hmac;

use super::{SAS, Token, Tokens};

/// How long a token is valid. An hour outlives any pause of a machine, and bounds what a leaked token is
/// worth.
const VALID: Duration = Duration::from_secs(3600);

/// The characters that stay as they are in a form: the service decodes a token like one.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// A named key that signs tokens.
pub(crate) struct SharedKey {
    pub(crate) name: SmallStr,
    pub(crate) key: SmallStr,
}

impl SharedKey {
    fn sign(&self, audience: &str, expires: i64) -> String {
        let resource = utf8_percent_encode(audience, ENCODED).to_string();
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.key.as_bytes());
        let signed = hmac::sign(&key, format!("{resource}\n{expires}").as_bytes());
        let signature = STANDARD.encode(signed);
        let signature = utf8_percent_encode(&signature, ENCODED);
        let name = utf8_percent_encode(&self.name, ENCODED);
        format!("SharedAccessSignature sr={resource}&sig={signature}&se={expires}&skn={name}")
    }
}

#[async_trait]
impl Tokens for SharedKey {
    async fn token(&self, audience: &str, now: Timestamp) -> Result<Token> {
        let expires = now.saturating_add(VALID);
        Ok(Token {
            kind: SAS,
            text: self.sign(audience, expires.as_seconds()),
            expires: Some(expires),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_as_the_service_expects() {
        // Computed with Python's hmac, hashlib and urllib.
        let key = SharedKey {
            name: "RootManageSharedAccessKey".into(),
            key: "SAS_KEY_VALUE".into(),
        };
        assert_eq!(
            key.sign("sb://localhost/hub", 1_700_000_000),
            "SharedAccessSignature sr=sb%3A%2F%2Flocalhost%2Fhub&sig=ChipCjHp9obVQuFPL8dLc1uHnFkDJxHZD3nhKW4AEh4%3D\
             &se=1700000000&skn=RootManageSharedAccessKey"
        );
    }
}
