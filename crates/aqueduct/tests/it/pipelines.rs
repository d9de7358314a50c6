//! Pipelines: what arrives where, what comes again, and what is refused.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aqueduct::router::{Condition, Route};
use aqueduct::testing::TestClient;
use aqueduct::{Client, DeadLetterQuery, Environment, ErrorKind, Event, Reader, Start};

const STREAMS: &str = r#"
[client]
source = "/shop"
[streams.orders]
url = "memory:"
[streams.a]
url = "memory:"
[streams.b]
url = "memory:"
max_event_bytes = "1KiB"
[stores.letters]
url = "memory:"
[groups.copier]
stream = "orders"
dead_letters = "letters"
redelivery = { first = "1ms", max = "5ms" }
"#;

fn order(n: u32, total: u32) -> Event {
    let data = BTreeMap::from([("n", n), ("total", total)]);
    let event = Event::json("order.placed", &data).unwrap();
    event.with_key(format!("k{}", n % 5))
}

async fn next(reader: &mut Reader) -> Event {
    let read = tokio::time::timeout(Duration::from_secs(30), reader.next());
    let read = read.await.expect("the event arrives in time").unwrap();
    read.expect("the stream goes on").event
}

#[tokio::test]
async fn events_are_filtered_set_and_routed_by_configuration_alone() {
    let test = TestClient::new(&format!(
        r#"{STREAMS}
        [routes.by-total]
        default = "a"
        [[routes.by-total.rules]]
        when = "data.total > 100"
        to = ["a", "b"]
        [pipelines.copy]
        group = "copier"
        filter = "data.total > 5"
        set = {{ subject = "copied", attributes = {{ via = "copy" }} }}
        route = "by-total"
        "#
    ))
    .await
    .unwrap();
    let client = test.client();
    let orders = client.producer("orders").await.unwrap();
    let totals = [50, 1, 200, 3, 300, 60];
    for (n, total) in (0..).zip(totals) {
        orders.send(order(n, total)).await.unwrap();
    }
    let pipeline = client.pipeline("copy").await.unwrap();
    let control = pipeline.control();
    let running = client.runtime().spawn(pipeline.run_to_end());
    let mut a = client.reader("a", Start::Earliest).await.unwrap();
    let mut b = client.reader("b", Start::Earliest).await.unwrap();
    let total = |event: &Event| event.decode_json::<BTreeMap<String, u32>>().unwrap()["total"];
    let (mut in_a, mut in_b) = (Vec::new(), Vec::new());
    while in_a.len() < 4 {
        let event = next(&mut a).await;
        assert_eq!(event.subject(), Some("copied"));
        assert_eq!(
            event.attributes().get("via").and_then(|via| via.as_str()),
            Some("copy")
        );
        assert_eq!(event.source(), "/shop");
        in_a.push(total(&event));
    }
    while in_b.len() < 2 {
        in_b.push(total(&next(&mut b).await));
    }
    in_a.sort();
    in_b.sort();
    assert_eq!((in_a, in_b), (vec![50, 60, 200, 300], vec![200, 300]));
    control.stop();
    running.await.unwrap().unwrap();
    client.check().unwrap();
}

#[tokio::test]
async fn what_can_never_be_sent_becomes_a_dead_letter_with_its_reason() {
    let builder = Client::builder().toml(STREAMS);
    let client = builder
        .environment(Environment::empty())
        .build()
        .await
        .unwrap();
    let orders = client.producer("orders").await.unwrap();
    let large = Event::bytes("large", "text/plain", vec![b'x'; 2000]);
    for event in [
        large,
        Event::new("nowhere"),
        Event::new("untold"),
        Event::new("fine"),
    ] {
        orders.send(event).await.unwrap();
    }
    let router = |event: &Event| match event.kind() {
        "nowhere" => Route::Nowhere,
        "fine" => Route::one("a"),
        _ => Route::all(vec!["a".into(), "b".into()]),
    };
    let total = Condition::kind("untold")
        .negated()
        .or(Condition::cel("data.total > 1").unwrap());
    let pipeline = client
        .pipeline_of("copier", router)
        .await
        .unwrap()
        .filter(total);
    let control = pipeline.control();
    let running = client.runtime().spawn(pipeline.run_to_end());
    let mut a = client.reader("a", Start::Earliest).await.unwrap();
    let kinds = [next(&mut a).await, next(&mut a).await].map(|it| it.kind().to_owned());
    assert!(
        kinds.contains(&"large".into()) && kinds.contains(&"fine".into()),
        "{kinds:?}"
    );
    let letters = client.dead_letters("copier").await.unwrap();
    let listed = async {
        loop {
            let listed = letters.list(&DeadLetterQuery::default()).await.unwrap();
            if listed.len() == 3 {
                return listed;
            }
            tokio::task::yield_now().await;
        }
    };
    let listed = tokio::time::timeout(Duration::from_secs(60), listed)
        .await
        .unwrap();
    control.stop();
    running.await.unwrap().unwrap();
    for (kind, parts) in [
        ("large", &["stream b", "stored in a"][..]),
        ("nowhere", &["names no stream"]),
        ("untold", &["data.total > 1"]),
    ] {
        let found = listed
            .iter()
            .find(|it| it.dead_letter.event.kind() == kind)
            .unwrap();
        let said = format!("{:?}", found.dead_letter);
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    }
}

