use std::fmt;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Result, Runtime, SmallStr, StreamName};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{
    StreamDescriptionSummary, StreamMode, StreamModeDetails, StreamStatus,
};

use crate::config::{Config, Creation};
use crate::error;

/// A client bound to one stream.
#[derive(Clone)]
pub(crate) struct Kinesis {
    pub(crate) client: Client,
    /// For SubscribeToShard, whose responses last for minutes: it has connections of its own.
    pub(crate) subscriptions: Client,
    /// Whether responses of PutRecords and GetRecords are read beside the SDK.
    pub(crate) direct: bool,
    pub(crate) name: StreamName,
    /// If set, requests name the stream by its ARN alone.
    pub(crate) arn: Option<SmallStr>,
    /// The ARN or name used in messages.
    pub(crate) shown: SmallStr,
}

/// The number of shards of a new on-demand stream.
const ON_DEMAND_SHARDS: u32 = 4;

/// The longest wait for a stream to be created.
const CREATION: Duration = Duration::from_secs(120);

impl Kinesis {
    pub(crate) fn new(client: Client, subscriptions: Client, config: &Config) -> Self {
        let shown = config.arn.as_ref().unwrap_or(config.stream.text()).clone();
        Self {
            client,
            subscriptions,
            direct: config.direct,
            name: config.stream.clone(),
            arn: config.arn.clone(),
            shown,
        }
    }

    /// Returns the argument of `set_stream_name`.
    pub(crate) fn name(&self) -> Option<String> {
        self.arn.is_none().then(|| self.name.to_string())
    }

    /// Returns the argument of `set_stream_arn`.
    pub(crate) fn arn(&self) -> Option<String> {
        self.arn.as_ref().map(SmallStr::to_string)
    }

    /// Returns an operation on this stream, for messages.
    pub(crate) fn what(&self, operation: &'static str) -> What<'_> {
        What {
            operation,
            stream: &self.shown,
        }
    }

    /// Describes the stream.
    ///
    /// # Errors
    /// `NotFound` if it is missing.
    pub(crate) async fn describe(&self) -> Result<StreamDescriptionSummary> {
        aqueduct_aws::first_call(|| self.describe_once()).await
    }

    async fn describe_once(&self) -> Result<StreamDescriptionSummary> {
        let request = self.client.describe_stream_summary();
        let answer = request
            .set_stream_name(self.name())
            .set_stream_arn(self.arn())
            .send()
            .await
            .map_err(|failed| error::request(self.what("DescribeStreamSummary"), failed))?;
        answer.stream_description_summary.ok_or_else(|| {
            let what = self.what("DescribeStreamSummary");
            Error::new(
                ErrorKind::Unavailable,
                format!("{what}: the response is empty"),
            )
        })
    }

    /// Creates the stream if it is missing and waits until it is active. Returns whether it was
    /// created.
    pub(crate) async fn create(&self, creation: Creation, runtime: &Runtime) -> Result<bool> {
        let made = match self.request_creation(creation).await {
            // Some emulators require a number even if the service chooses it.
            Err(error) if creation.partitions.is_none() && error.is(ErrorKind::Invalid) => {
                let shards = Some(ON_DEMAND_SHARDS);
                self.send_creation(StreamMode::OnDemand, shards).await
            }
            made => made,
        };
        let made = match made {
            Ok(_) => true,
            // Another client created it first.
            Err(error) if error.is(ErrorKind::AlreadyExists) || error.is(ErrorKind::Conflict) => {
                false
            }
            Err(error) => return Err(error),
        };
        self.wait_until_active(runtime).await?;
        if let (true, Some(retention)) = (made, creation.retention)
            && retention > Duration::from_secs(24 * 3600)
        {
            self.client
                .increase_stream_retention_period()
                .set_stream_name(self.name())
                .set_stream_arn(self.arn())
                .retention_period_hours(retention.as_secs().div_ceil(3600) as i32)
                .send()
                .await
                .map_err(|failed| {
                    error::request(self.what("IncreaseStreamRetentionPeriod"), failed)
                })?;
        }
        Ok(made)
    }

    async fn request_creation(&self, creation: Creation) -> Result<()> {
        let mode = match creation.partitions {
            Some(_) => StreamMode::Provisioned,
            None => StreamMode::OnDemand,
        };
        self.send_creation(mode, creation.partitions).await
    }

    async fn send_creation(&self, mode: StreamMode, shards: Option<u32>) -> Result<()> {
        let what = || self.what("CreateStream");
        let mode = StreamModeDetails::builder().stream_mode(mode).build();
        let mode = mode.map_err(|failed| error::malformed(what(), failed))?;
        self.client
            .create_stream()
            .stream_name(self.name.as_str())
            .set_shard_count(shards.map(|it| it as i32))
            .stream_mode_details(mode)
            .send()
            .await
            .map_err(|failed| error::request(what(), failed))?;
        Ok(())
    }

    /// Waits until the stream is active.
    pub(crate) async fn wait_until_active(&self, runtime: &Runtime) -> Result<()> {
        let deadline = runtime.now() + CREATION;
        let mut pause = Duration::from_millis(20);
        loop {
            match self.describe().await {
                Ok(stream) if stream.stream_status == StreamStatus::Active => return Ok(()),
                Ok(_) => {}
                Err(error) if error.is(ErrorKind::NotFound) || error.is_retryable() => {}
                Err(error) => return Err(error),
            }
            if runtime.now() >= deadline {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("stream {}: not active within {CREATION:?}", self.shown),
                ));
            }
            runtime.sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }
}

/// An operation on a stream, formatted for messages.
#[derive(Clone, Copy)]
pub(crate) struct What<'a> {
    operation: &'static str,
    stream: &'a str,
}

impl fmt::Display for What<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} on stream {}", self.operation, self.stream)
    }
}
