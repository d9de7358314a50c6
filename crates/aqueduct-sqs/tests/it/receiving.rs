use std::time::Duration;

use aqueduct_core::{
    DeadLetter, DeadLetterQuery, DeadLetterReason, ErrorKind, Event, Revocation, Settlement,
    Timestamp,
};
use aqueduct_emulators::HttpFault;
use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::MessageAttributeValue;

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
fn messages_without_a_group_of_a_fifo_queue_stay_in_order() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo");
        orders.producer(&place.runtime).await.unwrap();
        let answer = r#"{"Messages":[
            {"MessageId":"1","ReceiptHandle":"r1","Body":"first"},
            {"MessageId":"2","ReceiptHandle":"r2","Body":"second"}]}"#;
        place
            .faults
            .inject("ReceiveMessage", HttpFault::Answer(answer));
        let consumer = place.consumer(&*orders).await;
        let mut run = consumer.receive_batch(2).await.unwrap();
        assert_eq!(run.len(), 2);
        let (second, first) = (run.pop().unwrap(), run.pop().unwrap());
        let delay = Some(Duration::from_secs(1));
        let nack = Settlement::Nack { delay, error: None };
        first.settle(nack).await.unwrap();
        assert_eq!(second.revoked().reason(), Some(Revocation::Superseded));
        drop(second);
        let again = consumer.receive_batch(2).await.unwrap();
        let bodies: Vec<_> = again.iter().map(|it| it.event().data().unwrap()).collect();
        assert_eq!(bodies, ["first", "second"]);
    });
}

#[test]
fn a_message_that_was_changed_on_its_way_is_asked_for_again() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo");
        let producer = orders.producer(&place.runtime).await.unwrap();
        let sent = producer.send_batch(&[event("a", 1)]).await;
        sent.into_result().unwrap();
        let changed = r#"{"Messages":[{"MessageId":"1","ReceiptHandle":"r1","Body":"jello",
            "MD5OfBody":"5d41402abc4b2a76b9719d911017c592"}]}"#;
        place
            .faults
            .inject("ReceiveMessage", HttpFault::Answer(changed));
        let consumer = place.consumer(&*orders).await;
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        assert_eq!(delivery.event().data().unwrap().as_ref(), b"hello");
        assert!(place.faults.requests("ReceiveMessage") >= 2);
        delivery.ack().await.unwrap();
        consumer.close().await.unwrap();

        let stored = r#"{"Successful":[{"Id":"0","MessageId":"m",
            "MD5OfMessageBody":"00000000000000000000000000000000"}],"Failed":[]}"#;
        place
            .faults
            .inject("SendMessageBatch", HttpFault::Answer(stored));
        let sent = producer.send_batch(&[event("a", 2)]).await;
        let error = sent.into_result().unwrap_err();
        assert!(error.to_string().contains("MD5"), "{error}");
        assert_eq!(error.effect(), aqueduct_core::Effect::Unknown);
    });
}

#[test]
fn a_sent_message_is_delayed() {
    simulate(async |place| {
        let orders = place.resource("sqs://o?delay=30s");
        let producer = orders.producer(&place.runtime).await.unwrap();
        let began = place.runtime.now();
        let sent = producer.send_batch(&[event("a", 1)]).await;
        sent.into_result().unwrap();
        let consumer = place.consumer(&*orders).await;
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        let waited = place.runtime.now().since(began);
        assert!(waited >= Duration::from_secs(30), "{waited:?}");
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
            "the followers are redelivered too"
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
fn a_dead_letter_that_does_not_fit_is_refused_whole() {
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
        let error = dead_letters
            .put(&[dead_letter])
            .await
            .remove(0)
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        let query = DeadLetterQuery::default();
        assert!(dead_letters.list(&query).await.unwrap().is_empty());
    });
}

#[test]
fn attributes_of_others_are_delivered_whole() {
    simulate(async |place| {
        let orders = place.resource("sqs://o");
        let consumer = place.consumer(&*orders).await;
        let client = place.client().await;
        let url = queue_url(&client, "o").await;
        let text = |text: &str| {
            let value = MessageAttributeValue::builder().data_type("String");
            value.string_value(text).build().unwrap()
        };
        let binary = MessageAttributeValue::builder()
            .data_type("Binary.gzip")
            .binary_value(Blob::new(b"\x00\xff"))
            .build()
            .unwrap();
        let sent = client
            .send_message()
            .queue_url(url)
            .message_body("{\"Records\":[]}")
            .message_attributes("An-Attribute", text("one"))
            .message_attributes("Other_Attribute", text("two"))
            .message_attributes("third", text("three"))
            .message_attributes("Blob", binary);
        sent.send().await.unwrap();
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        let attributes = delivery.event().attributes();
        assert_eq!(attributes.get("third").unwrap().as_str(), Some("three"));
        let whole = attributes.get("sqsattributes").unwrap().as_str().unwrap();
        let whole: serde_json::Value = serde_json::from_str(whole).unwrap();
        let expected = serde_json::json!({
            "An-Attribute": { "DataType": "String", "StringValue": "one" },
            "Other_Attribute": { "DataType": "String", "StringValue": "two" },
            "third": { "DataType": "String", "StringValue": "three" },
            "Blob": { "DataType": "Binary.gzip", "BinaryValue": "AP8=" },
        });
        assert_eq!(whole, expected);
        delivery.ack().await.unwrap();
        consumer.close().await.unwrap();
    });
}

#[test]
fn attributes_of_others_survive_dead_letter_and_redrive() {
    simulate(async |place| {
        let orders = place.resource("sqs://o");
        let consumer = place.consumer(&*orders).await;
        let client = place.client().await;
        let binary = MessageAttributeValue::builder()
            .data_type("Binary.gzip")
            .binary_value(Blob::new(b"\x00\xff"))
            .build()
            .unwrap();
        let sent = client
            .send_message()
            .queue_url(queue_url(&client, "o").await)
            .message_body(r#"{"TopicArn":"arn","MessageId":"1","Type":"Notification"}"#)
            .message_attributes("An-Attribute", binary);
        sent.send().await.unwrap();
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        let event = delivery.event().clone();
        let attribute = |event: &Event, name| {
            let value = event.attributes().get(name);
            value.unwrap().as_str().unwrap().to_owned()
        };
        let kind = "com.amazonaws.sns.Notification";
        assert_eq!(attribute(&event, "sqstype"), kind);
        let whole = attribute(&event, "sqsattributes");
        assert!(whole.contains("AP8="), "{whole}");

        let store = place.resource("sqs://dlq");
        let store = store.dead_letters(&place.runtime).await.unwrap();
        let (stream, group) = ("o".into(), "group".into());
        let reason = DeadLetterReason::Exhausted;
        let letter = DeadLetter::new(event.clone(), stream, group, reason, "no", Timestamp::EPOCH);
        store.put(&[letter]).await.remove(0).unwrap();
        delivery.ack().await.unwrap();
        let listed = store.list(&DeadLetterQuery::default()).await.unwrap();
        assert_eq!(listed[0].dead_letter.event, event);

        let redriven = listed[0].dead_letter.redriven().unwrap();
        let producer = orders.producer(&place.runtime).await.unwrap();
        let sent = producer.send_batch(&[redriven]).await;
        sent.into_result().unwrap();
        let delivery = consumer.receive_batch(1).await.unwrap().remove(0);
        assert_eq!(delivery.event().data(), event.data());
        assert_eq!(attribute(delivery.event(), "sqstype"), kind);
        assert_eq!(attribute(delivery.event(), "sqsattributes"), whole);
        delivery.ack().await.unwrap();
        consumer.close().await.unwrap();
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