#[tokio::test]
async fn what_some_targets_lack_is_sent_to_those_alone() {
    let pipeline = "[pipelines.p]\ngroup = \"copier\"\nto = [\"a\", \"b\"]";
    let test = TestClient::new(&format!("{STREAMS}{pipeline}"))
        .await
        .unwrap();
    let client = test.client();
    let orders = client.producer("orders").await.unwrap();
    for n in 0..20 {
        orders.send(order(n, 1)).await.unwrap();
    }
    let seen = Arc::new(AtomicU32::new(0));
    let handled = seen.clone();
    let pipeline = client.pipeline("p").await.unwrap();
    let b = test.backend().faults("b");
    b.deny(true);
    let pipeline = pipeline.map(move |event| {
        handled.fetch_add(1, Ordering::Relaxed);
        Ok(event)
    });
    let control = pipeline.control();
    let running = client.runtime().spawn(pipeline.run_to_end());
    // The first event of each of five keys is tried again and again, and holds back the others.
    let tried = async {
        while seen.load(Ordering::Relaxed) < 20 {
            test.clock().advance(Duration::from_millis(10));
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), tried)
        .await
        .unwrap();
    let first: Vec<_> = test.published("a").await.unwrap();
    assert_eq!(
        first.len(),
        5,
        "each is in a once, however often it was tried"
    );
    b.deny(false);
    test.wait_until_drained("copier").await.unwrap();
    control.stop();
    running.await.unwrap().unwrap();
    for stream in ["a", "b"] {
        let mut numbers: BTreeMap<String, Vec<u32>> = BTreeMap::new();
        for event in test.published(stream).await.unwrap() {
            let n = event.decode_json::<BTreeMap<String, u32>>().unwrap()["n"];
            let key = event.key().unwrap_or_default().to_owned();
            numbers.entry(key).or_default().push(n);
        }
        for (key, numbers) in (0..5).zip(numbers.values()) {
            assert_eq!(*numbers, [key, key + 5, key + 10, key + 15], "{stream}");
        }
    }
}

#[tokio::test]
async fn pipelines_that_cannot_be_meant_are_refused() {
    for (pipeline, parts) in [
        (
            "to = \"a\"",
            &["pipelines.p.group: it is missing", "declared: copier"][..],
        ),
        (
            "group = \"x\"\nto = \"a\"",
            &["pipelines.p.group = \"x\"", "declared: copier"],
        ),
        ("group = \"copier\"", &["pipelines.p.to: it is missing"]),
        (
            "group = \"copier\"\nto = \"x\"",
            &["pipelines.p.to = \"x\"", "unknown stream `x`"],
        ),
        (
            "group = \"copier\"\nto = \"a\"\nroute = \"r\"",
            &["pipelines.p.route", "`to` already"],
        ),
        (
            "group = \"copier\"\nto = \"a\"\nfilter = \"data.total >\"",
            &["pipelines.p.filter", "line 1, column 13"],
        ),
        (
            "group = \"copier\"\nto = \"a\"\nset = { attributes = { Via = \"x\" } }",
            &["pipelines.p.set.attributes.Via"],
        ),
        (
            "group = \"copier\"\nto = \"a\"\nset = { kind = \"x\" }",
            &["pipelines.p.set.kind"],
        ),
        (
            "group = \"copier\"\nto = \"a\"\nnope = 1",
            &["pipelines.p.nope", "no such option"],
        ),
    ] {
        let toml = format!("{STREAMS}[pipelines.p]\n{pipeline}");
        let builder = Client::builder()
            .toml(toml)
            .environment(Environment::empty());
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in parts {
            let error = error.to_string();
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    }
}

#[tokio::test]
async fn events_that_would_circle_are_refused_at_the_check() {
    let two = r#"
        [groups.back]
        stream = "a"
        on_reject = "stop"
        [pipelines.p]
        group = "copier"
        to = ["a", "b"]
        [pipelines.q]
        group = "back"
        to = "orders"
    "#;
    let own = "[pipelines.p]\ngroup = \"copier\"\nto = [\"a\", \"orders\"]";
    let missing = "[pipelines.p]\ngroup = \"copier\"\nroute = \"nope\"";
    for (toml, part) in [
        (two, "pipeline q brings its events back"),
        (own, "one of its targets is the stream that it reads"),
        (missing, "unknown route"),
    ] {
        let test = TestClient::new(&format!("{STREAMS}{toml}")).await.unwrap();
        let checked = test.client().check().unwrap_err().to_string();
        assert!(checked.contains(part), "{checked}");
        let opened = test.client().pipeline("p").await.unwrap_err().to_string();
        assert!(opened.contains(part), "{opened}");
    }
    let test = TestClient::new(STREAMS).await.unwrap();
    let unknown = test.client().pipeline("p").await.unwrap_err().to_string();
    assert!(unknown.contains("unknown pipeline `p`"), "{unknown}");
}
