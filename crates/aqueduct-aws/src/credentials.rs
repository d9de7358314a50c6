use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex as SyncMutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_smithy_async::time::TimeSource as _;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use futures::lock::Mutex;

use crate::AwsOptions;
use crate::clients::Chain;
use crate::clock::ServiceClock;
use crate::connector::Refused;

/// The most time before expiry at which credentials are renewed beside the requests; it is less for
/// credentials that live for less than four times as long.
const AHEAD: Duration = Duration::from_secs(5 * 60);

/// The time before expiry at which a request waits for new credentials: as long as it may take.
const AT_LAST: Duration = Duration::from_secs(10);

/// The time between two renewals beside the requests, if the first failed.
const AGAIN: Duration = Duration::from_secs(10);

/// Caches credentials and renews them well before they expire, beside the requests. After a service refused
/// them the chain is created anew, so that files are read again. The SDK's own chain reads them once.
#[derive(Clone)]
pub(crate) struct Renewing(Arc<Inner>);

struct Inner {
    chain: Chain,
    options: AwsOptions,
    http: SharedHttpClient,
    refused: Refused,
    clock: ServiceClock,
    kept: SyncMutex<Kept>,
    /// Held while new credentials are fetched.
    provider: Mutex<Option<SharedCredentialsProvider>>,
}

#[derive(Default)]
struct Kept {
    credentials: Option<Credentials>,
    /// When they are due to be renewed beside the requests; `None` if they do not expire.
    due: Option<SystemTime>,
    /// Whether the provider read files that have changed since, perhaps.
    outdated: bool,
}

impl Renewing {
    pub(crate) fn new(
        chain: Chain,
        options: AwsOptions,
        http: SharedHttpClient,
        refused: Refused,
        clock: ServiceClock,
    ) -> Self {
        Self(Arc::new(Inner {
            chain,
            options,
            http,
            refused,
            clock,
            kept: SyncMutex::default(),
            provider: Mutex::default(),
        }))
    }

    async fn provide(&self) -> Result<Credentials, CredentialsError> {
        let now = self.0.clock.now();
        let usable = {
            let mut kept = self.0.kept();
            if self.0.refused.swap(false, Ordering::AcqRel) {
                *kept = Kept {
                    outdated: true,
                    ..Kept::default()
                };
            }
            let usable = kept.usable(now + AT_LAST);
            if usable.is_some() && kept.due.is_some_and(|due| due <= now) {
                // One request begins it; the others go on meanwhile.
                kept.due = Some(now + AGAIN);
                self.renew_beside();
            }
            usable
        };
        match usable {
            Some(credentials) => Ok(credentials),
            None => self.0.renew(now + AT_LAST).await,
        }
    }

    fn renew_beside(&self) {
        let inner = self.0.clone();
        // Without a runtime of Tokio, requests wait for it when it is time.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let begun = inner.clock.now();
                if let Err(error) = inner.fetch(|kept| kept.due > Some(begun + AGAIN)).await {
                    tracing::warn!(%error, "AWS credentials could not be renewed; the current ones still live");
                }
            });
        }
    }
}

impl Inner {
    /// Waits for credentials that live until then.
    async fn renew(&self, until: SystemTime) -> Result<Credentials, CredentialsError> {
        match self.fetch(|kept| kept.usable(until).is_some()).await {
            Ok(renewed) => Ok(renewed),
            // The current credentials are valid until their end.
            Err(failed) => self.kept().usable(self.clock.now()).ok_or(failed),
        }
    }

    /// Fetches credentials, unless they are `done` when others have finished fetching.
    async fn fetch(&self, done: impl Fn(&Kept) -> bool) -> Result<Credentials, CredentialsError> {
        let mut provider = self.provider.lock().await;
        let outdated = {
            let mut kept = self.kept();
            if let Some(credentials) = kept.credentials.clone().filter(|_| done(&kept)) {
                return Ok(credentials);
            }
            std::mem::take(&mut kept.outdated)
        };
        let found = match provider.take().filter(|_| !outdated) {
            Some(found) => found,
            None => {
                let made = self
                    .chain
                    .credentials(&self.options, &self.http, &self.clock);
                let made = made.await;
                made.ok_or_else(|| {
                    CredentialsError::not_loaded("no chain of credentials was built")
                })?
            }
        };
        let fetched = provider.insert(found).provide_credentials().await?;
        let mut kept = self.kept();
        kept.due = fetched.expiry().map(|expiry| {
            let life = expiry.duration_since(self.clock.now()).unwrap_or_default();
            expiry - AHEAD.min(life / 4)
        });
        kept.credentials = Some(fetched.clone());
        Ok(fetched)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Returns the credentials if they live beyond that time.
    fn usable(&self, until: SystemTime) -> Option<Credentials> {
        let credentials = self.credentials.as_ref()?;
        let lives = credentials.expiry().is_none_or(|expiry| expiry > until);
        lives.then(|| credentials.clone())
    }
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

#[cfg(test)]
mod tests;
