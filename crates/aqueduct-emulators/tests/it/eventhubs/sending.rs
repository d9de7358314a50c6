use aqueduct_emulators::EventHubsOptions;
use fe2o3_amqp::types::messaging::{Message, Outcome};
use fe2o3_amqp::types::primitives::{Array, Value};

use super::client::{
    BATCH, Client, batch, event, field, is_accepted, receive, soon, start, start_with,
};

#[tokio::test]
async fn a_key_leads_to_one_partition_and_no_key_to_each_in_turn() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender("orders").await;
    for number in 0..8 {
        let key = (number % 2 == 0).then_some("order-1");
        let sent = soon("send", sender.send(event(vec![number], key))).await;
        assert!(is_accepted(&sent), "{sent:?}");
    }
    let of_key = hubs.partition_of("orders", "order-1").unwrap();
    let keyed = hubs.events("orders", of_key);
    let keyed: Vec<_> = keyed
        .iter()
        .filter(|it| it.partition_key.is_some())
        .collect();
    assert_eq!(keyed.len(), 4);
    for partition in 0..4 {
        let events = hubs.events("orders", partition);
        let plain = events.iter().filter(|it| it.partition_key.is_none());
        assert_eq!(plain.count(), 1, "partition {partition}");
    }
    assert_eq!(hubs.violations(), []);
    client.close().await;
}

#[tokio::test]
async fn a_batch_is_stored_event_by_event_in_one_partition() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender("orders/Partitions/2").await;
    let events = (0..10)
        .map(|number| event(vec![number], Some("key")))
        .collect();
    let sent = soon("send", sender.send(batch(events, Some("key")))).await;
    assert!(is_accepted(&sent), "{sent:?}");
    let mut receiver = client.receiver(2, "x-opt-offset > '-1'").await;
    for number in 0..10_u8 {
        let seen = receive(&mut receiver).await;
        assert_eq!(seen.body, [number]);
        assert_eq!(seen.sequence_number, i64::from(number));
        assert_eq!(seen.key.as_deref(), Some("key"));
        assert_eq!(seen.last, Some(9), "the end of the partition");
    }
    assert_eq!(hubs.violations(), []);
}

#[tokio::test]
async fn a_delivery_of_many_frames_arrives_byte_for_byte() {
    let hubs = start_with(EventHubsOptions::new().with_max_frame_size(2048)).await;
    let mut client = Client::connect(&hubs.endpoint(), 1024).await;
    let mut sender = client.sender("orders/Partitions/0").await;
    let body: Vec<u8> = (0..200_000_u32).map(|it| (it % 251) as u8).collect();
    for _ in 0..5 {
        let sent = soon("send", sender.send(event(body.clone(), None))).await;
        assert!(is_accepted(&sent), "{sent:?}");
    }
    let mut receiver = client.receiver(0, "x-opt-offset > '-1'").await;
    for _ in 0..5 {
        assert_eq!(receive(&mut receiver).await.body, body);
    }
    assert_eq!(hubs.violations(), []);
}

/// 100 batches of a megabyte, from 4 links of one session at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_batches_on_several_links_keep_windows_and_delivery_ids() {
    let options = EventHubsOptions::new()
        .with_retained_events(10)
        .with_session_window(100);
    let hubs = start_with(options).await;
    let mut client = Client::open(&hubs).await;
    let mut sending = Vec::new();
    for partition in 0..4 {
        let mut sender = client
            .sender(&format!("orders/Partitions/{partition}"))
            .await;
        sending.push(tokio::spawn(async move {
            let events = (0..100).map(|_| event(vec![7; 10_000], None)).collect();
            let batch = batch(events, None);
            for _ in 0..25 {
                let sent = soon("send", sender.send_ref(&batch)).await;
                assert!(is_accepted(&sent), "{sent:?}");
            }
        }));
    }
    for sending in sending {
        sending.await.unwrap();
    }
    for partition in 0..4 {
        let last = hubs.events("orders", partition).pop().unwrap();
        assert_eq!(last.sequence_number, 2499);
    }
    assert_eq!(hubs.violations(), []);
}

#[tokio::test]
async fn a_delivery_over_the_limit_costs_the_link() {
    let hubs = start_with(EventHubsOptions::new().with_max_message_size(1000)).await;
    let mut client = Client::open(&hubs).await;
    let sender = client.sender("orders").await;
    assert_eq!(sender.max_message_size(), Some(1000));
    for partition in 0..4 {
        assert!(hubs.events("orders", partition).is_empty());
    }
}

#[tokio::test]
async fn an_empty_or_malformed_batch_is_rejected() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender("orders").await;
    let empty = fe2o3_amqp::Sendable::builder()
        .message(Message::builder().value("not a batch").build())
        .message_format(BATCH)
        .build();
    let sent = soon("send", sender.send(empty)).await.unwrap();
    assert!(matches!(sent, Outcome::Rejected(_)), "{sent:?}");
    let garbage = event("no message", None);
    let mut garbage = batch(vec![garbage], None);
    garbage.message.body = vec![b"\x00\x53".to_vec().into()].into_iter().collect();
    let sent = soon("send", sender.send(garbage)).await.unwrap();
    assert!(matches!(sent, Outcome::Rejected(_)), "{sent:?}");
    assert_eq!(hubs.violations().len(), 2);
    assert!(hubs.violations().iter().all(|it| it.rule == "message"));
}

#[tokio::test]
async fn hubs_and_partitions_that_do_not_exist_are_refused_by_name() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    for address in ["missing", "orders/Partitions/9", "orders/a/b/c"] {
        // The refusal may come as the end of the attach or of the link.
        let error = match client.try_sender(address).await {
            Err(error) => format!("{error:?}"),
            Ok(mut sender) => format!("{:?}", soon("send", sender.send(event("x", None))).await),
        };
        let name = address.rsplit('/').next().unwrap();
        assert!(error.contains(name), "{address}: {error}");
    }
}

#[tokio::test]
async fn management_describes_hubs_and_partitions() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let (status, reply) = client.read("eventhub", "orders", 1).await;
    assert_eq!(status, 200);
    let ids = field(&reply, "partition_ids");
    let expected = ["0", "1", "2", "3"].map(|id| Value::String(id.to_owned()));
    assert_eq!(ids, Value::Array(Array(expected.to_vec())));
    let mut sender = client.sender("orders/Partitions/1").await;
    for _ in 0..3 {
        soon("send", sender.send(event("x", None))).await.unwrap();
    }
    hubs.expire("orders", 1, 1);
    let (status, reply) = client.read("partition", "orders", 1).await;
    assert_eq!(status, 200);
    assert_eq!(field(&reply, "begin_sequence_number"), Value::Long(1));
    assert_eq!(
        field(&reply, "last_enqueued_sequence_number"),
        Value::Long(2)
    );
    assert_eq!(field(&reply, "is_partition_empty"), Value::Bool(false));
    assert_eq!(client.last_sequence_number("orders", 2).await, -1);
    assert_eq!(client.read("eventhub", "missing", 0).await.0, 404);
    client.close().await;
}
