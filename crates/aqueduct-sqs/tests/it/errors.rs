use aqueduct_core::{ErrorKind, Event};
use aqueduct_emulators::HttpFault;
use aws_sdk_sqs::types::QueueAttributeName;

use crate::common;
use crate::support::{queue_url, simulate};

#[test]
fn a_missing_queue_and_an_answer_of_somebody_else_say_so() {
    simulate(async |place| {
        let missing = common::resource(&place.aws, "sqs://nowhere");
        let error = missing.producer(&place.runtime).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("nowhere"), "{error}");
        place
            .faults
            .inject("GetQueueUrl", HttpFault::Answer("<html>Welcome</html>"));
        let error = missing.producer(&place.runtime).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().contains("endpoint"), "{error}");
        assert!(!error.to_string().contains("Welcome"), "{error}");
    });
}

#[test]
fn a_redrive_policy_that_would_bury_innocents_is_refused_or_accepted_by_name() {
    simulate(async |place| {
        let (orders, plain) = (place.resource("sqs://o.fifo"), place.resource("sqs://o"));
        let client = place.client().await;
        for resource in [&orders, &plain] {
            resource.producer(&place.runtime).await.unwrap();
            let url = queue_url(&client, resource.stream().as_str()).await;
            let policy = r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead.fifo","maxReceiveCount":"3"}"#;
            let set = client.set_queue_attributes().queue_url(url);
            let set = set.attributes(QueueAttributeName::RedrivePolicy, policy);
            set.send().await.unwrap();
        }
        let error = orders.source(&place.runtime).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        let said = error.to_string();
        assert!(
            said.contains("after 3 receipts") && said.contains("native_redrive"),
            "{said}"
        );
        let accepted = place.resource("sqs://o.fifo?native_redrive=accept");
        assert!(accepted.source(&place.runtime).await.is_ok());
        assert!(
            plain.source(&place.runtime).await.is_ok(),
            "a standard queue accepts the policy: messages do not wait behind others"
        );
        let error = plain.dead_letters(&place.runtime).await.err().unwrap();
        assert!(
            error
                .to_string()
                .contains("remove the policy from a queue for dead letters"),
            "{error}"
        );
    });
}

#[test]
fn each_entry_of_a_request_has_an_outcome_of_its_own() {
    simulate(async |place| {
        let orders = place.resource("sqs://o");
        let producer = orders.producer(&place.runtime).await.unwrap();
        let one = |n: &str, key: &str| Event::new("t").with_id(n).with_source("/s").with_key(key);
        let events = [one("1", "a"), one("2", "b"), one("3", "a")];
        let answer = r#"{"Successful":[{"Id":"1","MessageId":"m","MD5OfMessageBody":"x"}],
            "Failed":[{"Id":"0","SenderFault":false,"Code":"InternalError","Message":"sorry"}]}"#;
        place
            .faults
            .inject("SendMessageBatch", HttpFault::Answer(answer));
        let outcomes = producer.send_batch(&events).await.into_outcomes();
        let kinds: Vec<_> = outcomes
            .iter()
            .map(|it| it.as_ref().err().map(|e| e.kind()))
            .collect();
        assert_eq!(
            kinds,
            [Some(ErrorKind::Unavailable), None, Some(ErrorKind::Blocked)]
        );
        assert_eq!(place.faults.requests("SendMessageBatch"), 1);
        producer.send_batch(&events).await.into_result().unwrap();
        let lag = orders
            .admin(&place.runtime)
            .await
            .unwrap()
            .lag(&"g".into())
            .await
            .unwrap();
        assert_eq!(lag[0].events, 3);
    });
}

#[test]
fn a_fifo_queue_is_sent_again_what_is_unknown_and_stores_it_once() {
    simulate(async |place| {
        let orders = place.resource("sqs://o.fifo");
        let producer = orders.producer(&place.runtime).await.unwrap();
        let one = |n: u32| {
            let key = (n % 3).to_string();
            Event::new("t")
                .with_id(n.to_string())
                .with_source("/s")
                .with_key(key)
        };
        let events: Vec<Event> = (0..9).map(one).collect();
        for fault in [
            HttpFault::LoseAnswer,
            HttpFault::LoseAnswer,
            HttpFault::Refuse,
        ] {
            place.faults.inject("SendMessageBatch", fault);
        }
        producer.send_batch(&events).await.into_result().unwrap();
        let admin = orders.admin(&place.runtime).await.unwrap();
        let lag = admin.lag(&"g".into()).await.unwrap();
        assert_eq!(lag[0].events, 9);
    });
}
