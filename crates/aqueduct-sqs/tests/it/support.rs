#![allow(clippy::unwrap_used, reason = "tests")]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_aws::Aws;
use aqueduct_core::{BatchConsumer, Resource, Runtime, Source};
use aqueduct_emulators::{HttpFaults, Sqs, SqsLimits};
use aqueduct_queue::QueueOptions;
use aqueduct_runtime::Simulation;
use aws_sdk_sqs::Client;

use crate::common;

/// An emulator on a virtual clock, and clients of it.
pub(crate) struct Place {
    pub(crate) runtime: Runtime,
    pub(crate) aws: Aws,
    pub(crate) faults: HttpFaults,
    pub(crate) sqs: Sqs,
}

impl Place {
    pub(crate) fn resource(&self, url: &str) -> Arc<dyn Resource> {
        let glue = if url.contains('?') { '&' } else { '?' };
        common::resource(
            &self.aws,
            &format!("{url}{glue}create=missing&request_timeout=1h"),
        )
    }

    /// Returns a client of the SDK.
    pub(crate) async fn client(&self) -> Client {
        let mut options = aqueduct_core::Options::new("raw").with("region", "us-east-1");
        let options = aqueduct_aws::AwsOptions::read(&mut options).unwrap();
        Client::new(&self.aws.config(&options).await.unwrap())
    }

    pub(crate) async fn consumer(&self, resource: &dyn Resource) -> Arc<dyn BatchConsumer> {
        match resource.source(&self.runtime).await.unwrap() {
            Source::Queue(queue) => {
                let options = QueueOptions::new("group".into());
                let opening = aqueduct_queue::open(&*queue, options, &self.runtime);
                opening.await.unwrap()
            }
            _ => panic!("expected a queue"),
        }
    }
}

pub(crate) fn simulate<F: Future<Output = ()>>(test: impl FnOnce(Place) -> F) {
    simulate_with(|_| {}, test);
}

/// Runs a test over an emulator with other limits.
pub(crate) fn simulate_with<F: Future<Output = ()>>(
    change: impl FnOnce(&mut SqsLimits),
    test: impl FnOnce(Place) -> F,
) {
    let (tokio, _) = common::real_time();
    let _entered = tokio.enter();
    let simulation = Simulation::new(11).with_horizon(Duration::from_secs(100_000));
    let runtime = simulation.runtime();
    let mut limits = SqsLimits::default();
    limits.deleted_name = Duration::ZERO;
    change(&mut limits);
    let sqs = Sqs::with_limits(&runtime, limits);
    let (aws, faults) = common::aws(&sqs);
    let place = Place {
        sqs,
        runtime,
        aws,
        faults,
    };
    simulation.block_on(test(place)).unwrap();
}

pub(crate) async fn queue_url(client: &Client, name: &str) -> String {
    let found = client.get_queue_url().queue_name(name).send().await;
    found.unwrap().queue_url.unwrap()
}
