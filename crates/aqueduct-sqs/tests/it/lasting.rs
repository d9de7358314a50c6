//! A failure that lasts is warned of, counted, shown in the status and returned.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{ErrorKind, Event};
use aqueduct_emulators::HttpFault;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Level, Subscriber};

use crate::support::{Place, simulate};

/// Keeps warnings with their fields.
#[derive(Clone, Default)]
struct Warnings(Arc<Mutex<Vec<String>>>);

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, "{}={value:?} ", field.name()).unwrap();
    }
}

impl Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = Text::default();
        event.record(&mut text);
        self.0.lock().unwrap().push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// Keeps counters by name and labels.
#[derive(Default)]
struct Counters(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counters {
    fn failures(&self, operation: &str) -> u64 {
        let name = format!(
            "aqueduct_queue_failures_total stream=o.fifo group=group operation={operation}"
        );
        let counters = self.0.lock().unwrap();
        counters
            .get(&name)
            .map_or(0, |it| it.load(Ordering::SeqCst))
    }
}

impl Recorder for Counters {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut name = key.name().to_owned();
        for label in key.labels() {
            write!(name, " {}={}", label.key(), label.value()).unwrap();
        }
        Counter::from_arc(self.0.lock().unwrap().entry(name).or_default().clone())
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// Runs a test with a message in the queue, where `operation` is denied for good. Returns the
/// warnings, and how many failures were counted.
fn with_denied(
    operation: &'static str,
    counted: &str,
    test: impl AsyncFnOnce(&Place),
) -> (Vec<String>, u64) {
    let (warnings, counters) = (Warnings::default(), Counters::default());
    tracing::subscriber::with_default(warnings.clone(), || {
        metrics::with_local_recorder(&counters, || {
            simulate(async |place| {
                let orders = place.resource("sqs://o.fifo?visibility=30s");
                let producer = orders.producer(&place.runtime).await.unwrap();
                let event = Event::new("t").with_source("/s").with_key("a");
                producer.send_batch(&[event]).await.into_result().unwrap();
                for _ in 0..500 {
                    let denied = HttpFault::Error(403, "AccessDenied", "not allowed");
                    place.faults.inject(operation, denied);
                }
                test(&place).await;
            });
        });
    });
    let warnings = warnings.0.lock().unwrap().clone();
    (warnings, counters.failures(counted))
}

fn assert_told(warnings: &[String], counted: u64, said: &str) {
    let warning = warnings.iter().find(|it| it.contains(said));
    let warning = warning.unwrap_or_else(|| panic!("{said}: {warnings:?}"));
    assert!(warning.contains("queue=o.fifo"), "{warning}");
    assert!(warning.contains("group=group"), "{warning}");
    assert!(counted > 0, "{said} is not counted");
}

#[test]
fn a_role_that_may_not_delete_is_told_of() {
    let (warnings, counted) = with_denied("DeleteMessageBatch", "ack", async |place| {
        let consumer = place.consumer(&*place.resource("sqs://o.fifo")).await;
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        delivery.ack().await.unwrap();
        let error = consumer.flush().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        assert!(consumer.status().unreachable_since.is_some());
        let error = consumer.receive_batch(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
    });
    assert_told(&warnings, counted, "cannot be acknowledged");
}

#[test]
fn a_role_that_may_not_extend_is_told_of() {
    let operation = "ChangeMessageVisibilityBatch";
    let (warnings, counted) = with_denied(operation, "extend", async |place| {
        let consumer = place.consumer(&*place.resource("sqs://o.fifo")).await;
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        // The lease is extended half-way.
        place.runtime.sleep(Duration::from_secs(31)).await;
        assert!(consumer.status().unreachable_since.is_some());
        let error = consumer.receive_batch(1).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
        drop(delivery);
    });
    assert_told(&warnings, counted, "cannot be extended");
}
