//! The shop of the worker's tests.

use std::sync::{Arc, Mutex};

use aqueduct::testing::TestClient;
use aqueduct::{DeadLetterQuery, Event};

pub(crate) const SHOP: &str = r#"
[client]
source = "/shop"

[streams.orders]
url = "memory:"

[streams.returns]
url = "memory:"

[streams.orders-dlq]
url = "memory:"

[groups.billing]
stream = "orders"
dead_letters = "orders-dlq"
redelivery = { attempts = 3, first = "1s", max = "10s" }
timeout = "30s"
"#;

pub(crate) type Log = Arc<Mutex<Vec<(String, u32)>>>;

pub(crate) async fn shop(more: &str) -> TestClient {
    TestClient::new(&format!("{SHOP}\n{more}")).await.unwrap()
}

pub(crate) fn placed(key: &str, n: u32) -> Event {
    Event::json("order.placed", &n).unwrap().with_key(key)
}

pub(crate) async fn send(test: &TestClient, stream: &str, events: Vec<Event>) {
    let producer = test.client().producer(stream).await.unwrap();
    producer.send_all(events).await.unwrap();
}

pub(crate) async fn dead_letters(test: &TestClient) -> Vec<aqueduct::DeadLetter> {
    let dead_letters = test.client().dead_letters("billing").await.unwrap();
    let listed = dead_letters
        .list(&DeadLetterQuery::default())
        .await
        .unwrap();
    listed
        .into_iter()
        .map(|stored| stored.dead_letter)
        .collect()
}
