use std::fmt;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures::lock::Mutex;

use crate::AwsOptions;
use crate::clients::Chain;
use crate::connector::Refused;

/// The time before expiry at which credentials are renewed, as in the SDK.
const AHEAD: Duration = Duration::from_secs(10);

/// Caches credentials until they expire or a service refuses them; then the chain is
/// created anew, so that files are read again. The SDK's own chain reads them once.
pub(crate) struct Renewing {
    chain: Chain,
    options: AwsOptions,
    http: SharedHttpClient,
    refused: Refused,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    provider: Option<SharedCredentialsProvider>,
    credentials: Option<Credentials>,
}

impl Renewing {
    pub(crate) fn new(
        chain: Chain,
        options: AwsOptions,
        http: SharedHttpClient,
        refused: Refused,
    ) -> Self {
        Self {
            chain,
            options,
            http,
            refused,
            kept: Mutex::default(),
        }
    }

    async fn provide(&self) -> Result<Credentials, CredentialsError> {
        let mut kept = self.kept.lock().await;
        if self.refused.swap(false, Ordering::AcqRel) {
            *kept = Kept::default();
        }
        let now = SystemTime::now();
        if let Some(credentials) = &kept.credentials
            && lives_until(credentials, now + AHEAD)
        {
            return Ok(credentials.clone());
        }
        match self.renew(&mut kept).await {
            Ok(renewed) => {
                kept.credentials = Some(renewed.clone());
                Ok(renewed)
            }
            // The current credentials are valid until then.
            Err(failed) => match &kept.credentials {
                Some(credentials) if lives_until(credentials, now) => Ok(credentials.clone()),
                _ => Err(failed),
            },
        }
    }

    async fn renew(&self, kept: &mut Kept) -> Result<Credentials, CredentialsError> {
        let provider = match &kept.provider {
            Some(provider) => provider.clone(),
            None => {
                let made = self.chain.credentials(&self.options, &self.http).await;
                let made = made.ok_or_else(|| CredentialsError::not_loaded("there is no chain"))?;
                kept.provider.insert(made).clone()
            }
        };
        provider.provide_credentials().await
    }
}

fn lives_until(credentials: &Credentials, time: SystemTime) -> bool {
    credentials.expiry().is_none_or(|expiry| expiry > time)
}

impl ProvideCredentials for Renewing {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

impl fmt::Debug for Renewing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewing").finish_non_exhaustive()
    }
}
