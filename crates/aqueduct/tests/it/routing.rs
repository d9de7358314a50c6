//! Routers: by configuration and by closures, and what cannot be routed.

use std::collections::BTreeMap;

use aqueduct::testing::TestClient;
use aqueduct::{Client, Effect, Environment, ErrorKind, Event, Route, SmallStr};

const SHOP: &str = r#"
[client]
source = "/shop"

[streams.orders]
url = "memory:"
[streams.returns]
url = "memory:"
[streams.audit]
url = "memory:?max_event_bytes=2KiB"
[streams.rest]
url = "memory:"

[routes.shop]
default = "rest"

[routes.shop.type]
"order.*" = ["orders", "audit"]
"order.returned" = "returns"

[routes.shop.source]
"/legacy/*" = "audit"

[routes.shop.key]
"VIP-*" = "orders"

[routes.shop.attributes.region]
"eu*" = "returns"

[routes.strict]
default = "refuse"
type = { "order.*" = "orders" }
"#;

fn names(routed: &[aqueduct::router::Routed]) -> Vec<&str> {
    routed.iter().map(|it| it.stream.as_str()).collect()
}

#[tokio::test]
async fn events_go_where_the_rules_say() {
    let test = TestClient::new(SHOP).await.unwrap();
    let shop = test.client().router("shop").await.unwrap();
    for (event, expected) in [
        (Event::new("order.placed"), &["orders", "audit"][..]),
        (Event::new("order.returned"), &["returns"]),
        (Event::new("cart").with_source("/legacy/web"), &["audit"]),
        (Event::new("order.returned").with_key("VIP-1"), &["orders"]),
        (
            Event::new("cart").with_attribute("region", "eu-1").unwrap(),
            &["returns"],
        ),
        (Event::new("cart"), &["rest"]),
    ] {
        let sent = shop.send(event.clone()).await.unwrap();
        assert_eq!(names(&sent), expected, "{event:?}");
        assert!(sent.iter().all(|it| it.receipt.position.is_some()));
    }
    assert_eq!(test.published("orders").await.unwrap().len(), 2);
    assert_eq!(test.published("audit").await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_event_that_goes_nowhere_is_an_error_that_says_what_to_do() {
    let test = TestClient::new(SHOP).await.unwrap();
    let strict = test.client().router("strict").await.unwrap();
    let error = strict
        .send(Event::new("cart").with_id("7"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::Invalid, Effect::None)
    );
    for part in [
        "router strict",
        "event 7",
        "type cart",
        "add a rule or a default",
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
    let unknown = test.client().router("shoop").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Config);
    assert!(
        unknown.to_string().contains("declared: shop, strict"),
        "{unknown}"
    );
}

#[tokio::test]
async fn a_part_that_failed_leaves_an_unknown_effect() {
    let client = client(Client::builder()).await;
    let shop = client.router("shop").await.unwrap();
    let large = Event::bytes("order.placed", "text/plain", vec![0; 4096]);
    let error = shop.send(large).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::TooLarge, Effect::Unknown)
    );
    assert!(
        error
            .to_string()
            .contains("stored in orders, but not in audit"),
        "{error}"
    );
}

async fn client(builder: aqueduct::ClientBuilder) -> Client {
    let builder = builder.toml(SHOP).environment(Environment::empty());
    builder.build().await.unwrap()
}

