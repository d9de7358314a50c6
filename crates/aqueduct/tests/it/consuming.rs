//! The pull loop, following without a group, dead letters and administration.

use std::collections::BTreeMap;

use aqueduct::dead_letter::DeadLetterStoreExt as _;
use aqueduct::testing::TestClient;
use aqueduct::{DeadLetterQuery, Event, Start};
use futures::{FutureExt as _, StreamExt};

const SHOP: &str = r#"
[client]
source = "/shop"

[streams.orders]
url = "memory:"

[streams.returns]
url = "memory:"

[stores.office]
url = "memory:"

[groups.billing]
stream = ["orders", "returns"]
dead_letters = "office"

[groups.shipping]
stream = "orders"
dead_letters = "office"

[groups.stopping]
stream = "orders"
on_reject = "stop"
"#;

async fn send(test: &TestClient, stream: &str, count: u32) {
    let producer = test.client().producer(stream).await.unwrap();
    let events = (0..count).map(|n| {
        let event = Event::json("n", &n).unwrap();
        event.with_key(format!("{}", n % 7))
    });
    producer.send_all(events.collect()).await.unwrap();
}

#[tokio::test]
async fn a_pull_loop_settles_by_itself_and_goes_on_where_it_was() {
    let test = TestClient::new(SHOP).await.unwrap();
    for stream in ["orders", "returns"] {
        send(&test, stream, 50).await;
    }
    let consumer = test.client().consumer("billing").await.unwrap();
    let mut seen = BTreeMap::<String, u32>::new();
    while seen.values().sum::<u32>() < 60 {
        for delivery in consumer.receive_batch(16).await.unwrap() {
            *seen.entry(delivery.stream().to_string()).or_default() += 1;
            delivery.ack().await.unwrap();
        }
    }
    assert_eq!(seen.len(), 2, "no stream starves the other");
    assert_eq!(consumer.status().partitions.len(), 8);
    consumer.flush().await.unwrap();
    test.client().close().await.unwrap();
    assert!(
        consumer.receive().await.unwrap().is_none(),
        "closed with the client"
    );

    let again = test.client().consumer("billing").await.unwrap();
    let rest = 100 - seen.values().sum::<u32>();
    for _ in 0..rest {
        again.receive().await.unwrap().unwrap().ack().await.unwrap();
    }
    assert!(
        again.receive().now_or_never().is_none(),
        "nothing came twice"
    );
    again.close().await.unwrap();
}

