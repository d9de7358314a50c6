use google_cloud_pubsub::Result;
use google_cloud_pubsub::model::{Message, PushConfig, Subscription};

use super::place::{Place, SUBSCRIPTION, TOPIC, run, soon};

/// Returns the code and the text of a failure.
fn failure<T: std::fmt::Debug>(result: Result<T>) -> (String, String) {
    let error = result.unwrap_err();
    let status = error.status().unwrap();
    (status.code.name().to_owned(), status.message.clone())
}

#[test]
fn topics_and_subscriptions_are_created_listed_and_deleted() {
    run(async {
        let place = Place::start().await;
        place
            .subscription(|it| it.set_labels([("team", "sales")]))
            .await;
        let get = place
            .subscriptions
            .get_subscription()
            .set_subscription(SUBSCRIPTION);
        let found = get.send().await.unwrap();
        assert_eq!(
            (found.topic.as_str(), found.ack_deadline_seconds),
            (TOPIC, 10)
        );
        assert_eq!(found.labels["team"], "sales");
        let again = place.topics.create_topic().set_name(TOPIC).send().await;
        assert_eq!(failure(again).0, "ALREADY_EXISTS");
        let listed = place
            .topics
            .list_topics()
            .set_project("projects/test")
            .send()
            .await
            .unwrap();
        assert_eq!(listed.topics.len(), 1);
        let of_topic = place.topics.list_topic_subscriptions().set_topic(TOPIC);
        assert_eq!(of_topic.send().await.unwrap().subscriptions, [SUBSCRIPTION]);
        let changed = Subscription::new()
            .set_name(SUBSCRIPTION)
            .set_labels([("team", "support")]);
        let update = place
            .subscriptions
            .update_subscription()
            .set_subscription(changed);
        let mask = google_cloud_wkt::FieldMask::default().set_paths(["labels"]);
        assert_eq!(
            update.set_update_mask(mask).send().await.unwrap().labels["team"],
            "support"
        );
        place
            .topics
            .delete_topic()
            .set_topic(TOPIC)
            .send()
            .await
            .unwrap();
        let get = place
            .subscriptions
            .get_subscription()
            .set_subscription(SUBSCRIPTION);
        assert_eq!(get.send().await.unwrap().topic, "_deleted-topic_");
        let delete = place
            .subscriptions
            .delete_subscription()
            .set_subscription(SUBSCRIPTION);
        delete.send().await.unwrap();
        let get = place
            .subscriptions
            .get_subscription()
            .set_subscription(SUBSCRIPTION);
        assert_eq!(failure(get.send().await).0, "NOT_FOUND");
    });
}

#[test]
fn invalid_settings_are_refused() {
    run(async {
        let place = Place::start().await;
        let create = |settings: Subscription| {
            let settings = settings.set_name(SUBSCRIPTION);
            place
                .subscriptions
                .create_subscription()
                .with_request(settings)
                .send()
        };
        let valid = Subscription::new().set_topic(TOPIC);
        let (code, text) = failure(create(valid.clone().set_filter("attributes.kind == 1")).await);
        assert_eq!(code, "INVALID_ARGUMENT");
        assert!(text.contains("attributes.kind == 1"), "{text}");
        let deadline = create(valid.clone().set_ack_deadline_seconds(601)).await;
        assert_eq!(failure(deadline).0, "INVALID_ARGUMENT");
        let missing = create(valid.clone().set_topic("projects/test/topics/missing")).await;
        assert_eq!(failure(missing).0, "NOT_FOUND");
        let form = create(valid.set_topic("orders")).await;
        assert_eq!(failure(form).0, "INVALID_ARGUMENT");
    });
}

#[test]
fn limits_of_messages_are_checked() {
    run(async {
        let place = Place::start().await;
        let publisher = place.publisher();
        for message in [
            Message::new(),
            Message::new().set_attributes([("k".repeat(257), "v")]),
            Message::new().set_attributes([("k", "v".repeat(1025))]),
            Message::new().set_attributes((0..101).map(|it| (it.to_string(), "v"))),
            Message::new()
                .set_data("x")
                .set_ordering_key("k".repeat(1025)),
            Message::new().set_data(vec![0; 10_000_001]),
        ] {
            let error = soon(publisher.publish(message)).await.unwrap_err();
            assert!(
                format!("{error:?}").contains("InvalidArgument"),
                "{error:?}"
            );
        }
    });
}

#[test]
fn push_and_detached_subscriptions_cannot_be_pulled_from() {
    run(async {
        let place = Place::start().await;
        let push = PushConfig::new().set_push_endpoint("https://example.com/push");
        place.subscription(|it| it.set_push_config(push)).await;
        assert_eq!(
            failure(soon(place.receive().next()).await.unwrap()).0,
            "FAILED_PRECONDITION"
        );
        let delete = place
            .subscriptions
            .delete_subscription()
            .set_subscription(SUBSCRIPTION);
        delete.send().await.unwrap();
        place.subscription(|it| it).await;
        let mut stream = place.receive();
        place.publish("", &["one"]).await;
        soon(stream.next()).await.unwrap().unwrap().1.ack();
        let detach = place
            .topics
            .detach_subscription()
            .set_subscription(SUBSCRIPTION);
        detach.send().await.unwrap();
        assert_eq!(
            failure(soon(stream.next()).await.unwrap()).0,
            "FAILED_PRECONDITION"
        );
        let get = place
            .subscriptions
            .get_subscription()
            .set_subscription(SUBSCRIPTION);
        assert!(get.send().await.unwrap().detached);
    });
}
