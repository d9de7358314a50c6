//! A table named by its ARN: every request contains the ARN, since the table may belong to another
//! account.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use aqueduct_aws::Aws;
use aqueduct_core::{
    Backend as _, Event, EventClaim, GroupRecord, IdempotencyScope, Options, OwnerId,
    ResolvedStart, Url,
};
use aqueduct_dynamodb::DynamoDbBackend;
use aqueduct_emulators::{dynamodb, test_credentials};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::support::{SHARD, fresh, key, swapped, taken};

const ACCOUNT: &str = "arn:aws:dynamodb:eu-west-1:210987654321:table/";

/// Records the table names of requests, and serves the tables of one account.
#[derive(Clone, Debug)]
struct Account {
    inner: SharedHttpClient,
    named: Arc<Mutex<BTreeMap<String, BTreeSet<String>>>>,
    regions: Arc<Mutex<BTreeSet<String>>>,
}

#[derive(Debug)]
struct Connector {
    account: Account,
    inner: SharedHttpConnector,
}

impl HttpClient for Account {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            account: self.clone(),
            inner: self.inner.http_connector(settings, components),
        })
    }
}

impl HttpConnector for Connector {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let target = request.headers().get("x-amz-target").unwrap();
        let operation = target.rsplit('.').next().unwrap().to_owned();
        // `Credential=test/20260131/eu-west-1/dynamodb/aws4_request`
        let signed = request.headers().get("authorization").unwrap();
        let region = signed.split('/').nth(2).unwrap().to_owned();
        self.account.regions.lock().unwrap().insert(region);
        let body = std::str::from_utf8(request.body().bytes().unwrap()).unwrap();
        let mut named = self.account.named.lock().unwrap();
        let names = named.entry(operation).or_default();
        for part in body.split("\"TableName\":\"").skip(1) {
            names.insert(part.split('"').next().unwrap().to_owned());
        }
        let plain = body.replace(ACCOUNT, "");
        let length = plain.len().to_string();
        request.headers_mut().insert("content-length", length);
        self.inner.call(request.map(|_| plain.as_str().into()))
    }
}

#[tokio::test]
async fn every_request_names_the_tables_by_their_arns() {
    let account = Account {
        inner: dynamodb(),
        named: Arc::default(),
        regions: Arc::default(),
    };
    let aws = Aws::new()
        .with_http_client(SharedHttpClient::new(account.clone()))
        .with_credentials(test_credentials());
    let url = Url::parse(&format!("dynamodb:{ACCOUNT}leases")).unwrap();
    let options = Options::new("streams.leases").with("idempotency_retention", "1d");
    let resource = DynamoDbBackend::with(aws).parse("leases", &url, options);
    let resource = resource.unwrap();
    assert_eq!(resource.describe(), format!("dynamodb:{ACCOUNT}leases"));
    assert_eq!(resource.stream().as_str(), "leases");

    let runtime = aqueduct_runtime::tokio();
    let leases = resource.leases(&runtime).await.unwrap();
    let start = ResolvedStart {
        at: "2026-02-01T00:00:00Z".parse().unwrap(),
        partitions: Vec::new(),
    };
    let record = |replay| GroupRecord::new(start.clone(), replay, start.at);
    leases.create_group(&key(), record(0)).await.unwrap();
    let made = leases.create(&key(), fresh(SHARD)).await.unwrap();
    let swap = leases.swap(&key(), &made, taken(&made, "one")).await;
    let row = swapped(swap.unwrap());
    let by = OwnerId::new("two");
    leases.request(&key(), &row, &by).await.unwrap();
    leases.read(&key(), &row.partition).await.unwrap();
    assert_eq!(leases.list(&key(), &[]).await.unwrap().len(), 1);
    leases.delete(&key(), &row).await.unwrap();
    leases.create(&key(), fresh(SHARD)).await.unwrap();
    leases.reset_group(&key(), 0, record(1)).await.unwrap();
    let records = resource.idempotency(&runtime).await.unwrap();
    let scope = IdempotencyScope {
        group: key().group,
        handlers: "h".into(),
        replay: 1,
    };
    let event = Event::new("placed").with_source("/shop");
    let claims = [EventClaim::new(&event, 1)];
    records.claim(&scope, &claims).await.unwrap();
    records.complete(&scope, &claims).await.remove(0).unwrap();

    let named = account.named.lock().unwrap();
    let both = [
        format!("{ACCOUNT}leases"),
        format!("{ACCOUNT}leases-aqueduct"),
    ];
    for (operation, names) in &*named {
        assert!(!names.is_empty(), "{operation}");
        let strange: Vec<_> = names.iter().filter(|name| !both.contains(name)).collect();
        assert!(strange.is_empty(), "{operation}: {strange:?}");
    }
    let operations: Vec<_> = named.keys().map(String::as_str).collect();
    assert_eq!(
        operations,
        [
            "CreateTable",
            "DeleteItem",
            "DescribeTable",
            "DescribeTimeToLive",
            "GetItem",
            "PutItem",
            "Scan",
            "TransactWriteItems",
            "UpdateItem",
            "UpdateTimeToLive",
        ]
    );
    let regions = account.regions.lock().unwrap();
    assert_eq!(*regions, BTreeSet::from(["eu-west-1".to_owned()]));
}
