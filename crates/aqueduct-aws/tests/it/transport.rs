//! Connections that die silently, behind a proxy that swallows their bytes.

use std::time::{Duration, Instant};

use aqueduct_aws::{Aws, Transport, error, is_signed_anew};
use aqueduct_core::{Effect, ErrorKind, Result};
use aqueduct_emulators::{
    DynamoDbServer, KinesisServer, ListenOptions, Proxy, Sqs, SqsServer, TlsIdentity,
    test_credentials,
};
use futures::future::join_all;

use crate::scripted::options;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wire {
    /// HTTP/1.1 without TLS.
    Plain,
    /// HTTP/1.1 over TLS.
    Tls,
    /// HTTP/2 over TLS.
    Http2,
}

#[derive(Clone, Copy, Debug)]
enum Service {
    Kinesis,
    DynamoDb,
    Sqs,
}

/// A service behind a proxy, and clients of it.
struct Place {
    service: Service,
    proxy: Proxy,
    aws: Aws,
    _servers: (
        Option<KinesisServer>,
        Option<DynamoDbServer>,
        Option<SqsServer>,
    ),
}

impl Place {
    async fn new(service: Service, wire: Wire) -> Self {
        let identity = TlsIdentity::generate(&["localhost"]).unwrap();
        let listen = match wire {
            Wire::Plain => ListenOptions::new(),
            Wire::Tls => ListenOptions::new().with_tls(&identity).with_http1_only(),
            Wire::Http2 => ListenOptions::new().with_tls(&identity),
        };
        let (mut kinesis, mut dynamodb, mut sqs) = (None, None, None);
        let endpoint = match service {
            Service::Kinesis => {
                let server = KinesisServer::start_on(KinesisServer::quick(), &listen).await;
                kinesis.insert(server.unwrap()).endpoint()
            }
            Service::DynamoDb => {
                let server = DynamoDbServer::start(&listen).await;
                dynamodb.insert(server.unwrap()).endpoint()
            }
            Service::Sqs => {
                let emulator = Sqs::new(&aqueduct_runtime::tokio());
                let server = emulator.serve_with(&listen).await;
                sqs.insert(server.unwrap()).endpoint()
            }
        };
        let transport = Transport::new().with_root_certificates(identity.certificate());
        Self {
            service,
            proxy: Proxy::start(endpoint).await.unwrap(),
            aws: Aws::new()
                .with_transport(transport)
                .with_credentials(test_credentials()),
            _servers: (kinesis, dynamodb, sqs),
        }
    }

    /// Makes one request that has no effect.
    async fn ask(&self) -> Result<()> {
        let options = options(&[
            ("region", "us-east-1"),
            ("endpoint", self.proxy.endpoint()),
            ("request_timeout", "30s"),
            ("read_timeout", "2s"),
        ]);
        let config = self.aws.config(&options).await?;
        match self.service {
            Service::Kinesis => {
                let client = aws_sdk_kinesis::Client::new(&config);
                let asked = client.list_streams().send().await.map(drop);
                asked.map_err(|failed| error("ListStreams", failed))
            }
            Service::DynamoDb => {
                let client = aws_sdk_dynamodb::Client::new(&config);
                let asked = client.list_tables().send().await.map(drop);
                asked.map_err(|failed| error("ListTables", failed))
            }
            Service::Sqs => {
                let client = aws_sdk_sqs::Client::new(&config);
                let asked = client.list_queues().send().await.map(drop);
                asked.map_err(|failed| error("ListQueues", failed))
            }
        }
    }

    /// Opens connections: on HTTP/1.1 one for each request under way.
    async fn warm_up(&self) -> u64 {
        for answer in join_all((0..4).map(|_| self.ask())).await {
            answer.unwrap();
        }
        self.proxy.connections()
    }
}