#[tokio::test]
async fn closures_return_names_lists_and_choices() {
    let several = |event: &Event| -> Vec<SmallStr> {
        let subject = event.subject().unwrap_or_default();
        subject
            .split(',')
            .filter(|it| !it.is_empty())
            .map(SmallStr::from)
            .collect()
    };
    let any = |_: &Event| {
        Route::any(
            ["orders", "returns", "rest"]
                .map(SmallStr::literal)
                .to_vec(),
        )
    };
    let client = client(
        Client::builder()
            .router("several", several)
            .router("any", any),
    )
    .await;
    let several = client.router("several").await.unwrap();
    let sent = several
        .send(Event::new("x").with_subject("orders,audit,orders"))
        .await
        .unwrap();
    assert_eq!(names(&sent), ["orders", "audit"], "each stream once");
    let nowhere = several.send(Event::new("x")).await.unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Invalid);
    let unknown = several
        .send(Event::new("x").with_subject("orders,nope"))
        .await
        .unwrap_err();
    assert_eq!(
        (unknown.kind(), unknown.effect()),
        (ErrorKind::Config, Effect::None)
    );
    for part in [
        "router several",
        "`nope`",
        "declared: audit, orders, rest, returns",
        "[streams.nope]",
    ] {
        assert!(unknown.to_string().contains(part), "{unknown}");
    }

    // A key keeps its stream; keys spread.
    let any = client.router("any").await.unwrap();
    let mut streams = BTreeMap::new();
    for n in 0..60 {
        let key = format!("k{}", n % 20);
        let sent = any
            .send(Event::new("x").with_key(key.as_str()))
            .await
            .unwrap();
        let stream = sent[0].stream.clone();
        assert_eq!(*streams.entry(key).or_insert(stream.clone()), stream);
    }
    let used: std::collections::BTreeSet<_> = streams.values().collect();
    assert_eq!(used.len(), 3);
}

#[tokio::test]
async fn routes_that_cannot_be_meant_are_refused() {
    for (route, parts) in [
        (
            "type = { a = \"orders\" }",
            &[
                "routes.r.default: it is missing",
                "\"refuse\"",
                "declared: orders",
            ][..],
        ),
        (
            "default = \"orderz\"",
            &[
                "routes.r.default = \"orderz\"",
                "unknown stream `orderz`",
                "declared: orders",
            ],
        ),
        ("default = []", &["routes.r.default: it names no stream"]),
        (
            "default = [\"orders\", \"orders\"]",
            &["routes.r.default", "`orders` twice"],
        ),
        ("default = \"office\"", &["unknown stream `office`"]),
        (
            "default = \"orders\"\ntype = { a = \"b\" }",
            &["line 7", "routes.r.type.a = \"b\"", "unknown stream `b`"],
        ),
        (
            "default = \"orders\"\ntype.order.placed = \"orders\"",
            &["routes.r.type.order", "written in quotes"],
        ),
        (
            "default = \"orders\"\nkind = { a = \"orders\" }",
            &[
                "routes.r.kind: no such option",
                "attributes, default, key, match, rules, source, subject, type",
            ],
        ),
        (
            "default = \"orders\"\nattributes = { Region = { a = \"orders\" } }",
            &["routes.r.attributes.Region", "a-z"],
        ),
        (
            "default = \"orders\"\ntype = \"orders\"",
            &["routes.r.type: expected a table"],
        ),
        (
            "default = \"${NOPE}\"",
            &["routes.r.default", "no variable NOPE"],
        ),
    ] {
        let toml = format!(
            "[streams.orders]\nurl = \"memory:\"\n[stores.office]\nurl = \"memory:\"\n[routes.r]\n{route}"
        );
        let builder = Client::builder()
            .toml(toml)
            .environment(Environment::empty());
        let error = builder.build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in parts {
            assert!(
                error.to_string().contains(part),
                "`{part}` is not in: {error}"
            );
        }
    }
    let nowhere = |_: &Event| Route::Nowhere;
    let both = Client::builder()
        .toml(SHOP)
        .environment(Environment::empty())
        .router("shop", nowhere);
    let error = both.build().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("routes.shop: code gives a router of that name too"),
        "{error}"
    );
    let twice = Client::builder().router("a", nowhere).router("a", nowhere);
    let error = twice
        .environment(Environment::empty())
        .build()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("`a` is given twice"), "{error}");
}

