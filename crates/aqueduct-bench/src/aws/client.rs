use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use aqueduct_aws::{Aws, AwsOptions, SdkConfig};
use aqueduct_core::{
    Backend as _, Error, ErrorKind, Event, Options, Resource, Result, Runtime, SmallStr, Url,
};
use aqueduct_emulators::test_credentials;
use aqueduct_kinesis::KinesisBackend;
use aqueduct_producer::{Producer, ProducerOptions};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ShardIteratorType};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::Blob;

use crate::payload::Reading;
use crate::sqlite::invalid_url;

/// The service's limit of records per PutRecords.
pub(super) const FULL: usize = 500;
pub(super) const STREAM: &str = "bench";
/// The region of every emulator.
const REGION: &str = "us-east-1";

/// The client side of a contestant, set up the same for each: the SDK's configuration, its own
/// connections, and the request counters.
pub(super) struct Side {
    pub(super) aws: Aws,
    pub(super) traffic: Traffic,
    endpoint: String,
}

impl Side {
    pub(super) fn new(endpoint: &str) -> Self {
        Self::over(
            endpoint,
            aws_smithy_http_client::Builder::new().build_http(),
        )
    }

    /// Returns the same client side over another HTTP client.
    pub(super) fn over(endpoint: &str, http: SharedHttpClient) -> Self {
        let traffic = Traffic {
            inner: http,
            counts: Arc::default(),
        };
        Self {
            aws: Aws::new()
                .with_credentials(test_credentials())
                .with_http_client(SharedHttpClient::new(traffic.clone())),
            traffic,
            endpoint: endpoint.to_owned(),
        }
    }

    pub(super) async fn config(&self) -> Result<SdkConfig> {
        let mut options = AwsOptions::default();
        options.region = Some(SmallStr::literal(REGION));
        options.endpoint = Some(self.endpoint.as_str().into());
        self.aws.config(&options).await
    }

    /// Returns the options that point a backend to the same server.
    pub(super) fn options(&self, place: &'static str) -> Options {
        let options = Options::new(place).with("region", REGION);
        match self.endpoint.is_empty() {
            true => options,
            false => options.with("endpoint", self.endpoint.as_str()),
        }
    }

    pub(super) async fn kinesis(&self) -> Result<Client> {
        Ok(Client::new(&self.config().await?))
    }

    /// Opens the stream as an application does, with these options.
    pub(super) fn resource(&self, set: &[(&str, &str)]) -> Result<Arc<dyn Resource>> {
        let text = format!("kinesis://{STREAM}");
        let url = Url::parse(&text).map_err(invalid_url)?;
        let mut options = self.options("streams.bench");
        for (name, value) in set {
            options = options.with(*name, *value);
        }
        KinesisBackend::with(self.aws.clone()).parse(STREAM, &url, options)
    }

    /// Returns a producer on that stream, with default options.
    pub(super) async fn engine(&self, set: &[(&str, &str)], runtime: &Runtime) -> Result<Producer> {
        let producer = self.resource(set)?.producer(runtime).await?;
        let options = ProducerOptions {
            source: Some(source()),
            ..ProducerOptions::default()
        };
        Ok(Producer::new(producer, options, runtime))
    }
}

/// Counts requests and their records.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    inner: SharedHttpClient,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    writes: AtomicU64,
    records: AtomicU64,
    count_records: AtomicBool,
}

impl Traffic {
    /// Returns the number of all requests.
    pub(super) fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// Starts counting records, which takes time for each request.
    pub(super) fn count_records(&self) {
        self.counts.count_records.store(true, Ordering::Relaxed);
    }

    /// Returns the number of records of all PutRecords, including rejected ones.
    pub(super) fn records(&self) -> u64 {
        self.counts.records.load(Ordering::Relaxed)
    }

    /// Returns the number of writes to a DynamoDB table, including rejected ones.
    pub(super) fn writes(&self) -> u64 {
        self.counts.writes.load(Ordering::Relaxed)
    }

