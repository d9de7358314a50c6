use std::fmt;
use std::sync::Arc;

use aqueduct_core::{Error, Result};
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use futures::lock::Mutex;

use crate::AwsOptions;

/// Makes the configuration of AWS clients, once for each set of options: clients of one set share
/// their connections and credentials. A backend keeps one; clones are the same.
#[derive(Clone, Default)]
pub struct Aws(Arc<Shared>);

#[derive(Default)]
struct Shared {
    http: Option<SharedHttpClient>,
    credentials: Option<SharedCredentialsProvider>,
    made: Mutex<Vec<(AwsOptions, SdkConfig)>>,
}

impl Aws {
    /// Credentials from the SDK's chain, connections of its own.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same over that HTTP client, for proxies and for tests.
    #[must_use]
    pub fn with_http_client(self, http: SharedHttpClient) -> Self {
        self.rebuilt(Some(http), None)
    }

    /// The same as whoever those credentials name, instead of the SDK's chain.
    #[must_use]
    pub fn with_credentials(self, credentials: SharedCredentialsProvider) -> Self {
        self.rebuilt(None, Some(credentials))
    }

    fn rebuilt(
        self,
        http: Option<SharedHttpClient>,
        credentials: Option<SharedCredentialsProvider>,
    ) -> Self {
        Self(Arc::new(Shared {
            http: http.or_else(|| self.0.http.clone()),
            credentials: credentials.or_else(|| self.0.credentials.clone()),
            made: Mutex::default(),
        }))
    }

    /// The configuration of those options. The SDK's own retries are off: dispatch, the group and
    /// the stores retry.
    ///
    /// # Errors
    /// `Config` where no region is known.
    pub async fn config(&self, options: &AwsOptions) -> Result<SdkConfig> {
        let mut made = self.0.made.lock().await;
        if let Some((_, config)) = made.iter().find(|(known, _)| known == options) {
            return Ok(config.clone());
        }
        let config = self.make(options).await?;
        made.push((options.clone(), config.clone()));
        Ok(config)
    }

    async fn make(&self, options: &AwsOptions) -> Result<SdkConfig> {
        let http = match (&self.0.http, &options.endpoint) {
            (Some(http), _) => http.clone(),
            // Roots of trust take time to load, and plain text needs none. Who assumes a role
            // talks to another service first.
            (None, Some(endpoint)) if endpoint.starts_with("http:") && options.role.is_none() => {
                aws_smithy_http_client::Builder::new().build_http()
            }
            (None, _) => aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https(),
        };
        let base = self.loader(options).http_client(http).load().await;
        if base.region().is_none() {
            return Err(Error::config(
                "no AWS region is known: set `region`, AWS_REGION or the profile's region",
            ));
        }
        let mut config = base.to_builder().retry_config(RetryConfig::disabled());
        if let Some(role) = &options.role {
            let mut assume = AssumeRoleProvider::builder(role.as_str())
                .session_name(options.role_session.as_str())
                .configure(&base);
            if let Some(external) = &options.external_id {
                assume = assume.external_id(external.as_str());
            }
            let assumed = match base.credentials_provider() {
                Some(credentials) => assume.build_from_provider(credentials).await,
                None => assume.build().await,
            };
            config.set_credentials_provider(Some(SharedCredentialsProvider::new(assumed)));
        }
        // After the role: its service is not at this endpoint.
        if let Some(endpoint) = &options.endpoint {
            config.set_endpoint_url(Some(endpoint.to_string()));
        }
        Ok(config.build())
    }

    fn loader(&self, options: &AwsOptions) -> ConfigLoader {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(options.connect_timeout)
            .operation_attempt_timeout(options.request_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts);
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.to_string()));
        }
        if let Some(profile) = &options.profile {
            loader = loader.profile_name(profile.as_str());
        }
        if let Some(fips) = options.fips {
            loader = loader.use_fips(fips);
        }
        if let Some(dual_stack) = options.dual_stack {
            loader = loader.use_dual_stack(dual_stack);
        }
        if let Some(credentials) = &self.0.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        loader
    }
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("own_http_client", &self.0.http.is_some())
            .field("own_credentials", &self.0.credentials.is_some())
            .finish_non_exhaustive()
    }
}