#[tokio::test]
async fn rejected_events_are_dead_letters_that_can_be_listed_and_sent_again() {
    let test = TestClient::new(SHOP).await.unwrap();
    send(&test, "orders", 1).await;
    let consumer = test.client().consumer("billing").await.unwrap();
    let delivery = consumer.receive().await.unwrap().unwrap();
    delivery.reject("no such customer").await.unwrap();
    let dead_letters = test.client().dead_letters("billing").await.unwrap();
    let listed = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].dead_letter.message.as_str(), "no such customer");
    let orders = test.client().producer("orders").await.unwrap();
    for sent in dead_letters.redrive(&[listed[0].id.clone()], &orders).await {
        sent.unwrap();
    }
    let again = consumer.receive().await.unwrap().unwrap();
    assert_eq!(again.event().id(), listed[0].dead_letter.event.id());
    again.ack().await.unwrap();
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn groups_that_share_a_store_list_and_redrive_their_own_dead_letters() {
    let test = TestClient::new(SHOP).await.unwrap();
    let client = test.client();
    for stream in ["orders", "returns"] {
        send(&test, stream, 2).await;
    }
    for (group, count) in [("billing", 4), ("shipping", 2)] {
        let consumer = client.consumer(group).await.unwrap();
        for _ in 0..count {
            let delivery = consumer.receive().await.unwrap().unwrap();
            delivery.reject(group).await.unwrap();
        }
        consumer.close().await.unwrap();
    }
    let listed = async |group: &str, query: DeadLetterQuery| {
        let store = client.dead_letters(group).await.unwrap();
        store.list(&query).await.unwrap()
    };
    let billing = listed("billing", DeadLetterQuery::new()).await;
    assert_eq!(billing.len(), 4);
    assert!(
        billing
            .iter()
            .all(|it| it.dead_letter.group.as_str() == "billing")
    );
    assert_eq!(listed("shipping", DeadLetterQuery::new()).await.len(), 2);
    let theirs = DeadLetterQuery::new().of_group("shipping");
    assert_eq!(listed("billing", theirs).await.len(), 2, "by name");

    let mut ids: Vec<_> = billing.iter().map(|it| it.id.clone()).collect();
    ids.insert(1, aqueduct::dead_letter::DeadLetterId("77".into()));
    let kinds: Vec<_> = client.redrive("billing", &ids).await.unwrap();
    let kinds: Vec<_> = kinds
        .iter()
        .map(|it| it.as_ref().err().map(|e| e.kind()))
        .collect();
    let missing = Some(aqueduct::ErrorKind::NotFound);
    assert_eq!(kinds, [None, missing, None, None, None]);
    assert!(
        listed("billing", DeadLetterQuery::new()).await.is_empty(),
        "of both streams"
    );
    assert_eq!(listed("shipping", DeadLetterQuery::new()).await.len(), 2);
    let consumer = client.consumer("billing").await.unwrap();
    for _ in 0..4 {
        let delivery = consumer.receive().await.unwrap().unwrap();
        let same = |it: &&aqueduct::dead_letter::StoredDeadLetter| {
            it.dead_letter.event.id() == delivery.event().id()
        };
        assert!(billing.iter().any(|it| same(&it)));
        delivery.ack().await.unwrap();
    }
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn a_rejection_stops_the_pull_loop_where_the_group_says_so() {
    let test = TestClient::new(SHOP).await.unwrap();
    send(&test, "orders", 1).await;
    let consumer = test.client().consumer("stopping").await.unwrap();
    let delivery = consumer.receive().await.unwrap().unwrap();
    delivery.reject("no such customer").await.unwrap();
    let error = consumer.receive().await.unwrap_err();
    assert!(error.to_string().contains("no such customer"), "{error}");
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn a_reader_follows_every_partition_and_children_after_their_parents() {
    let test = TestClient::new(SHOP).await.unwrap();
    let admin = test.client().admin("orders").await.unwrap();
    send(&test, "orders", 70).await;
    admin.reshard(9).await.unwrap();
    send(&test, "orders", 70).await;
    admin.reshard(2).await.unwrap();
    send(&test, "orders", 70).await;
    let mut reader = test
        .client()
        .reader("orders", Start::Earliest)
        .await
        .unwrap();
    let mut by_key = BTreeMap::<String, Vec<u32>>::new();
    let mut partitions = std::collections::BTreeSet::new();
    for _ in 0..210 {
        let read = reader.next().await.unwrap().unwrap();
        let key = read.event.key().unwrap().to_string();
        by_key
            .entry(key)
            .or_default()
            .push(read.event.decode_json().unwrap());
        partitions.insert(read.partition);
    }
    assert!(partitions.len() > 4, "{partitions:?}");
    for (key, seen) in by_key {
        let once: Vec<u32> = (0..70).filter(|n| format!("{}", n % 7) == key).collect();
        assert_eq!(seen, [once.clone(), once.clone(), once].concat(), "{key}");
    }
}

#[tokio::test]
async fn a_reader_that_starts_at_the_latest_sees_what_comes_then() {
    let test = TestClient::new(SHOP).await.unwrap();
    send(&test, "orders", 20).await;
    let admin = test.client().admin("orders").await.unwrap();
    admin.reshard(6).await.unwrap();
    let mut reader = test.client().reader("orders", Start::Latest).await.unwrap();
    assert!(reader.next().now_or_never().is_none());
    send(&test, "orders", 3).await;
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let read = StreamExt::next(&mut reader).await.unwrap().unwrap();
        seen.push(read.event.decode_json::<u32>().unwrap());
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2]);
}

#[tokio::test]
async fn a_reader_waits_for_every_parent_of_a_partition_that_was_merged_meanwhile() {
    let test = TestClient::new(
        "[client]\nsource = \"/shop\"\n[streams.orders]\nurl = \"memory:\"\npartitions = 8",
    )
    .await
    .unwrap();
    let producer = test.client().producer("orders").await.unwrap();
    let busy = |range: std::ops::Range<u32>| {
        let events = range.map(|n| Event::json("n", &n).unwrap().with_key("busy"));
        producer.send_all(events.collect())
    };
    busy(0..5_000).await.unwrap();
    let mut reader = test
        .client()
        .reader("orders", Start::Earliest)
        .await
        .unwrap();
    let admin = test.client().admin("orders").await.unwrap();
    admin.reshard(1).await.unwrap();
    busy(5_000..5_100).await.unwrap();
    for expected in 0..5_100 {
        let read = reader.next().await.unwrap().unwrap();
        assert_eq!(read.event.decode_json::<u32>().unwrap(), expected);
    }
}
