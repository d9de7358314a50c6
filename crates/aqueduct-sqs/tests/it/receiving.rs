use std::time::Duration;

use aqueduct_core::{
    DeadLetter, DeadLetterQuery, DeadLetterReason, Event, Revocation, Settlement, Timestamp,
};
use aqueduct_emulators::HttpFault;

use crate::common;
use crate::support::{queue_url, simulate};

fn event(key: &str, id: u32) -> Event {
    Event::bytes("t", "text/plain", "hello")
        .with_id(id.to_string())
        .with_source("/s")
        .with_key(key)
}

#[test]
fn a_foreign_message_is_delivered_as_such() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo");
        let consumer = place.consumer(&*orders).await;
        let client = place.client().await;
        let url = queue_url(&client, "o.fifo").await;
        let sent = client
            .send_message()
            .queue_url(url)
            .message_body("plain words");
        let sent = sent.message_group_id("VINET").message_deduplication_id("1");
        let id = sent.send().await.unwrap().message_id.unwrap();
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        assert!(delivery.event().is_foreign());
        assert_eq!(delivery.event().id().to_string(), id);
        assert_eq!(delivery.event().key(), Some("VINET"));
        assert_eq!(delivery.event().data().unwrap().as_ref(), b"plain words");
        delivery.ack().await.unwrap();
        consumer.close().await.unwrap();
    });
}

#[test]
fn a_lost_receipt_of_a_fifo_queue_is_asked_for_again_at_once() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo");
        let producer = orders.producer(&place.runtime).await.unwrap();
        let events = [event("a", 1), event("a", 2)];
        producer.send_batch(&events).await.into_result().unwrap();
        place.faults.inject("ReceiveMessage", HttpFault::LoseAnswer);
        let consumer = place.consumer(&*orders).await;
        let began = place.runtime.now();
        let run = consumer.receive_batch(2).await.unwrap();
        let waited = place.runtime.now().since(began);
        assert!(
            waited < Duration::from_secs(2),
            "visibility is 60 s, waited {waited:?}"
        );
        assert_eq!(run.len(), 2);
        for delivery in run {
            assert_eq!(delivery.attempt(), 1);
            delivery.ack().await.unwrap();
        }
        consumer.flush().await.unwrap();
        consumer.close().await.unwrap();
    });
}

#[test]
fn lost_answers_of_deletions_do_no_harm() {
    simulate(async |place| {
        let orders = place.resource("sqs://o");
        let producer = orders.producer(&place.runtime).await.unwrap();
        producer
            .send_batch(&[event("a", 1)])
            .await
            .into_result()
            .unwrap();
        let consumer = place.consumer(&*orders).await;
        for fault in [HttpFault::LoseAnswer, HttpFault::Refuse] {
            place.faults.inject("DeleteMessageBatch", fault);
        }
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        delivery.ack().await.unwrap();
        consumer.flush().await.unwrap();
        let lag = orders
            .admin(&place.runtime)
            .await
            .unwrap()
            .lag(&"g".into())
            .await
            .unwrap();
        assert_eq!(lag[0].events, 0);
        assert!(place.faults.requests("DeleteMessageBatch") >= 3);
        consumer.close().await.unwrap();
    });
}

#[test]
fn what_cannot_be_renewed_is_revoked_and_comes_again() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo?visibility=10s");
        let producer = orders.producer(&place.runtime).await.unwrap();
        let events = [event("a", 1), event("a", 2)];
        producer.send_batch(&events).await.into_result().unwrap();
        let consumer = place.consumer(&*orders).await;
        let mut run = consumer.receive_batch(2).await.unwrap();
        for _ in 0..40 {
            let refused = HttpFault::Refuse;
            place.faults.inject("ChangeMessageVisibilityBatch", refused);
        }
        let first = run.remove(0);
        assert_eq!(first.revoked().wait().await, Revocation::Expired);
        assert!(
            run[0].revoked().reason().is_some(),
            "what was behind it comes again too"
        );
        assert!(first.ack().await.is_err());
        drop(run);
        let again = consumer.receive_batch(2).await.unwrap();
        let seen: Vec<_> = again
            .iter()
            .map(|it| (it.event().id().to_string(), it.attempt()))
            .collect();
        assert_eq!(seen[0], ("1".to_owned(), 2));
        for delivery in again {
            let delay = Duration::from_secs(1);
            delivery.settle(Settlement::Defer { delay }).await.ok();
        }
        consumer.close().await.unwrap();
    });
}

