use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use aqueduct_core::{Error, Result};
use aws_config::identity::IdentityCache;
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, ConfigLoader, Region};
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SdkConfig;
use aws_types::origin::Origin;
use futures::lock::Mutex;

use crate::clock::ServiceClock;
use crate::connector::{Refused, Watched};
use crate::credentials::Renewing;
use crate::{AwsOptions, Transport};

/// Creates the configuration of AWS clients, once per set of options: clients of one set share
/// their connections and credentials. Clones share the same configurations.
///
/// ```no_run
/// # async fn open() -> aqueduct_core::Result<()> {
/// use aqueduct_aws::{Aws, AwsOptions};
/// use aqueduct_core::Options;
///
/// let mut options = Options::new("streams.orders").with("region", "eu-west-1");
/// let config = Aws::new().config(&AwsOptions::read(&mut options)?).await?;
/// // aws_sdk_kinesis::Client::new(&config)
/// # Ok(()) }
/// ```
#[derive(Clone, Default)]
pub struct Aws(Arc<Shared>);

#[derive(Default)]
struct Shared {
    http: Option<Http>,
    chain: Chain,
    made: Mutex<Vec<(AwsOptions, Configs)>>,
}

#[derive(Clone, Debug)]
enum Http {
    Own(SharedHttpClient),
    Transport(Transport),
}

/// The configurations of one set of options: they share credentials.
#[derive(Clone)]
struct Configs {
    requests: SdkConfig,
    subscriptions: SdkConfig,
}

impl Aws {
    /// Takes credentials from the SDK's chain and opens its own connections.
    pub fn new() -> Self {
        Self::default()
    }

    /// Uses an HTTP client, for proxies and tests.
    #[must_use]
    pub fn with_http_client(self, http: SharedHttpClient) -> Self {
        self.rebuilt(Some(Http::Own(http)), None)
    }

    /// Opens connections as `transport` says. `ca_file` and `read_timeout` in the options take precedence.
    #[must_use]
    pub fn with_transport(self, transport: Transport) -> Self {
        self.rebuilt(Some(Http::Transport(transport)), None)
    }

    /// Uses these credentials instead of the SDK's chain. A role is assumed
    /// with them.
    #[must_use]
    pub fn with_credentials(self, credentials: SharedCredentialsProvider) -> Self {
        self.rebuilt(None, Some(credentials))
    }

    fn rebuilt(self, http: Option<Http>, own: Option<SharedCredentialsProvider>) -> Self {
        Self(Arc::new(Shared {
            http: http.or_else(|| self.0.http.clone()),
            chain: match own {
                Some(own) => Chain { own: Some(own) },
                None => self.0.chain.clone(),
            },
            made: Mutex::default(),
        }))
    }

    /// Returns the configuration for a set of options. The SDK's own retries are off: the producer, the group and
    /// the stores retry. An `endpoint` in the options takes precedence over the environment.
    ///
    /// Credentials are resolved with the first request, renewed before they expire, and
    /// resolved again after a service refused them as expired or unknown.
    ///
    /// # Errors
    /// `Config` if no region is known.
    pub async fn config(&self, options: &AwsOptions) -> Result<SdkConfig> {
        Ok(self.configs(options).await?.requests)
    }

    /// Returns the configuration for responses that last for minutes, such as those of SubscribeToShard. They
    /// have connections of their own, a few each; all else is as in [`Aws::config`].
    ///
    /// # Errors
    /// `Config` if no region is known.
    pub async fn subscription_config(&self, options: &AwsOptions) -> Result<SdkConfig> {
        Ok(self.configs(options).await?.subscriptions)
    }

    async fn configs(&self, options: &AwsOptions) -> Result<Configs> {
        let mut made = self.0.made.lock().await;
        if let Some((_, configs)) = made.iter().find(|(known, _)| known == options) {
            return Ok(configs.clone());
        }
        let configs = self.make(options).await?;
        made.push((options.clone(), configs.clone()));
        Ok(configs)
    }

