use std::collections::HashSet;
use std::time::Duration;

use google_cloud_pubsub::model::{DeadLetterPolicy, Message, RetryPolicy, Subscription};
use google_cloud_pubsub::subscriber::handler::Handler;

use super::place::{Place, SUBSCRIPTION, next, run, soon, take, until};

#[test]
fn googles_client_publishes_receives_and_acknowledges() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        let message = Message::new()
            .set_data("one")
            .set_attributes([("kind", "paid")]);
        let id = soon(place.publisher().publish(message)).await.unwrap();
        let mut stream = place.receive();
        let (text, message, handler) = next(&mut stream).await;
        assert_eq!((text.as_str(), &message.message_id), ("one", &id));
        assert_eq!(message.attributes["kind"], "paid");
        assert!(message.publish_time.is_some());
        assert_eq!(handler.delivery_attempt(), None);
        assert_eq!(place.pubsub.streams(SUBSCRIPTION), 1);
        assert_eq!(place.pubsub.outstanding(SUBSCRIPTION), 1);
        handler.ack();
        until("the acknowledgement", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
        drop(stream);
        until("the end of the stream", || {
            place.pubsub.streams(SUBSCRIPTION) == 0
        })
        .await;
    });
}

#[test]
fn a_key_is_redelivered_in_order_after_a_nack() {
    run(async {
        let place = Place::start().await;
        place
            .subscription(|it| it.set_enable_message_ordering(true))
            .await;
        place.publish("a", &["a1", "a2", "a3", "a4", "a5"]).await;
        place.publish("b", &["b1"]).await;
        let mut stream = place.receive();
        let mut held = Vec::new();
        let mut order = Vec::new();
        while order.len() < 5 {
            let (text, _, handler) = next(&mut stream).await;
            match text.as_str() {
                "b1" => handler.ack(),
                "a1" => {
                    handler.ack();
                    order.push(text);
                }
                _ => {
                    held.push(handler);
                    order.push(text);
                }
            }
        }
        assert_eq!(order, ["a1", "a2", "a3", "a4", "a5"]);
        // The client says that what is held of the key has to be given back too.
        held.into_iter().for_each(Handler::nack);
        let mut texts = Vec::new();
        while texts.len() < 4 {
            let received = take(&mut stream, 1).await;
            texts.extend(received.into_iter().filter(|it| it.starts_with('a')));
        }
        assert_eq!(texts, ["a2", "a3", "a4", "a5"]);
    });
}

#[test]
fn a_message_comes_again_when_its_lease_ends() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        place.publish("", &["one"]).await;
        let mut stream = place.receive();
        let (_, _, held) = next(&mut stream).await;
        place.pubsub.advance(Duration::from_secs(601));
        let (text, _, handler) = next(&mut stream).await;
        assert_eq!(text, "one");
        handler.ack();
        until("the acknowledgement", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
        drop(held);
    });
}

#[test]
fn what_fails_too_often_goes_to_the_dead_letter_topic() {
    run(async {
        let place = Place::start().await;
        let dead = "projects/test/topics/dead";
        place
            .topics
            .create_topic()
            .set_name(dead)
            .send()
            .await
            .unwrap();
        let policy = DeadLetterPolicy::new()
            .set_dead_letter_topic(dead)
            .set_max_delivery_attempts(5);
        place
            .subscription(|it| it.set_dead_letter_policy(policy))
            .await;
        let letters = Subscription::new().set_name("projects/test/subscriptions/letters");
        let request = place.subscriptions.create_subscription();
        request
            .with_request(letters.set_topic(dead))
            .send()
            .await
            .unwrap();
        place.publish("", &["poison"]).await;
        let mut stream = place.receive();
        for attempt in 1..=5 {
            let (_, _, handler) = next(&mut stream).await;
            assert_eq!(handler.delivery_attempt(), Some(attempt));
            handler.nack();
        }
        until("the dead letter", || {
            place.pubsub.unacked("projects/test/subscriptions/letters") == 1
        })
        .await;
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 0);
        drop(stream);
        let target = "projects/test/subscriptions/letters";
        let mut letters = place.receive_from(target);
        let (text, message, handler) = next(&mut letters).await;
        let attribute =
            |name: &str| message.attributes[&format!("CloudPubSubDeadLetterSource{name}")].as_str();
        assert_eq!(text, "poison");
        assert_eq!(attribute("DeliveryCount"), "5");
        assert_eq!(attribute("Subscription"), "billing");
        assert_eq!(attribute("SubscriptionProject"), "test");
        assert!(attribute("TopicPublishTime").ends_with('Z'));
        handler.ack();
    });
}

#[test]
fn a_filter_keeps_messages_away() {
    run(async {
        let place = Place::start().await;
        place
            .subscription(|it| it.set_filter("attributes.kind = \"paid\""))
            .await;
        let publisher = place.publisher();
        for (text, kind) in [("one", "paid"), ("two", "open"), ("three", "paid")] {
            let message = Message::new()
                .set_data(text)
                .set_attributes([("kind", kind)]);
            soon(publisher.publish(message)).await.unwrap();
        }
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 2);
        let texts: HashSet<_> = take(&mut place.receive(), 2).await.into_iter().collect();
        assert_eq!(texts, HashSet::from(["one".to_owned(), "three".to_owned()]));
    });
}

#[test]
fn flow_control_limits_what_a_stream_holds() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        let texts: Vec<String> = (0..40).map(|it| it.to_string()).collect();
        place
            .publish("", &texts.iter().map(String::as_str).collect::<Vec<_>>())
            .await;
        let mut stream = place.receive_at_most(10);
        let mut held = Vec::new();
        for _ in 0..10 {
            held.push(next(&mut stream).await.2);
        }
        assert_eq!(place.pubsub.outstanding(SUBSCRIPTION), 10);
        held.into_iter().for_each(Handler::ack);
        take(&mut stream, 30).await;
        until("all acknowledgements", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
    });
}

#[test]
fn exactly_once_confirms_an_acknowledgement_and_reports_a_lost_lease() {
    run(async {
        let place = Place::start().await;
        place
            .subscription(|it| it.set_enable_exactly_once_delivery(true))
            .await;
        place.publish("", &["one"]).await;
        let mut stream = place.receive();
        let (_, _, handler) = next(&mut stream).await;
        let Handler::ExactlyOnce(lost) = handler else {
            panic!("the client was not told that the subscription is exactly-once");
        };
        place.pubsub.advance(Duration::from_secs(601));
        soon(lost.confirmed_ack()).await.unwrap_err();
        let (_, _, handler) = next(&mut stream).await;
        let Handler::ExactlyOnce(kept) = handler else {
            panic!("the client was not told that the subscription is exactly-once");
        };
        soon(kept.confirmed_ack()).await.unwrap();
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 0);
    });
}

#[test]
fn a_retry_policy_delays_redelivery() {
    run(async {
        let place = Place::start().await;
        let policy = RetryPolicy::new()
            .set_minimum_backoff(google_cloud_wkt::Duration::clamp(300, 0))
            .set_maximum_backoff(google_cloud_wkt::Duration::clamp(600, 0));
        place.subscription(|it| it.set_retry_policy(policy)).await;
        place.publish("", &["one"]).await;
        let mut stream = place.receive();
        next(&mut stream).await.2.nack();
        until("the nack", || place.pubsub.outstanding(SUBSCRIPTION) == 0).await;
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 1);
        place.pubsub.advance(Duration::from_secs(301));
        assert_eq!(take(&mut stream, 1).await, ["one"]);
    });
}