#[test]
fn deadlines_are_twelve_hours_and_extensions_reach_the_service() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo");
        let producer = orders.producer(&place.runtime).await.unwrap();
        producer
            .send_batch(&[event("a", 1)])
            .await
            .into_result()
            .unwrap();
        let consumer = place.consumer(&*orders).await;
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        let left = delivery.deadline().unwrap().since(place.runtime.now());
        assert!(left > Duration::from_secs(43_000) && left < Duration::from_secs(43_200));
        let before = place.faults.requests("ChangeMessageVisibilityBatch");
        delivery.extend(Duration::from_secs(30)).await.unwrap();
        assert_eq!(
            place.faults.requests("ChangeMessageVisibilityBatch"),
            before
        );
        delivery.extend(Duration::from_secs(3600)).await.unwrap();
        assert_eq!(
            place.faults.requests("ChangeMessageVisibilityBatch"),
            before + 1
        );
        assert!(delivery.extend(Duration::from_secs(50_000)).await.is_err());
        delivery.ack().await.unwrap();
        consumer.close().await.unwrap();
    });
}

#[test]
fn a_cut_letter_is_shown_and_not_redriven() {
    simulate(async |place| {
        let dead_letters = place
            .resource("sqs://dlq")
            .dead_letters(&place.runtime)
            .await
            .unwrap();
        let large = event("a", 1).with_data(vec![7; 1 << 20]);
        let (stream, group) = ("orders".into(), "billing".into());
        let reason = DeadLetterReason::Exhausted;
        let dead_letter = DeadLetter::new(large, stream, group, reason, "boom", Timestamp::EPOCH);
        dead_letters.put(&[dead_letter]).await.remove(0).unwrap();
        let found = dead_letters
            .list(&DeadLetterQuery::default())
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert!(found[0].dead_letter.message.contains("of 1048576 bytes"));
        assert_eq!(found[0].dead_letter.stream.as_str(), "orders");
        let producer = place
            .resource("sqs://o")
            .producer(&place.runtime)
            .await
            .unwrap();
        let ids = [found[0].id.clone()];
        let error = dead_letters
            .redrive(&ids, &*producer)
            .await
            .remove(0)
            .unwrap_err();
        assert!(error.to_string().contains("only part"), "{error}");
        assert!(
            dead_letters.show(&ids[0]).await.unwrap().is_some(),
            "it stays"
        );
    });
}

#[test]
fn other_processes_reach_the_emulator_on_a_port() {
    let (tokio, runtime) = common::real_time();
    tokio.block_on(async {
        let server = common::sqs(&runtime).serve_on(0).await.unwrap();
        let aws = aqueduct_aws::Aws::new().with_credentials(aqueduct_emulators::test_credentials());
        let url = format!("sqs://o.fifo?create=missing&endpoint={}", server.endpoint());
        let orders = common::resource(&aws, &url);
        let producer = orders.producer(&runtime).await.unwrap();
        producer
            .send_batch(&[event("a", 1)])
            .await
            .into_result()
            .unwrap();
        let lag = orders
            .admin(&runtime)
            .await
            .unwrap()
            .lag(&"g".into())
            .await
            .unwrap();
        assert_eq!(lag[0].events, 1);
        let missing = common::resource(
            &aws,
            &url.replace("create=missing", "create=never")
                .replace("o.fifo", "p"),
        );
        let error = missing.producer(&runtime).await.err().unwrap();
        assert_eq!(error.kind(), aqueduct_core::ErrorKind::NotFound);
    });
}
