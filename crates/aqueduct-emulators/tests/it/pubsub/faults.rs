use std::time::Duration;

use aqueduct_emulators::{PubSubFault, PubSubOptions};
use google_cloud_pubsub::model::Message;

use super::place::{Place, SUBSCRIPTION, next, run, soon, take, until};

#[test]
fn a_reset_connection_is_made_anew() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        let mut stream = place.receive();
        place.publish("", &["one"]).await;
        take(&mut stream, 1).await;
        until("the acknowledgement", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
        place.pubsub.cut_connections();
        until("the end of the stream", || {
            place.pubsub.streams(SUBSCRIPTION) == 0
        })
        .await;
        place.publish("", &["two"]).await;
        assert_eq!(take(&mut stream, 1).await, ["two"]);
    });
}

#[test]
fn a_call_fails_once_with_the_fault_that_was_injected() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        place
            .pubsub
            .inject("Publish", PubSubFault::PermissionDenied);
        place.pubsub.inject("Publish", PubSubFault::Unavailable);
        place.pubsub.inject("Publish", PubSubFault::LoseResponse);
        let publisher = place.publisher();
        let denied = publisher.publish(Message::new().set_data("one"));
        assert!(format!("{:?}", soon(denied).await.unwrap_err()).contains("PermissionDenied"));
        // The client tries again, after one that was stored as well.
        soon(publisher.publish(Message::new().set_data("two")))
            .await
            .unwrap();
        assert_eq!(place.pubsub.pending_faults(), 0);
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 2);
        place
            .pubsub
            .inject("GetTopic", PubSubFault::PermissionDenied);
        let get = || {
            place
                .topics
                .get_topic()
                .set_topic(super::place::TOPIC)
                .send()
        };
        let error = get().await.unwrap_err();
        assert_eq!(error.status().unwrap().code.name(), "PERMISSION_DENIED");
        get().await.unwrap();
    });
}

#[test]
fn a_lost_acknowledgement_brings_the_message_again() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        place.publish("", &["one"]).await;
        place.pubsub.inject("Acknowledge", PubSubFault::LoseRequest);
        let mut stream = place.receive();
        take(&mut stream, 1).await;
        until("the lost acknowledgement", || {
            place.pubsub.pending_faults() == 0
        })
        .await;
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 1);
        place.pubsub.advance(Duration::from_secs(601));
        assert_eq!(take(&mut stream, 1).await, ["one"]);
        until("the acknowledgement", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
    });
}

#[test]
fn a_stream_that_is_denied_ends_and_one_that_is_unavailable_is_opened_again() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        let mut stream = place.receive();
        place.publish("", &["one"]).await;
        take(&mut stream, 1).await;
        place.pubsub.end_streams(&PubSubFault::Unavailable);
        place.publish("", &["two"]).await;
        while next(&mut stream).await.0 != "two" {}
        place.pubsub.end_streams(&PubSubFault::PermissionDenied);
        let error = loop {
            if let Err(error) = soon(stream.next()).await.unwrap() {
                break error;
            }
        };
        assert_eq!(error.status().unwrap().code.name(), "PERMISSION_DENIED");
    });
}

#[test]
fn silenced_connections_hear_nothing_and_new_ones_work() {
    run(async {
        let place = Place::with(PubSubOptions::new().with_seed(3)).await;
        place.subscription(|it| it).await;
        place.publish("", &["before"]).await;
        place.pubsub.silence_connections();
        let publisher = place.publisher();
        let mut sent = std::pin::pin!(
            publisher
                .publish(Message::new().set_data("one"))
                .into_future()
        );
        let waited = tokio::time::timeout(Duration::from_millis(300), sent.as_mut()).await;
        assert!(waited.is_err(), "a silent connection responded");
        let fresh = tokio::net::TcpStream::connect(place.pubsub.host()).await;
        assert!(fresh.is_ok());
    });
}
