//! `[[routes.NAME.rules]]`: conditions, balancing, and what cannot be meant.

use std::collections::BTreeMap;

use aqueduct::router::{Condition, Matching, RouterExt, Targets};
use aqueduct::testing::TestClient;
use aqueduct::{Client, Environment, ErrorKind, Event, Route, SmallStr};

const STREAMS: &str = r#"
[client]
source = "/shop"
[streams.a]
url = "memory:"
[streams.b]
url = "memory:"
[streams.c]
url = "memory:"
[streams.rest]
url = "memory:"
"#;

async fn client(routes: &str) -> TestClient {
    TestClient::new(&format!("{STREAMS}{routes}"))
        .await
        .unwrap()
}

/// Sends an event and returns the streams that have it.
async fn send(test: &TestClient, event: Event) -> Vec<SmallStr> {
    let router = test.client().router("r").await.unwrap();
    let routed = router.send(event).await.unwrap();
    routed.into_iter().map(|it| it.stream).collect()
}

fn order(total: i64) -> Event {
    Event::json("order.placed", &BTreeMap::from([("total", total)])).unwrap()
}

#[tokio::test]
async fn the_first_rule_that_holds_decides() {
    let test = client(
        r#"
        [routes.r]
        default = "rest"
        type = { "cart.*" = "c" }
        [[routes.r.rules]]
        type = "heartbeat"
        to = "drop"
        [[routes.r.rules]]
        type = "order.*"
        when = "data.total > 100"
        to = ["a", "b"]
        [[routes.r.rules]]
        type = "order.*"
        subject = "eu/*"
        attributes = { priority = "3" }
        to = "b"
        [[routes.r.rules]]
        from = "2026-01-01T00:00:00Z"
        until = "2026-02-01T00:00:00Z"
        to = "a"
        "#,
    )
    .await;
    let january = "2026-01-31T23:59:59Z".parse().unwrap();
    let february = "2026-02-01T00:00:00Z".parse().unwrap();
    let european = || {
        order(5)
            .with_subject("eu/fr")
            .with_attribute("priority", 3)
            .unwrap()
    };
    for (event, expected) in [
        (Event::new("heartbeat"), &[][..]),
        (order(101), &["a", "b"]),
        (european(), &["b"]),
        (order(5).with_time(february), &["rest"]),
        (order(5).with_time(january), &["a"]),
        (Event::new("cart.opened").with_time(february), &["c"]),
    ] {
        assert_eq!(send(&test, event.clone()).await, expected, "{event:?}");
    }
    let router = test.client().router("r").await.unwrap();
    let untold = Event::new("order.placed").with_data("{}");
    let error = router.send(untold).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("`data.total > 100`"), "{error}");
}

#[tokio::test]
async fn all_rules_that_hold_count_once() {
    let test = client(
        r#"
        [routes.r]
        default = "rest"
        match = "all"
        [[routes.r.rules]]
        type = "order.*"
        to = ["a", "b"]
        [[routes.r.rules]]
        key = "VIP-*"
        to = ["b", "c"]
        "#,
    )
    .await;
    assert_eq!(
        send(&test, order(1).with_key("VIP-1")).await,
        ["a", "b", "c"]
    );
    assert_eq!(send(&test, order(1)).await, ["a", "b"]);
    assert_eq!(
        send(&test, Event::new("cart").with_key("VIP-1")).await,
        ["b", "c"]
    );
    assert_eq!(send(&test, Event::new("cart")).await, ["rest"]);
}

#[tokio::test]
async fn old_events_are_told_by_their_own_time() {
    let test = client(
        r#"
        [routes.r]
        default = "rest"
        [[routes.r.rules]]
        older_than = "1h"
        to = "a"
        "#,
    )
    .await;
    let old = "2001-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(send(&test, order(1).with_time(old)).await, ["a"]);
    assert_eq!(send(&test, order(1)).await, ["rest"]);
}

