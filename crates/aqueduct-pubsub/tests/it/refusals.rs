//! What cannot be used is refused by its name, and says why: subscriptions, filters, snapshots, rights.

use std::io::Write as _;
use std::time::Duration;

use aqueduct_core::{Backend as _, Error, ErrorKind, Event, Url};
use aqueduct_emulators::PubSubFault;
use aqueduct_pubsub::{PubSubBackend, PubSubReplay};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use google_cloud_pubsub::model::compression::{CompressionAlgorithm, CompressionMode};
use google_cloud_pubsub::model::{Message, MessageTransform};

use crate::common::{Place, consumer, queue, url_options, with_emulator};

const DEADLINE: Duration = Duration::from_secs(120);

/// Returns the error of opening the group `group`.
async fn refused(place: &Place, topic: &str, query: &str) -> Error {
    let queue = queue(&*place.resource(topic, query), &place.runtime).await;
    queue.subscribe(&"group".into()).await.err().unwrap()
}

#[test]
fn a_subscription_that_cannot_be_read_is_refused() {
    with_emulator(|place: Place| async move {
        let runtime = &place.runtime;
        let topic = place.unique();
        place.resource(&topic, "").producer(runtime).await.unwrap();
        let other = place.unique();
        place.resource(&other, "").producer(runtime).await.unwrap();
        // The backend has installed a provider of cryptography by now.
        let admin = place.subscriptions().await;
        let spec = |of: &str| {
            google_cloud_pubsub::model::Subscription::new()
                .set_name(place.path("subscriptions", &format!("{topic}.group")))
                .set_topic(place.path("topics", of))
        };
        let push = google_cloud_pubsub::model::PushConfig::new()
            .set_push_endpoint("https://example.com/push");
        let policy = google_cloud_pubsub::model::DeadLetterPolicy::new()
            .set_dead_letter_topic(place.path("topics", &other))
            .set_max_delivery_attempts(5);
        let ordered = spec(&topic).set_enable_message_ordering(true);
        for (subscription, expected) in [
            (spec(&other), "belongs to topic"),
            (spec(&topic).set_push_config(push), "pushes its messages"),
            (
                ordered.set_dead_letter_policy(policy),
                "native_dead_letters",
            ),
        ] {
            let name = subscription.name.clone();
            admin
                .create_subscription()
                .with_request(subscription)
                .send()
                .await
                .unwrap();
            let error = refused(&place, &topic, "").await;
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(
                error.to_string().contains(&format!("{topic}.group")),
                "{error}"
            );
            admin
                .delete_subscription()
                .set_subscription(name)
                .send()
                .await
                .unwrap();
        }
        let plain = place.without_create(&topic);
        let missing = queue(&*plain, runtime)
            .await
            .subscribe(&"group".into())
            .await;
        let missing = missing.err().unwrap();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
        assert!(
            missing.to_string().contains("create = \"missing\""),
            "{missing}"
        );
    });
}

#[test]
fn an_invalid_filter_is_refused_by_its_text() {
    with_emulator(|place: Place| async move {
        if place.emulator.is_none() {
            return println!("skipped: Google's emulator accepts every filter");
        }
        let topic = place.unique();
        let error = refused(&place, &topic, "&filter=attributes.region%20%3D%20eu").await;
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        assert!(
            error.to_string().contains("attributes.region = eu"),
            "{error}"
        );
        assert!(
            error.to_string().contains(&format!("{topic}.group")),
            "{error}"
        );
    });
}

#[test]
fn a_detached_subscription_is_refused() {
    with_emulator(|place: Place| async move {
        if place.emulator.is_none() {
            return println!("skipped: Google's emulator cannot detach");
        }
        let topic = place.unique();
        let opened = consumer(&*place.resource(&topic, ""), &place.runtime).await;
        opened.close().await.unwrap();
        let detach = place.topics().await.detach_subscription();
        let name = place.path("subscriptions", &format!("{topic}.group"));
        detach.set_subscription(name).send().await.unwrap();
        let error = refused(&place, &topic, "").await;
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("detached"), "{error}");
    });
}

#[test]
fn a_snapshot_that_expired_says_so() {
    with_emulator(|place: Place| async move {
        let Some(emulator) = place.emulator.clone() else {
            return println!("skipped: a snapshot of another server expires after days");
        };
        let topic = place.unique();
        let opened = consumer(&*place.resource(&topic, ""), &place.runtime).await;
        opened.close().await.unwrap();
        let url = place.url(&place.endpoint, &topic, "");
        let replay = PubSubReplay::open("orders", &url, url_options(), &place.runtime).await;
        let replay = replay.unwrap();
        let group = "group".into();
        replay.take_snapshot(&group, "before").await.unwrap();
        emulator.expire_snapshot(&place.path("snapshots", "before"));
        let error = replay.to_snapshot(&group, "before").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        let said = error.to_string();
        assert!(
            said.contains("before") && said.contains("expired"),
            "{said}"
        );
    });
}