#[tokio::test]
async fn a_batch_goes_to_each_stream_in_order_and_every_event_has_an_outcome() {
    let test = TestClient::new(SHOP).await.unwrap();
    let shop = test.client().router("shop").await.unwrap();
    let event = |kind: &str, n: usize| Event::new(kind).with_key("VINET").with_id(format!("{n}"));
    let events: Vec<Event> = (0..40)
        .map(|n| match n % 4 {
            0 => event("order.placed", n),
            1 => event("order.returned", n),
            2 => event("cart", n),
            _ => event("order.shipped", n),
        })
        .collect();
    let routed = shop.send_all(events.clone()).await.unwrap();
    assert_eq!(routed.len(), events.len());
    assert_eq!(names(&routed[0]), ["orders", "audit"]);
    assert_eq!(names(&routed[1]), ["returns"]);
    assert_eq!(names(&routed[2]), ["rest"]);
    for (stream, kinds) in [
        ("orders", &["order.placed", "order.shipped"][..]),
        ("audit", &["order.placed", "order.shipped"]),
        ("returns", &["order.returned"]),
        ("rest", &["cart"]),
    ] {
        let expected: Vec<_> = events
            .iter()
            .filter(|event| kinds.contains(&event.kind()))
            .map(|event| event.id().to_string())
            .collect();
        let stored = test.published(stream).await.unwrap();
        let stored: Vec<_> = stored.iter().map(|it| it.id().to_string()).collect();
        assert_eq!(stored, expected, "{stream}");
    }
    assert!(shop.send_all(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_of_a_batch_that_goes_nowhere_blocks_its_key_alone() {
    let test = TestClient::new(SHOP).await.unwrap();
    let strict = test.client().router("strict").await.unwrap();
    let events = [
        ("order.placed", "a"),
        ("cart", "a"),
        ("order.placed", "a"),
        ("order.placed", "b"),
    ]
    .map(|(kind, key)| Event::new(kind).with_key(key));
    let failure = strict.send_all(events.to_vec()).await.unwrap_err();
    let kinds: Vec<_> = failure
        .outcomes
        .iter()
        .map(|outcome| outcome.as_ref().err().map(|error| error.kind()))
        .collect();
    let expected = [
        None,
        Some(ErrorKind::Invalid),
        Some(ErrorKind::Blocked),
        None,
    ];
    assert_eq!(kinds, expected);
    let given_back: Vec<_> = failure.events.iter().map(|(index, _)| *index).collect();
    assert_eq!(given_back, [1, 2]);
    assert!(
        failure.to_string().contains("2 of 4 events failed"),
        "{failure}"
    );
    assert!(failure.to_string().contains("router strict"), "{failure}");
    assert_eq!(test.published("orders").await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_stream_that_fails_one_event_of_a_batch_leaves_an_unknown_effect() {
    let client = client(Client::builder()).await;
    let shop = client.router("shop").await.unwrap();
    let large = Event::bytes("order.placed", "text/plain", vec![0; 4096]);
    let events = vec![Event::new("order.placed"), large];
    let failure = shop.send_all(events).await.unwrap_err();
    assert_eq!(
        names(failure.outcomes[0].as_ref().unwrap()),
        ["orders", "audit"]
    );
    let error = failure.outcomes[1].as_ref().unwrap_err();
    assert_eq!(
        (error.kind(), error.effect()),
        (ErrorKind::TooLarge, Effect::Unknown)
    );
}

#[tokio::test]
async fn events_of_a_batch_without_a_key_are_spread() {
    let any = |_: &Event| {
        Route::any(
            ["orders", "returns", "rest"]
                .map(SmallStr::literal)
                .to_vec(),
        )
    };
    let client = client(Client::builder().router("any", any)).await;
    let any = client.router("any").await.unwrap();
    let events = (0..30).map(|_| Event::new("x")).collect();
    let mut counts = BTreeMap::<SmallStr, usize>::new();
    for routed in any.send_all(events).await.unwrap() {
        *counts.entry(routed[0].stream.clone()).or_default() += 1;
    }
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [10, 10, 10]);
}
