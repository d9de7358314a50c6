use std::time::Duration;

use aqueduct_emulators::{EventHubs, EventHubsFault, EventHubsOptions};
use fe2o3_amqp::link::SendError;
use fe2o3_amqp::types::messaging::Outcome;
use fe2o3_amqp::types::primitives::{SimpleValue, Value};

use super::client::{
    Client, batch, encoded, event, is_accepted, receive, soon, start, start_with, try_receive,
    until,
};

const HUB: &str = "orders/Partitions/0";
const EARLIEST: &str = "x-opt-offset > '-1'";

fn stored(hubs: &EventHubs) -> usize {
    hubs.events("orders", 0).len()
}

/// Waits until the connection is gone. This client may wait for the outcome for ever then.
async fn lost(hubs: &EventHubs, send: impl Future<Output = Result<Outcome, SendError>>) {
    tokio::select! {
        sent = send => assert!(sent.is_err(), "{sent:?}"),
        () = until("the connection is gone", || hubs.connections() == 0) => {}
    }
    until("the connection is gone", || hubs.connections() == 0).await;
}

#[tokio::test]
async fn outcomes_that_are_no_success_store_nothing() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender(HUB).await;
    hubs.inject(HUB, EventHubsFault::Busy);
    hubs.inject(
        HUB,
        EventHubsFault::Reject("test:reason".to_owned(), "because".to_owned()),
    );
    hubs.inject(HUB, EventHubsFault::Release);
    hubs.inject(HUB, EventHubsFault::Modify);
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        outcomes.push(soon("send", sender.send(event("x", None))).await.unwrap());
    }
    let [busy, rejected, released, modified, accepted] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(
        format!("{busy:?}").contains("com.microsoft:server-busy"),
        "{busy:?}"
    );
    assert!(
        format!("{rejected:?}").contains("test:reason"),
        "{rejected:?}"
    );
    assert!(matches!(released, Outcome::Released(_)), "{released:?}");
    assert!(matches!(modified, Outcome::Modified(_)), "{modified:?}");
    assert!(matches!(accepted, Outcome::Accepted(_)), "{accepted:?}");
    assert_eq!((stored(&hubs), hubs.pending_faults()), (1, 0));
}

#[tokio::test]
async fn a_cut_before_or_after_the_store_looks_the_same_to_the_client() {
    let hubs = start().await;
    for (fault, after) in [(EventHubsFault::Cut, 0), (EventHubsFault::CutAfterStore, 1)] {
        let mut client = Client::open(&hubs).await;
        let mut sender = client.sender(HUB).await;
        hubs.inject(HUB, fault.clone());
        lost(&hubs, sender.send(event("x", None))).await;
        assert_eq!(stored(&hubs), after, "{fault:?}");
    }
}

#[tokio::test]
async fn a_cut_in_the_middle_of_a_batch_stores_none_of_it() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender(HUB).await;
    hubs.inject(HUB, EventHubsFault::CutMidDelivery);
    let events = (0..20).map(|_| event(vec![1; 10_000], None)).collect();
    lost(&hubs, sender.send(batch(events, None))).await;
    assert_eq!((stored(&hubs), hubs.pending_faults()), (0, 0));
}

#[tokio::test]
async fn settlements_are_slow_or_lost() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender(HUB).await;
    let wait = Duration::from_millis(300);
    hubs.inject(HUB, EventHubsFault::SlowSettlement(wait));
    let began = std::time::Instant::now();
    let sent = soon("send", sender.send(event("x", None))).await;
    assert!(is_accepted(&sent) && began.elapsed() >= wait, "{sent:?}");
    hubs.inject(HUB, EventHubsFault::LoseSettlement);
    let lost = tokio::time::timeout(wait, sender.send(event("x", None))).await;
    assert!(lost.is_err(), "{lost:?}");
    until("it is stored", || stored(&hubs) == 2).await;
    let sent = soon("send", sender.send(event("x", None))).await;
    assert!(is_accepted(&sent), "{sent:?}");
}

#[tokio::test]
async fn a_silent_connection_stays_open_and_a_new_one_works() {
    let hubs = start().await;
    hubs.publish("orders", 0, encoded(event("one", None)));
    let mut client = Client::open(&hubs).await;
    let mut receiver = client.receiver(0, EARLIEST).await;
    receive(&mut receiver).await;
    hubs.silence_connections();
    hubs.publish("orders", 0, encoded(event("two", None)));
    let silence = Duration::from_millis(200);
    let nothing = tokio::time::timeout(silence, try_receive(&mut receiver)).await;
    assert!(nothing.is_err(), "{nothing:?}");
    assert_eq!(hubs.connections(), 1);
    let mut other = Client::open(&hubs).await;
    let mut again = other.receiver(0, "x-opt-sequence-number > '0'").await;
    assert_eq!(receive(&mut again).await.body, b"two");
    hubs.cut_connections();
    soon("cut", try_receive(&mut receiver)).await.unwrap_err();
    soon("cut", try_receive(&mut again)).await.unwrap_err();
}

