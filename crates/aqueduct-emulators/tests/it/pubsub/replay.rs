use std::time::{Duration, SystemTime};

use super::place::{Place, SUBSCRIPTION, run, take, until};

const SNAPSHOT: &str = "projects/test/snapshots/before";

#[test]
fn a_seek_to_a_time_brings_acknowledged_messages_back() {
    run(async {
        let place = Place::start().await;
        place
            .subscription(|it| it.set_retain_acked_messages(true))
            .await;
        place.publish("", &["old"]).await;
        place.pubsub.advance(Duration::from_secs(1000));
        let middle = SystemTime::now() + Duration::from_secs(500);
        place.publish("", &["new"]).await;
        take(&mut place.receive(), 2).await;
        until("the acknowledgements", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
        let time = google_cloud_wkt::Timestamp::try_from(middle).unwrap();
        let seek = place.subscriptions.seek().set_subscription(SUBSCRIPTION);
        seek.set_time(time).send().await.unwrap();
        assert_eq!(take(&mut place.receive(), 1).await, ["new"]);
        until("the acknowledgement", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
    });
}

#[test]
fn a_snapshot_restores_what_was_unacknowledged_and_later_messages() {
    run(async {
        let place = Place::start().await;
        place
            .subscription(|it| it.set_enable_message_ordering(true))
            .await;
        place.publish("a", &["one"]).await;
        take(&mut place.receive(), 1).await;
        until("the acknowledgement", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
        place.publish("a", &["two"]).await;
        let create = place.subscriptions.create_snapshot().set_name(SNAPSHOT);
        create.set_subscription(SUBSCRIPTION).send().await.unwrap();
        place.publish("a", &["three"]).await;
        assert_eq!(take(&mut place.receive(), 2).await, ["two", "three"]);
        until("the acknowledgements", || {
            place.pubsub.unacked(SUBSCRIPTION) == 0
        })
        .await;
        let seek = || {
            let seek = place.subscriptions.seek().set_subscription(SUBSCRIPTION);
            seek.set_snapshot(SNAPSHOT).send()
        };
        seek().await.unwrap();
        assert_eq!(take(&mut place.receive(), 2).await, ["two", "three"]);
        place.pubsub.expire_snapshot(SNAPSHOT);
        let error = seek().await.unwrap_err();
        assert_eq!(error.status().unwrap().code.name(), "NOT_FOUND");
    });
}

#[test]
fn retention_forgets_messages() {
    run(async {
        let place = Place::start().await;
        place.subscription(|it| it).await;
        place.publish("", &["old"]).await;
        place
            .pubsub
            .advance(Duration::from_secs(7 * 24 * 60 * 60 + 1));
        assert_eq!(place.pubsub.unacked(SUBSCRIPTION), 0);
    });
}