    async fn make(&self, options: &AwsOptions) -> Result<Configs> {
        let (requests, subscriptions) = match &self.0.http {
            Some(Http::Own(http)) => (http.clone(), http.clone()),
            Some(Http::Transport(transport)) => both(transport.clone(), options),
            None => {
                let transport = Transport::new().with_silence(options.silence());
                match std::env::var_os("AWS_CA_BUNDLE") {
                    Some(file) => both(transport.with_root_file(file.into()), options),
                    None => both(transport, options),
                }
            }
        };
        let (refused, clock) = (Refused::default(), ServiceClock::default());
        let watched = |http: &SharedHttpClient| {
            let watched = Watched::service(http.clone(), refused.clone(), clock.clone());
            SharedHttpClient::new(watched)
        };
        let base = self.0.chain.loader(options);
        let base = base.http_client(watched(&requests)).load().await;
        let Some(region) = base.region() else {
            return Err(Error::config(
                "no AWS region is known: set `region`, AWS_REGION or the profile's region",
            ));
        };
        let known = AwsOptions {
            region: Some(region.as_ref().into()),
            ..options.clone()
        };
        let subscriptions = watched(&subscriptions);
        let chain = self.0.chain.clone();
        let renewing = Renewing::new(chain, known, requests, refused, clock.clone());
        let mut config = base
            .to_builder()
            .retry_config(RetryConfig::disabled())
            // Shared by all clients, where the SDK corrects each by itself.
            .time_source(clock)
            .disable_clock_skew_correction(true)
            // The provider caches credentials itself.
            .identity_cache(IdentityCache::no_cache())
            .credentials_provider(SharedCredentialsProvider::new(renewing));
        if let Some(endpoint) = &options.endpoint {
            config.set_endpoint_url(Some(endpoint.to_string()));
            // Otherwise AWS_ENDPOINT_URL_KINESIS and the like would take precedence.
            config.insert_origin("endpoint_url", Origin::shared_config());
        }
        let requests = config.build();
        let subscriptions = requests.to_builder().http_client(subscriptions).build();
        Ok(Configs {
            requests,
            subscriptions,
        })
    }
}

/// Returns the clients for requests and for subscriptions.
fn both(mut transport: Transport, options: &AwsOptions) -> (SharedHttpClient, SharedHttpClient) {
    if let Some(file) = &options.ca_file {
        transport = transport.with_root_file(PathBuf::from(file.as_str()));
    }
    if let Some(silence) = options.read_timeout {
        transport = transport.with_silence(silence);
    }
    (transport.requests(), transport.subscriptions())
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("own_http_client", &self.0.http.is_some())
            .field("own_credentials", &self.0.chain.own.is_some())
            .finish_non_exhaustive()
    }
}

/// The source of credentials: the caller's, else the SDK's chain; then the role.
#[derive(Clone, Default)]
pub(crate) struct Chain {
    own: Option<SharedCredentialsProvider>,
}

impl Chain {
    #[cfg(test)]
    pub(crate) fn of(own: SharedCredentialsProvider) -> Self {
        Self { own: Some(own) }
    }

    /// Reads environment and files, and creates the provider.
    pub(crate) async fn credentials(
        &self,
        options: &AwsOptions,
        http: &SharedHttpClient,
        clock: &ServiceClock,
    ) -> Option<SharedCredentialsProvider> {
        let watched = Watched::credentials(http.clone(), clock.clone());
        let http = SharedHttpClient::new(watched);
        let loader = self.loader(options).http_client(http);
        let base = loader.time_source(clock.clone()).load().await;
        let credentials = base.credentials_provider()?;
        let Some(role) = &options.role else {
            return Some(credentials);
        };
        let mut assume = AssumeRoleProvider::builder(role.as_str())
            .session_name(options.role_session.as_str())
            .configure(&base);
        if let Some(external) = &options.external_id {
            assume = assume.external_id(external.as_str());
        }
        let assumed = assume.build_from_provider(credentials).await;
        Some(SharedCredentialsProvider::new(assumed))
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
        if let Some(own) = &self.own {
            loader = loader.credentials_provider(own.clone());
        }
        loader
    }
}
