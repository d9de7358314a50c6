use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;

use super::client::{FULL, records_of};

/// Returns a Kinesis of four shards that responds from memory: only the client side is measured.
pub(super) fn kinesis() -> SharedHttpClient {
    SharedHttpClient::new(Canned {
        full: Bytes::from(put_answer(FULL)),
        full_length: Arc::default(),
        shards: Bytes::from(shards_answer()),
    })
}

fn put_answer(records: usize) -> String {
    let records: Vec<String> = (0..records)
        .map(|at| {
            format!(
                r#"{{"SequenceNumber":"{}","ShardId":"shardId-{:012}"}}"#,
                sequence(at as u64),
                at % 4
            )
        })
        .collect();
    format!(
        r#"{{"FailedRecordCount":0,"Records":[{}]}}"#,
        records.join(",")
    )
}

fn sequence(number: u64) -> String {
    format!("495903382714902566085596925383615710959215{number:014}")
}

fn shards_answer() -> String {
    let quarter = u128::MAX / 4 + 1;
    let shards: Vec<String> = (0..4u128)
        .map(|at| {
            let first = quarter * at;
            let last = first + (quarter - 1);
            format!(
                r#"{{"ShardId":"shardId-{at:012}","HashKeyRange":{{"StartingHashKey":"{first}","EndingHashKey":"{last}"}},"SequenceNumberRange":{{"StartingSequenceNumber":"{}"}}}}"#,
                sequence(0)
            )
        })
        .collect();
    format!(r#"{{"Shards":[{}]}}"#, shards.join(","))
}

const SUMMARY: &str = r#"{"StreamDescriptionSummary":{"StreamName":"bench","StreamARN":"arn:aws:kinesis:us-east-1:000000000000:stream/bench","StreamStatus":"ACTIVE","StreamModeDetails":{"StreamMode":"PROVISIONED"},"RetentionPeriodHours":24,"StreamCreationTimestamp":1700000000,"EnhancedMonitoring":[],"EncryptionType":"NONE","OpenShardCount":4,"ConsumerCount":0}}"#;

#[derive(Clone, Debug)]
struct Canned {
    /// The response to a PutRecords with 500 records.
    full: Bytes,
    /// The length of such a request, so that its records are not counted again.
    full_length: Arc<AtomicUsize>,
    shards: Bytes,
}

impl Canned {
    fn put(&self, request: &[u8]) -> Bytes {
        if request.len() == self.full_length.load(Ordering::Relaxed) {
            return self.full.clone();
        }
        match records_of(request) {
            FULL => {
                self.full_length.store(request.len(), Ordering::Relaxed);
                self.full.clone()
            }
            records => Bytes::from(put_answer(records)),
        }
    }
}

impl HttpClient for Canned {
    fn http_connector(
        &self,
        _settings: &HttpConnectorSettings,
        _components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(self.clone())
    }
}

impl HttpConnector for Canned {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap_or_default();
        let body = match target.rsplit('.').next().unwrap_or_default() {
            "PutRecords" => self.put(request.body().bytes().unwrap_or_default()),
            "ListShards" => self.shards.clone(),
            "DescribeStreamSummary" => Bytes::from_static(SUMMARY.as_bytes()),
            _ => Bytes::from_static(b"{}"),
        };
        let answer = 200
            .try_into()
            .map(|status| HttpResponse::new(status, SdkBody::from(body)))
            .map_err(|error| ConnectorError::user(Box::new(error)));
        HttpConnectorFuture::ready(answer)
    }
}
