//! What is missing or does not respond is told within seconds; no emulator is needed for that.

use std::time::{Duration, Instant};

use aqueduct_core::{Effect, ErrorKind, Resource, Runtime};
use tokio::net::TcpListener;

use crate::common::{real_time, resource};

/// Far more than the limits of 8 and 15 s, for a busy machine.
const SECONDS: Duration = Duration::from_secs(60);

async fn opening_fails(resource: &dyn Resource, runtime: &Runtime) -> aqueduct_core::Error {
    let begun = Instant::now();
    let opened = runtime
        .timeout(SECONDS, "opening", resource.producer(runtime))
        .await;
    let error = opened.unwrap().err().unwrap();
    assert!(begun.elapsed() < SECONDS);
    error
}

#[test]
fn missing_credentials_are_told_within_seconds() {
    if std::env::var_os("GOOGLE_APPLICATION_CREDENTIALS").is_some() {
        return;
    }
    let (tokio, runtime) = real_time();
    let resource = resource("pubsub://shop/orders?endpoint=https://127.0.0.1:1");
    let error = tokio.block_on(opening_fails(&*resource, &runtime));
    // Where credentials of a user are found, nothing listens at the endpoint.
    match error.kind() {
        ErrorKind::Denied => assert!(
            error.to_string().contains("GOOGLE_APPLICATION_CREDENTIALS"),
            "{error}"
        ),
        kind => assert_eq!(kind, ErrorKind::Unavailable, "{error}"),
    }
    assert_eq!(error.effect(), Effect::None);
}

#[test]
fn a_server_that_is_down_or_silent_is_told_within_seconds() {
    let (tokio, runtime) = real_time();
    tokio.block_on(async {
        let down = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = down.local_addr().unwrap();
        drop(down);
        let closed = resource(&format!("pubsub://shop/orders?endpoint=http://{at}"));
        let error = opening_fails(&*closed, &runtime).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");

        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = silent.local_addr().unwrap();
        let resource = resource(&format!("pubsub://shop/orders?endpoint=http://{at}"));
        let error = opening_fails(&*resource, &runtime).await;
        assert!(
            error.is(ErrorKind::TimedOut) || error.is(ErrorKind::Unavailable),
            "{error}"
        );
        assert!(error.to_string().contains("topic orders"), "{error}");
    });
}

#[test]
fn a_runtime_without_tokio_is_refused_by_name() {
    let simulation = aqueduct_runtime::Simulation::new(1);
    let runtime = simulation.runtime();
    let resource = resource("pubsub://shop/orders?endpoint=http://127.0.0.1:1");
    let opened = simulation.block_on(async { resource.producer(&runtime).await.err().unwrap() });
    let error = opened.unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("Tokio"), "{error}");
}
