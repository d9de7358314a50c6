use aqueduct_emulators::{HttpFault, HttpFaults, test_credentials};
use aws_sdk_kinesis::config::{BehaviorVersion, Region};
use aws_sdk_kinesis::operation::put_records::PutRecordsOutput;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, PutRecordsResultEntry};
use aws_sdk_kinesis::{Client, Config};
use aws_smithy_types::Blob;

use super::*;

/// `{"Records": [{"SequenceNumber": "7", "ShardId": "s"}]}` in CBOR.
const CBOR: &[u8] = b"\xa1\x67Records\x81\xa2\x6eSequenceNumber\x617\x67ShardId\x61s";

const JSON: &str = r#"{"Records":[{"SequenceNumber":"7","ShardId":"s"}]}"#;

/// A body that was read here.
struct Whole(SdkBody);

impl RawResponse for Whole {
    type Output = PutRecordsOutput;

    fn read(body: SdkBody) -> Result<Self, String> {
        Ok(Self(body))
    }

    fn empty_output() -> Result<PutRecordsOutput, BoxError> {
        let output = PutRecordsOutput::builder().set_records(Some(Vec::new()));
        Ok(output.build()?)
    }

    fn unreadable(why: BoxError) -> impl std::error::Error + Send + Sync + 'static {
        aws_sdk_kinesis::operation::put_records::PutRecordsError::unhandled(why)
    }
}

/// The part of a later SDK that reads CBOR.
#[derive(Debug)]
struct CborClient;

impl Intercept for CborClient {
    fn name(&self) -> &'static str {
        "cbor"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if context.response().headers().get("content-type") == Some("application/cbor") {
            bag.interceptor_state()
                .store_put(SharedResponseDeserializer::new(CborReader));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct CborReader;

impl DeserializeResponse for CborReader {
    fn deserialize_nonstreaming(
        &self,
        response: &HttpResponse,
    ) -> Result<Output, OrchestratorError<Error>> {
        assert_eq!(response.body().bytes(), Some(CBOR));
        let record = PutRecordsResultEntry::builder()
            .sequence_number("7")
            .shard_id("s");
        let output = PutRecordsOutput::builder().records(record.build());
        Ok(Output::erase(output.build().unwrap()))
    }
}

/// Sends one record to a service that responds so; returns what the client read, and what was read here.
async fn put(fault: HttpFault, enabled: bool) -> (PutRecordsOutput, Option<Whole>) {
    // Nothing is sent: the fault is the response.
    let faults = HttpFaults::over(aqueduct_aws::Transport::new().requests());
    faults.inject("PutRecords", fault);
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(test_credentials())
        .http_client(faults.client())
        .interceptor(CborClient)
        .build();
    let entry = PutRecordsRequestEntry::builder()
        .data(Blob::new("event"))
        .partition_key("key");
    let reader = ResponseReader::<Whole>::new(enabled);
    let output = Client::from_conf(config)
        .put_records()
        .stream_name("orders")
        .records(entry.build().unwrap())
        .customize()
        .interceptor(reader.clone())
        .send()
        .await
        .unwrap();
    (output, reader.take())
}

#[tokio::test]
async fn what_is_not_json_is_left_to_the_client() {
    let (output, read) = put(HttpFault::Body("application/cbor", CBOR), true).await;
    assert!(read.is_none());
    assert_eq!(output.records().len(), 1);
    assert_eq!(output.records()[0].sequence_number(), Some("7"));
}

#[tokio::test]
async fn json_is_read_here_unless_that_is_turned_off() {
    for content_type in [
        "application/x-amz-json-1.1",
        "application/x-amz-json-1.0; charset=utf-8",
        "Application/JSON",
    ] {
        let fault = HttpFault::Body(content_type, JSON.as_bytes());
        let (output, read) = put(fault.clone(), true).await;
        let read = read.unwrap();
        assert_eq!(read.0.bytes(), Some(JSON.as_bytes()), "{content_type}");
        assert_eq!(output.records().len(), 0);
        let (output, read) = put(fault, false).await;
        assert!(read.is_none());
        assert_eq!(output.records().len(), 1);
    }
}