#[tokio::test]
async fn events_are_spread_over_the_targets() {
    let test = client(
        r#"
        [routes.r]
        default = "refuse"
        [[routes.r.rules]]
        type = "weighted"
        weights = { a = 3, b = 1 }
        [[routes.r.rules]]
        type = "keyed"
        to = ["a", "b", "c"]
        balance = "key"
        [[routes.r.rules]]
        type = "turns"
        to = ["a", "b", "c"]
        balance = "round-robin"
        "#,
    )
    .await;
    let mut weighted: BTreeMap<SmallStr, u32> = BTreeMap::new();
    for _ in 0..400 {
        let stream = send(&test, Event::new("weighted")).await.remove(0);
        *weighted.entry(stream).or_default() += 1;
    }
    assert!((298..=302).contains(&weighted["a"]), "{weighted:?}");
    let mut turns = BTreeMap::new();
    let mut keyed: BTreeMap<_, Vec<SmallStr>> = BTreeMap::new();
    for n in 0..60 {
        let stream = send(&test, Event::new("turns")).await.remove(0);
        *turns.entry(stream).or_insert(0) += 1;
        let key = format!("k{}", n % 10);
        let stream = send(&test, Event::new("keyed").with_key(key.as_str()))
            .await
            .remove(0);
        keyed.entry(key).or_default().push(stream);
    }
    assert!(turns.values().all(|count| *count == 20), "{turns:?}");
    for (key, streams) in &keyed {
        assert!(
            streams.iter().all(|stream| *stream == streams[0]),
            "{key}: {streams:?}"
        );
    }
}

#[tokio::test]
async fn rules_that_cannot_be_meant_are_refused() {
    for (rule, parts) in [
        (
            "type = \"x\"",
            &["routes.r.rules.1.to: it is missing", "declared: a, b"][..],
        ),
        (
            "to = \"nope\"",
            &["routes.r.rules.1.to = \"nope\"", "unknown stream `nope`"],
        ),
        (
            "to = \"a\"\nwhen = \"data.total >\"",
            &["routes.r.rules.1.when", "line 1, column 13"],
        ),
        (
            "to = \"a\"\nwhen = \"type\"",
            &[
                "routes.r.rules.1.when",
                "expected true or false, found a text",
            ],
        ),
        (
            "weights = { a = 1, b = 0 }",
            &["routes.r.rules.1.weights.b = \"0\"", "from 1 to"],
        ),
        (
            "weights = { nope = 1 }",
            &["routes.r.rules.1.weights.nope", "unknown stream `nope`"],
        ),
        (
            "to = \"a\"\nweights = { a = 1 }",
            &["routes.r.rules.1.weights", "`to` already"],
        ),
        (
            "to = [\"a\", \"b\"]\nbalance = \"random\"",
            &["routes.r.rules.1.balance", "least-in-flight"],
        ),
        (
            "to = \"drop\"\nbalance = \"key\"",
            &["routes.r.rules.1.balance", "no stream"],
        ),
        (
            "to = \"a\"\nfrom = \"2026-01-01T00:00:00Z\"\nuntil = \"2026-01-01T00:00:00Z\"",
            &["routes.r.rules.1.until", "not after `from`"],
        ),
        (
            "to = \"a\"\nfrom = \"yesterday\"",
            &["routes.r.rules.1.from", "yesterday"],
        ),
        (
            "to = \"a\"\nolder_than = \"0s\"",
            &["routes.r.rules.1.older_than", "greater than zero"],
        ),
        (
            "to = \"a\"\nkind = \"x\"",
            &["routes.r.rules.1.kind", "no such option"],
        ),
        (
            "to = \"a\"\nattributes = { Region = \"x\" }",
            &["routes.r.rules.1.attributes.Region", "a-z"],
        ),
    ] {
        let toml = format!("{STREAMS}[routes.r]\ndefault = \"refuse\"\n[[routes.r.rules]]\n{rule}");
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
    for (route, part) in [
        ("rules = \"a\"", "routes.r.rules: expected tables"),
        ("rules = [{ to = \"a\" }, \"a\"]", "tables or single values"),
        ("match = \"some\"", "expected first or all"),
    ] {
        let toml = format!("{STREAMS}[routes.r]\ndefault = \"refuse\"\n{route}");
        let builder = Client::builder()
            .toml(toml)
            .environment(Environment::empty());
        let error = builder.build().await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[tokio::test]
async fn routers_in_code_are_made_of_the_same_parts() {
    let big = Matching::first()
        .when(
            Condition::kind("order.*").and(Condition::cel("data.total > 100").unwrap()),
            "a",
        )
        .and_then(|it| it.when(Condition::kind("heartbeat"), Targets::Drop))
        .and_then(|it| it.otherwise(Targets::Refuse))
        .unwrap();
    let router = big.or_else(|_: &Event| Route::one("rest"));
    let builder = Client::builder()
        .toml(STREAMS)
        .environment(Environment::empty());
    let client = builder.router("r", router).build().await.unwrap();
    let r = client.router("r").await.unwrap();
    for (event, expected) in [
        (order(101), Some("a")),
        (order(1), Some("rest")),
        (Event::new("heartbeat"), None),
    ] {
        let routed = r.send(event).await.unwrap();
        let streams: Vec<_> = routed.iter().map(|it| it.stream.as_str()).collect();
        assert_eq!(streams, Vec::from_iter(expected));
    }
}