    fn look(&self, request: &HttpRequest) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        match target.split_once('.') {
            Some((_, "UpdateItem" | "PutItem" | "DeleteItem" | "TransactWriteItems")) => {
                self.counts.writes.fetch_add(1, Ordering::Relaxed);
            }
            Some((_, "PutRecords")) if self.counts.count_records.load(Ordering::Relaxed) => {
                let records = records_of(request.body().bytes().unwrap_or_default());
                self.counts
                    .records
                    .fetch_add(records as u64, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

impl HttpClient for Traffic {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(CountedConnector {
            traffic: self.clone(),
            inner: self.inner.http_connector(settings, components),
        })
    }
}

#[derive(Debug)]
struct CountedConnector {
    traffic: Traffic,
    inner: SharedHttpConnector,
}

impl HttpConnector for CountedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        self.traffic.look(&request);
        self.inner.call(request)
    }
}

/// Counts the records in the body of a PutRecords.
pub(super) fn records_of(body: &[u8]) -> usize {
    // The data is Base64, so it contains no quotation marks.
    let name = br#""PartitionKey""#;
    body.windows(name.len()).filter(|it| it == name).count()
}

/// The event source that the producer engine sets.
pub(super) fn source() -> SmallStr {
    SmallStr::literal("/bench")
}

pub(super) fn event(number: u64) -> Result<Event> {
    let reading = Reading::new(number);
    Ok(Event::json("reading", &reading)?.with_key(reading.key()))
}

pub(super) const OFF: (&str, &str) = ("aggregation", "off");
pub(super) const ON: (&str, &str) = ("aggregation", "on");
/// Turns the rate limiter off: the emulator accepts more than a shard, and the SDK has no limiter.
pub(super) const UNLIMITED: (&str, &str) = ("rate_limit", "off");
pub(super) const RAW: (&str, &str) = ("encoding", "raw");
pub(super) const JSON: (&str, &str) = ("encoding", "cloudevents-json");

/// The form of an event on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// The 100 bytes alone.
    Data,
    /// A CloudEvent in JSON.
    CloudEvents,
    /// A CloudEvent in JSON, many in a record.
    Aggregated,
}

impl Wire {
    pub(super) fn encoding(self) -> (&'static str, &'static str) {
        match self {
            Self::Data => RAW,
            Self::CloudEvents | Self::Aggregated => JSON,
        }
    }

    /// Returns the record that an application with only the SDK would build.
    pub(super) fn record(self, number: u64) -> Result<PutRecordsRequestEntry> {
        let (data, key) = match self {
            Self::Data => {
                let reading = Reading::new(number);
                let data = serde_json::to_vec(&reading).map_err(crate::memory::bad_json)?;
                (data, reading.key().to_owned())
            }
            Self::CloudEvents | Self::Aggregated => {
                let event = event(number)?.with_source(source());
                let mut data = Vec::new();
                aqueduct_core::cloudevents::json::encode(&event, &mut data);
                let key = event.key().unwrap_or_default().to_owned();
                (data, key)
            }
        };
        record(data, key)
    }
}

pub(super) fn record(data: Vec<u8>, key: impl Into<String>) -> Result<PutRecordsRequestEntry> {
    PutRecordsRequestEntry::builder()
        .data(Blob::new(data))
        .partition_key(key)
        .build()
        .map_err(|e| sdk("a record", e))
}

pub(super) async fn create_stream(client: &Client, shards: i32) -> Result<()> {
    client
        .create_stream()
        .stream_name(STREAM)
        .shard_count(shards)
        .send()
        .await
        .map_err(|e| sdk("CreateStream", e))?;
    loop {
        let described = client
            .describe_stream_summary()
            .stream_name(STREAM)
            .send()
            .await
            .map_err(|e| sdk("DescribeStreamSummary", e))?;
        let summary = described.stream_description_summary();
        if summary.is_some_and(|it| it.stream_status().as_str() == "ACTIVE") {
            return Ok(());
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

pub(super) async fn shards(client: &Client) -> Result<Vec<String>> {
    let answer = client.list_shards().stream_name(STREAM).send().await;
    let answer = answer.map_err(|e| sdk("ListShards", e))?;
    let shards = answer.shards().iter();
    Ok(shards.map(|shard| shard.shard_id().to_owned()).collect())
}

pub(super) async fn iterator(client: &Client, shard: &str) -> Result<Option<String>> {
    let answer = client
        .get_shard_iterator()
        .stream_name(STREAM)
        .shard_id(shard)
        .shard_iterator_type(ShardIteratorType::TrimHorizon)
        .send()
        .await
        .map_err(|e| sdk("GetShardIterator", e))?;
    Ok(answer.shard_iterator)
}

pub(super) fn sdk(
    what: &'static str,
    error: impl std::error::Error + Send + Sync + 'static,
) -> Error {
    Error::new(ErrorKind::Unavailable, what).with_source(error)
}

pub(super) fn joined<T>(
    result: std::result::Result<Result<T>, tokio::task::JoinError>,
) -> Result<T> {
    result.map_err(|e| Error::new(ErrorKind::Internal, "a task ended early").with_source(e))?
}
