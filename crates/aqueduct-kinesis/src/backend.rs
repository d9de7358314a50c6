use std::fmt;
use std::sync::Arc;

use aqueduct_aws::Aws;
use aqueduct_core::{
    Admin, Backend, Capability, Claims, ErrorKind, Options, Resource, Result, Runtime, Source,
    StreamName, Url,
};
use async_trait::async_trait;
use aws_sdk_kinesis::Client;

use crate::admin::KinesisAdmin;
use crate::config::Config;
use crate::source::KinesisLog;
use crate::stream::Kinesis;

/// Streams of Amazon Kinesis, under `kinesis://STREAM` and `kinesis:ARN` URLs.
///
/// Streams of one set of credentials, region and endpoint share their connections.
#[derive(Clone, Default)]
pub struct KinesisBackend {
    aws: Aws,
}

impl KinesisBackend {
    /// A backend with the credentials of the SDK's chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// A backend whose clients `aws` configures.
    pub fn with(aws: Aws) -> Self {
        Self { aws }
    }
}

impl Backend for KinesisBackend {
    fn schemes(&self) -> &[&'static str] {
        &["kinesis"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        Ok(Arc::new(KinesisResource {
            aws: self.aws.clone(),
            config: Config::parse(name, url, options)?,
        }))
    }
}

impl fmt::Debug for KinesisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisBackend").finish_non_exhaustive()
    }
}

struct KinesisResource {
    aws: Aws,
    config: Config,
}

#[allow(dead_code)]
impl KinesisResource {
    async fn client(&self) -> Result<Kinesis> {
        let config = self.aws.config(&self.config.aws).await?;
        Ok(Kinesis::new(Client::new(&config), &self.config))
    }

    /// The stream, made where it is missing and may be.
    async fn open(&self, runtime: &Runtime) -> Result<Kinesis> {
        let kinesis = self.client().await?;
        match (kinesis.describe().await, self.config.create) {
            (Ok(_), _) => {}
            (Err(error), Some(creation)) if error.is(ErrorKind::NotFound) => {
                kinesis.create(creation, runtime).await?;
            }
            (Err(error), _) => return Err(error),
        }
        Ok(kinesis)
    }
}

#[async_trait]
impl Resource for KinesisResource {
    fn describe(&self) -> String {
        match &self.config.arn {
            Some(arn) => format!("kinesis:{arn}"),
            None => format!("kinesis://{}", self.config.stream),
        }
    }

    fn stream(&self) -> &StreamName {
        &self.config.stream
    }

    fn claims(&self) -> Claims {
        Claims::of(&[
            Capability::KeyOrder,
            Capability::Replay,
            Capability::StartAtTime,
            Capability::Positions,
            Capability::Resharding,
            Capability::DelayedNack,
            Capability::HandlerAttempts,
            Capability::Durable,
            Capability::Shared,
            Capability::Admin,
        ])
        .and(&KinesisLog::claims().with(Capability::Admin, aqueduct_core::Claim::Yes))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let kinesis = self.open(runtime).await?;
        let log = KinesisLog::new(kinesis, &self.config, runtime);
        Ok(Source::Log(Arc::new(log)))
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        Ok(Arc::new(KinesisAdmin::new(self.client().await?, runtime)))
    }
}