async fn survives_a_silent_death(service: Service, wire: Wire) {
    let place = Place::new(service, wire).await;
    let before = place.warm_up().await;
    place.proxy.swallow();
    let begun = Instant::now();
    let error = place.ask().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert_eq!(error.effect(), Effect::Unknown, "{error}");
    assert!(error.message().contains(place.proxy.endpoint()), "{error}");
    // Far below the 30 s of an attempt.
    assert!(begun.elapsed() < Duration::from_secs(15), "{error}");
    // The others of the same age are not tried one by one.
    for answer in join_all((0..4).map(|_| place.ask())).await {
        answer.unwrap();
    }
    let after = place.proxy.connections();
    assert!(after > before);
    place.ask().await.unwrap();
    assert_eq!(place.proxy.connections(), after, "the new ones are kept");
}

#[tokio::test]
async fn kinesis_survives_a_silent_death_over_http2() {
    survives_a_silent_death(Service::Kinesis, Wire::Http2).await;
}

#[tokio::test]
async fn kinesis_survives_a_silent_death_over_http1() {
    survives_a_silent_death(Service::Kinesis, Wire::Tls).await;
    survives_a_silent_death(Service::Kinesis, Wire::Plain).await;
}

#[tokio::test]
async fn dynamodb_survives_a_silent_death_over_http2() {
    survives_a_silent_death(Service::DynamoDb, Wire::Http2).await;
}

#[tokio::test]
async fn dynamodb_survives_a_silent_death_over_http1() {
    survives_a_silent_death(Service::DynamoDb, Wire::Tls).await;
    survives_a_silent_death(Service::DynamoDb, Wire::Plain).await;
}

#[tokio::test]
async fn sqs_survives_a_silent_death_over_http2() {
    survives_a_silent_death(Service::Sqs, Wire::Http2).await;
}

#[tokio::test]
async fn sqs_survives_a_silent_death_over_http1() {
    survives_a_silent_death(Service::Sqs, Wire::Tls).await;
    survives_a_silent_death(Service::Sqs, Wire::Plain).await;
}

/// The SDK drops an attempt that times out, as a caller drops what it no longer waits for.
#[tokio::test]
async fn a_request_that_is_dropped_in_silence_takes_its_connection_with_it() {
    for wire in [Wire::Http2, Wire::Plain] {
        let place = Place::new(Service::Kinesis, wire).await;
        place.warm_up().await;
        place.proxy.swallow();
        let dropped = tokio::time::timeout(Duration::from_millis(1500), place.ask()).await;
        if let Ok(answer) = dropped {
            // This machine was asleep for a second.
            answer.unwrap_err();
        }
        place.ask().await.unwrap();
    }
}

/// A connection on which something comes, if slowly, is kept.
#[tokio::test]
async fn a_request_that_is_dropped_early_leaves_its_connection() {
    for wire in [Wire::Http2, Wire::Plain] {
        let place = Place::new(Service::Kinesis, wire).await;
        let before = place.warm_up().await;
        for _ in 0..4 {
            place.ask().await.unwrap();
        }
        assert_eq!(place.proxy.connections(), before, "{wire:?}");
    }
}

/// The first request tells by how much this machine's clock is off; every client of the options knows then.
#[tokio::test]
async fn a_clock_that_is_off_is_corrected_from_the_services_time() {
    for seconds in [3600, -3600] {
        let listen = ListenOptions::new().with_clock_off_by(seconds);
        let server = KinesisServer::start_on(KinesisServer::quick(), &listen);
        let server = server.await.unwrap();
        let aws = Aws::new().with_credentials(test_credentials());
        let given = [("region", "us-east-1"), ("endpoint", server.endpoint())];
        let error = crate::scripted::ask(&aws, &given).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert_eq!(error.effect(), Effect::None, "{error}");
        assert!(is_signed_anew(&error), "{error}");
        assert!(error.message().contains("clock"), "{error}");
        // Each asks with a client of its own.
        for _ in 0..3 {
            crate::scripted::ask(&aws, &given).await.unwrap();
        }
    }
}
