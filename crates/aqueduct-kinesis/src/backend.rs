use std::fmt;
use std::sync::Arc;

use aqueduct_aws::Aws;
use aqueduct_core::{
    Admin, Backend, BatchProducer, Capabilities, Claims, ErrorKind, Identity, Limits, OptionTable,
    Options, Resource, Result, Runtime, SmallStr, Source, StreamName, Url,
};
use async_trait::async_trait;
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{StreamDescriptionSummary, StreamStatus};

use crate::admin::KinesisAdmin;
use crate::config::Config;
use crate::producer::KinesisProducer;
use crate::reference;
use crate::source::KinesisLog;
use crate::stream::Kinesis;

/// Opens streams of Amazon Kinesis, under `kinesis://STREAM` and `kinesis:ARN` URLs.
///
/// Streams of one set of credentials, region and endpoint share their connections.
#[derive(Clone, Default)]
pub struct KinesisBackend {
    aws: Aws,
}

impl KinesisBackend {
    /// Creates a backend with the credentials of the SDK's chain.
    pub fn new() -> Self {
        Self::default()
    }

    /// Creates a backend whose clients `aws` configures.
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

    fn options(&self) -> Vec<OptionTable> {
        reference::tables()
    }
}

impl fmt::Debug for KinesisBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KinesisBackend").finish_non_exhaustive()
    }
}

/// The largest record of a stream that does not report its limit.
const DEFAULT_RECORD: usize = 1 << 20;

/// The bytes of a record reserved for the partition key: 256 ASCII characters.
const KEY_BYTES: usize = 256;

struct KinesisResource {
    aws: Aws,
    config: Config,
}

impl KinesisResource {
    async fn client(&self) -> Result<Kinesis> {
        let requests = self.aws.config(&self.config.aws).await?;
        let subscriptions = self.aws.subscription_config(&self.config.aws).await?;
        Ok(Kinesis::new(
            Client::new(&requests),
            Client::new(&subscriptions),
            &self.config,
        ))
    }

    /// Returns the stream and its description; creates it if it is missing and may be created.
    async fn open(&self, runtime: &Runtime) -> Result<(Kinesis, StreamDescriptionSummary)> {
        let kinesis = self.client().await?;
        let described = match (kinesis.describe().await, self.config.create) {
            (Err(error), Some(creation)) if error.is(ErrorKind::NotFound) => {
                kinesis.create(creation, runtime).await?;
                kinesis.describe().await?
            }
            (Ok(described), _) if described.stream_status == StreamStatus::Creating => {
                kinesis.wait_until_active(runtime).await?;
                kinesis.describe().await?
            }
            (described, _) => described?,
        };
        Ok((kinesis, described))
    }

    /// Returns the largest record that the stream accepts.
    fn record_bytes(&self, described: &StreamDescriptionSummary) -> usize {
        let said = described
            .max_record_size_in_kib
            .map(|kib| kib.max(4) as usize);
        let asked = self.config.publishing.max_record_bytes;
        asked
            .or(said.map(|kib| kib << 10))
            .unwrap_or(DEFAULT_RECORD)
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

    fn identity(&self) -> Identity {
        let arn = self.config.arn.as_deref();
        let account = arn
            .and_then(|arn| arn.split(':').nth(4))
            .map(SmallStr::from);
        let stream = Identity::new(format!("kinesis:{}", self.config.stream));
        self.config.aws.identify(stream, account)
    }

    fn stream(&self) -> &StreamName {
        &self.config.stream
    }

    fn claims(&self) -> Claims {
        KinesisLog::claims()
    }

    async fn producer(&self, runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        let (kinesis, described) = self.open(runtime).await?;
        let record_bytes = self.record_bytes(&described);
        let capabilities = Capabilities {
            claims: self.claims(),
            limits: Limits {
                event_bytes: Some(record_bytes - KEY_BYTES),
                ..Limits::default()
            },
        };
        let producer = KinesisProducer::open(
            kinesis,
            self.config.encoding,
            self.config.publishing,
            record_bytes,
            capabilities,
            runtime,
        );
        Ok(Arc::new(producer.await?))
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        let (kinesis, _) = self.open(runtime).await?;
        let log = KinesisLog::new(kinesis, &self.config, runtime);
        Ok(Source::Log(Arc::new(log)))
    }

    async fn admin(&self, runtime: &Runtime) -> Result<Arc<dyn Admin>> {
        Ok(Arc::new(KinesisAdmin::new(self.client().await?, runtime)))
    }
}
