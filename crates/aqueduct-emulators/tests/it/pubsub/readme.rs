//! The example of the README, and the application that it tests.

use std::time::Duration;

mod shop {
    use google_cloud_auth::credentials::anonymous;
    use google_cloud_pubsub::client::{Publisher, SubscriptionAdmin, TopicAdmin};
    use google_cloud_pubsub::model::Message;

    use super::super::place::{SUBSCRIPTION, TOPIC, soon};

    pub(super) async fn open(endpoint: &str) {
        // It fails where another test was faster.
        drop(rustls::crypto::ring::default_provider().install_default());
        let topics = TopicAdmin::builder().with_endpoint(endpoint);
        let topics = topics
            .with_credentials(anonymous::Builder::new().build())
            .build()
            .await
            .unwrap();
        topics.create_topic().set_name(TOPIC).send().await.unwrap();
        let subscriptions = SubscriptionAdmin::builder().with_endpoint(endpoint);
        let credentials = anonymous::Builder::new().build();
        let subscriptions = subscriptions
            .with_credentials(credentials)
            .build()
            .await
            .unwrap();
        let create = subscriptions.create_subscription().set_name(SUBSCRIPTION);
        create.set_topic(TOPIC).send().await.unwrap();
    }

    pub(super) async fn place(endpoint: &str, order: &str) {
        let publisher = Publisher::builder(TOPIC).with_endpoint(endpoint);
        let credentials = anonymous::Builder::new().build();
        let publisher = publisher
            .with_credentials(credentials)
            .build()
            .await
            .unwrap();
        let message = Message::new().set_data(order.to_owned());
        soon(publisher.publish(message)).await.unwrap();
    }
}

// [example]
use aqueduct_emulators::{PubSub, PubSubFault, PubSubOptions};

#[tokio::test]
async fn an_order_survives_a_lost_response() {
    let pubsub = PubSub::start(PubSubOptions::new()).await.unwrap();
    shop::open(&pubsub.endpoint()).await;
    // It applies once: the first attempt is stored and its response lost.
    pubsub.inject("Publish", PubSubFault::LoseResponse);

    shop::place(&pubsub.endpoint(), "order-1").await;

    let billing = "projects/test/subscriptions/billing";
    assert_eq!(pubsub.unacked(billing), 2, "consumers see it twice");
    assert_eq!(pubsub.pending_faults(), 0);
    // Time passes when the test says so: nothing is left of a retention of 7 days.
    pubsub.advance(Duration::from_secs(7 * 24 * 60 * 60));
    assert_eq!(pubsub.unacked(billing), 0);
}
// [/example]

#[test]
fn the_readme_shows_this_example() {
    let here = include_str!("readme.rs");
    let (_, example) = here.split_once("// [example]\n").unwrap();
    let (example, _) = example.split_once("// [/example]").unwrap();
    let readme = include_str!("../../../README.md");
    assert!(
        readme.contains(example),
        "copy this to the README:\n{example}"
    );
}
