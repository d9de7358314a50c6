//! The tests' server: in this process, or at `AQUEDUCT_TEST_DYNAMODB_ENDPOINT`.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aqueduct_aws::{Aws, AwsOptions};
use aqueduct_core::{Backend as _, Options, Resource, Result, Url};
use aqueduct_dynamodb::DynamoDbBackend;
use aqueduct_emulators::{HttpFaults, dynamodb, test_credentials};
use aws_sdk_dynamodb::Client;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_runtime_api::client::http::SharedHttpClient;

static MADE: AtomicU32 = AtomicU32::new(0);

/// A DynamoDB server; dropping it deletes the tables whose names it handed out.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    http: SharedHttpClient,
    endpoint: Option<String>,
    named: Mutex<Vec<String>>,
}

/// Returns whether tests run on their own server, in this process.
pub fn in_process() -> bool {
    std::env::var_os("AQUEDUCT_TEST_DYNAMODB_ENDPOINT").is_none()
}

impl Server {
    pub fn start() -> Self {
        let endpoint = std::env::var("AQUEDUCT_TEST_DYNAMODB_ENDPOINT").ok();
        let http = match &endpoint {
            None => dynamodb(),
            Some(at) if at.starts_with("http:") => {
                aws_smithy_http_client::Builder::new().build_http()
            }
            Some(_) => aws_smithy_http_client::Builder::new()
                .tls_provider(Provider::Rustls(CryptoMode::Ring))
                .build_https(),
        };
        Self(Arc::new(Inner {
            http,
            endpoint,
            named: Mutex::default(),
        }))
    }

    /// Returns a unique table name.
    pub fn table(&self) -> String {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("aqueduct-test-{:x}-{n}", now.as_micros());
        self.0.named.lock().unwrap().push(name.clone());
        name
    }

    /// Returns a connection to the server, with its own faults.
    pub fn faults(&self) -> HttpFaults {
        HttpFaults::over(self.0.http.clone())
    }

    pub fn aws(&self, faults: &HttpFaults) -> Aws {
        let aws = Aws::new().with_http_client(faults.client());
        match &self.0.endpoint {
            Some(at) if at.starts_with("https:") => aws,
            _ => aws.with_credentials(test_credentials()),
        }
    }

    pub fn options(&self) -> Options {
        let options = Options::new("streams.leases").with("region", region());
        match &self.0.endpoint {
            Some(endpoint) => options.with("endpoint", endpoint.as_str()),
            None => options,
        }
    }

    /// Opens the table as a resource, as another process would.
    pub fn resource(
        &self,
        table: &str,
        faults: &HttpFaults,
        more: &[(&str, &str)],
    ) -> Result<Arc<dyn Resource>> {
        let options = more
            .iter()
            .fold(self.options(), |all, (name, value)| all.with(*name, *value));
        let url = Url::parse(&format!("dynamodb://{table}")).unwrap();
        DynamoDbBackend::with(self.aws(faults)).parse("leases", &url, options)
    }

    /// Returns a plain DynamoDB client.
    pub async fn client(&self) -> Client {
        let mut options = self.options();
        let read = AwsOptions::read(&mut options).unwrap();
        let aws = self.aws(&self.faults());
        Client::new(&aws.config(&read).await.unwrap())
    }
}

fn region() -> String {
    std::env::var("AWS_REGION").unwrap_or_else(|_| "us-east-1".to_owned())
}

impl Drop for Inner {
    fn drop(&mut self) {
        let named = std::mem::take(&mut *self.named.lock().unwrap());
        if in_process() || named.is_empty() {
            return;
        }
        let twin = Server(Arc::new(Self {
            http: self.http.clone(),
            endpoint: self.endpoint.clone(),
            named: Mutex::default(),
        }));
        let deleting = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            runtime.block_on(async {
                let client = twin.client().await;
                for name in named {
                    for table in [name.clone(), format!("{name}-aqueduct")] {
                        // Not every test created both tables.
                        let _ = client.delete_table().table_name(table).send().await;
                    }
                }
            });
        });
        deleting.join().unwrap();
    }
}
