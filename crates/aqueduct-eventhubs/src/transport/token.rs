use std::time::Duration;

use aqueduct_core::{Result, Runtime, Timestamp};
use fe2o3_amqp::session::SessionHandle;
use fe2o3_amqp::types::primitives::{SimpleValue, Value};

use super::requests::Requests;
use crate::auth::{SharedTokens, Token};
use crate::error;

/// How long a token without a known end is used before it is sent again.
const UNKNOWN: Duration = Duration::from_secs(20 * 60);

/// The wait before a token that was not accepted is sent again, while the last one is still valid.
const AGAIN: Duration = Duration::from_secs(10);

/// Opens a connection for a hub, and keeps it open by renewing its token.
pub(super) struct Authorization {
    _session: SessionHandle<()>,
    requests: Requests,
    tokens: SharedTokens,
    audience: String,
    runtime: Runtime,
}

impl Authorization {
    pub(super) fn new(
        session: SessionHandle<()>,
        requests: Requests,
        tokens: SharedTokens,
        audience: String,
        runtime: &Runtime,
    ) -> Self {
        Self {
            _session: session,
            requests,
            tokens,
            audience,
            runtime: runtime.clone(),
        }
    }

    /// Makes a token and sends it. Returns when the next one is due.
    pub(super) async fn put(&mut self) -> Result<Due> {
        let now = self.runtime.wall();
        let token = self.tokens.token(&self.audience, now).await?;
        let due = Due::of(&token, now);
        let text = |text: &str| SimpleValue::String(text.to_owned());
        let properties = [
            ("operation", text("put-token")),
            ("type", text(token.kind)),
            ("name", text(&self.audience)),
        ];
        let response = self
            .requests
            .call(&properties, Value::String(token.text))
            .await?;
        match response.code {
            200..=299 => Ok(due),
            code => Err(error::status(
                self.requests.what(),
                code,
                &response.description,
            )),
        }
    }

    /// Renews the token until that fails. The service closes the links of a connection whose token
    /// expired, and each is then opened on a connection with a new one.
    pub(super) async fn keep(mut self, mut due: Due, limit: Duration) {
        loop {
            self.runtime.sleep(due.renew_in).await;
            let runtime = self.runtime.clone();
            let put = runtime.timeout(limit, "$cbs", self.put()).await;
            due = match put.and_then(|put| put) {
                Ok(due) => due,
                Err(error) => {
                    let left = due.expires_in.saturating_sub(due.renew_in);
                    tracing::warn!(audience = self.audience, %error, ?left, "the token was not renewed");
                    if left <= AGAIN {
                        return;
                    }
                    Due {
                        renew_in: AGAIN,
                        expires_in: left,
                    }
                }
            };
        }
    }
}

/// When a token must be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    renew_in: Duration,
    expires_in: Duration,
}

impl Due {
    fn of(token: &Token, now: Timestamp) -> Self {
        let expires_in = token.expires.map_or(UNKNOWN, |at| at.since(now));
        Self {
            // Four fifths: time for several attempts.
            renew_in: expires_in * 4 / 5,
            expires_in,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_renewed_well_before_it_expires() {
        let now = Timestamp::from_millis(0);
        let token = |expires| Token {
            kind: crate::auth::SAS,
            text: String::new(),
            expires,
        };
        let hour = Due::of(&token(Some(Timestamp::from_millis(3_600_000))), now);
        assert_eq!(hour.renew_in, Duration::from_secs(2880));
        assert_eq!(Due::of(&token(None), now).expires_in, UNKNOWN);
        assert_eq!(Due::of(&token(Some(now)), now).renew_in, Duration::ZERO);
    }
}
