//! Tests of the application: a client on memory, and a clock that moves only when the test waits.
#![allow(clippy::unwrap_used)]

use aqueduct::testing::TestClient;
use aqueduct::{DeadLetterQuery, Event};
use testing_an_application::{CONFIG, Order, billing};

async fn place(test: &TestClient, number: u32, cents: u64) {
    let order = Order { number, cents };
    let event = Event::json("order.placed", &order).unwrap();
    let orders = test.client().producer("orders").await.unwrap();
    orders.send(event.with_key("alice")).await.unwrap();
}

#[tokio::test]
async fn an_order_is_charged_and_its_payment_published() {
    let test = TestClient::new(CONFIG).await.unwrap();
    place(&test, 1, 950).await;

    let payments = test.client().producer("payments").await.unwrap();
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(billing(worker, payments));
    test.wait_until_drained("billing").await.unwrap();

    let paid = test
        .assert_published("payments", |event| event.kind() == "order.paid")
        .await;
    assert_eq!(paid.decode_json::<u32>().unwrap(), 1);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_order_that_keeps_failing_becomes_a_dead_letter_and_the_next_one_is_charged() {
    let test = TestClient::new(CONFIG).await.unwrap();
    place(&test, 1, 0).await;
    place(&test, 2, 950).await;

    let payments = test.client().producer("payments").await.unwrap();
    let worker = test.client().worker("billing").await.unwrap();
    let running = test.start(billing(worker, payments));
    // Three attempts with a back-off of up to two hours between them: no time at all.
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();

    let store = test.client().dead_letters("billing").await.unwrap();
    let dead = store.list(&DeadLetterQuery::default()).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].dead_letter.failures.len(), 3);
    assert_eq!(test.published("payments").await.unwrap().len(), 1);
}