#[tokio::test]
async fn refused_connections_close_at_once() {
    let hubs = start().await;
    hubs.refuse_connections(true);
    let endpoint = hubs.endpoint();
    let open = || fe2o3_amqp::Connection::open("test", endpoint.as_str());
    assert!(soon("open", open()).await.is_err());
    hubs.refuse_connections(false);
    soon("open", open()).await.unwrap();
}

#[tokio::test]
async fn a_receiver_is_cut_or_detached_before_an_event() {
    let hubs = start().await;
    hubs.publish("orders", 0, encoded(event("one", None)));
    let node = "orders/ConsumerGroups/$Default/Partitions/0";
    let fault = EventHubsFault::Detach("amqp:internal-error".to_owned(), "on demand".to_owned());
    hubs.inject(node, fault);
    let mut client = Client::open(&hubs).await;
    let mut receiver = client.receiver(0, EARLIEST).await;
    let error = soon("detach", try_receive(&mut receiver))
        .await
        .unwrap_err();
    assert!(format!("{error:?}").contains("on demand"), "{error:?}");
    hubs.inject(node, EventHubsFault::Cut);
    let mut receiver = client.receiver(0, EARLIEST).await;
    soon("cut", try_receive(&mut receiver)).await.unwrap_err();
    let mut client = Client::open(&hubs).await;
    let mut receiver = client.receiver(0, EARLIEST).await;
    assert_eq!(receive(&mut receiver).await.body, b"one");
}

#[tokio::test]
async fn tokens_and_attaches_are_refused_on_demand() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    hubs.inject("$cbs", EventHubsFault::Unauthorized);
    let put = |name: &str| {
        let text = |text: &str| SimpleValue::String(text.to_owned());
        vec![("operation", text("put-token")), ("name", text(name))]
    };
    for expected in [401, 202] {
        let token = Value::String("token".to_owned());
        let (status, _) = client.request("$cbs", put("orders"), token).await;
        assert_eq!(status, expected);
    }
    let fault = EventHubsFault::RefuseAttach("test:refused".to_owned(), "on demand".to_owned());
    hubs.inject("orders", fault);
    let refused = match client.try_sender("orders").await {
        Err(error) => format!("{error:?}"),
        Ok(mut sender) => format!("{:?}", soon("refusal", sender.on_detach()).await),
    };
    assert!(refused.contains("test:refused"), "{refused}");
}

#[tokio::test]
async fn a_partition_that_gets_too_much_is_throttled() {
    let hubs = start_with(EventHubsOptions::new().with_throughput(10)).await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender(HUB).await;
    soon("throttling", async {
        loop {
            let events = (0..10).map(|_| event("x", None)).collect();
            let sent = sender.send(batch(events, None)).await.unwrap();
            if matches!(&sent, Outcome::Rejected(_)) {
                assert!(format!("{sent:?}").contains("server-busy"), "{sent:?}");
                return;
            }
        }
    })
    .await;
    soon("recovery", async {
        while !is_accepted(&sender.send(event("x", None)).await) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn latency_is_added_to_each_round_trip() {
    let latency = Duration::from_millis(20);
    let hubs = start_with(EventHubsOptions::new().with_latency(latency)).await;
    let mut client = Client::open(&hubs).await;
    let mut sender = client.sender(HUB).await;
    let began = std::time::Instant::now();
    for _ in 0..5 {
        soon("send", sender.send(event("x", None))).await.unwrap();
    }
    assert!(began.elapsed() >= 5 * latency);
}

#[tokio::test]
async fn a_link_is_redirected_and_the_port_moves() {
    let hubs = start().await;
    let mut client = Client::open(&hubs).await;
    let redirect = EventHubsFault::Redirect("elsewhere.example".to_owned(), 5671);
    hubs.inject("orders", redirect);
    let refused = match client.try_sender("orders").await {
        Err(error) => format!("{error:?}"),
        Ok(mut sender) => format!("{:?}", soon("refusal", sender.on_detach()).await),
    };
    assert!(
        refused.contains("Redirect") && refused.contains("elsewhere.example"),
        "{refused}"
    );
    hubs.publish("orders", 0, encoded(event("one", None)));
    let before = hubs.port();
    assert_ne!(hubs.move_port().await.unwrap(), before);
    until("the connection is cut", || hubs.connections() == 0).await;
    assert!(
        tokio::net::TcpStream::connect(("127.0.0.1", before))
            .await
            .is_err()
    );
    let mut client = Client::open(&hubs).await;
    let mut receiver = client.receiver(0, EARLIEST).await;
    assert_eq!(receive(&mut receiver).await.body, b"one");
}