#[test]
fn a_project_without_permission_is_told_at_once() {
    with_emulator(|place: Place| async move {
        let Some(emulator) = place.emulator.clone() else {
            return println!("skipped: Google's emulator knows no permissions");
        };
        let topic = place.unique();
        let resource = place.resource(&topic, "");
        let producer = resource.producer(&place.runtime).await.unwrap();
        emulator.inject("Publish", PubSubFault::PermissionDenied);
        let report = producer.send_batch(&[event("0")]).await;
        let denied = report.into_result().unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
        assert!(!denied.is_retryable(), "{denied}");
        emulator.inject("GetSubscription", PubSubFault::PermissionDenied);
        let denied = refused(&place, &topic, "").await;
        assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
        assert!(denied.to_string().contains(&topic), "{denied}");
        // A right that is withdrawn while a consumer runs reaches the application.
        let consumer = consumer(&*resource, &place.runtime).await;
        for _ in 0..8 {
            emulator.inject("StreamingPull", PubSubFault::PermissionDenied);
        }
        emulator.end_streams(&PubSubFault::PermissionDenied);
        let receiving = consumer.receive_batch(1);
        let received = place.runtime.timeout(DEADLINE, "an error", receiving).await;
        let denied = received.unwrap().unwrap_err();
        assert_eq!(denied.kind(), ErrorKind::Denied, "{denied}");
        consumer.close().await.unwrap();
    });
}

#[test]
fn an_attribute_over_the_limit_goes_in_the_structured_mode() {
    with_emulator(|place: Place| async move {
        let resource = place.resource(&place.unique(), "");
        let consumer = consumer(&*resource, &place.runtime).await;
        let producer = resource.producer(&place.runtime).await.unwrap();
        let mut sent = event("0");
        sent.attributes_mut()
            .set("note", "x".repeat(1_025))
            .unwrap();
        let sending = producer.send_batch(std::slice::from_ref(&sent)).await;
        sending.into_result().unwrap();
        let receiving = consumer.receive_batch(1);
        let received = place
            .runtime
            .timeout(DEADLINE, "the event", receiving)
            .await;
        for delivery in received.unwrap().unwrap() {
            assert_eq!(*delivery.event(), sent);
            delivery.ack().await.unwrap();
        }
        consumer.close().await.unwrap();
    });
}

#[test]
fn names_of_the_wrong_form_are_refused_before_anything_is_called() {
    for (url, expected) in [
        ("pubsub://shop/ab", "3 to 255"),
        ("pubsub://shop/googly", "goog"),
        ("pubsub://shop/1orders", "letter"),
        ("pubsub://Shop_1/orders", "project"),
    ] {
        let parsed = PubSubBackend::new().parse("orders", &Url::parse(url).unwrap(), url_options());
        let error = parsed.err().unwrap_or_else(|| panic!("{url} was taken"));
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains(expected), "{url}: {error}");
    }
}

#[test]
fn a_subscription_that_compresses_needs_a_decoder() {
    with_emulator(|place: Place| async move {
        if place.emulator.is_none() {
            return println!("skipped: Google's emulator keeps no message transforms");
        }
        let topic = place.unique();
        place
            .resource(&topic, "")
            .producer(&place.runtime)
            .await
            .unwrap();
        let compression = google_cloud_pubsub::model::Compression::new()
            .set_compression_mode(CompressionMode::Compress)
            .set_compression_algorithm(CompressionAlgorithm::Zlib);
        let subscription = google_cloud_pubsub::model::Subscription::new()
            .set_name(place.path("subscriptions", &format!("{topic}.group")))
            .set_topic(place.path("topics", &topic))
            .set_message_transforms([MessageTransform::new().set_compression(compression)]);
        let create = place.subscriptions().await.create_subscription();
        create.with_request(subscription).send().await.unwrap();
        let error = refused(&place, &topic, "").await;
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("no decoder is set"), "{error}");

        // As the service hands out what it compressed; the emulator compresses nothing itself.
        let consumer = consumer(&*place.resource(&topic, "&compressed=zlib"), &place.runtime).await;
        let publisher = place.publisher(&topic).await;
        let attributes = [
            ("ce-specversion", "1.0"),
            ("ce-id", "7"),
            ("ce-type", "t"),
            ("ce-source", "/test"),
        ];
        let mut compressed = ZlibEncoder::new(Vec::new(), Compression::fast());
        compressed.write_all(b"orders").unwrap();
        for data in [compressed.finish().unwrap(), b"orders".to_vec()] {
            let message = Message::new().set_data(data).set_attributes(attributes);
            publisher.publish(message).await.unwrap();
        }
        let mut received = Vec::new();
        while received.len() < 2 {
            let receiving = consumer.receive_batch(2);
            let deliveries = place.runtime.timeout(DEADLINE, "events", receiving).await;
            for delivery in deliveries.unwrap().unwrap() {
                received.push(delivery.event().clone());
                delivery.ack().await.unwrap();
            }
        }
        consumer.close().await.unwrap();
        let whole = received.iter().find(|it| it.kind() == "t").unwrap();
        assert_eq!(
            (&whole.data().unwrap()[..], whole.id().to_string().as_str()),
            (&b"orders"[..], "7")
        );
        let damaged = received
            .iter()
            .find(|it| *it.kind() == *Event::DAMAGED)
            .unwrap();
        assert!(damaged.damage().unwrap().contains("zlib"), "{damaged:?}");
    });
}

fn event(id: &str) -> Event {
    Event::bytes("t", "text/plain", "x")
        .with_source("/test")
        .with_id(id)
}
