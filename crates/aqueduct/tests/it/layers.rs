//! Layers by code and by configuration, around producers and handlers.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::core::{Layer, Stage};
use aqueduct::layers::{TraceContext, Tracing, TracingOptions};
use aqueduct::testing::TestClient;
use aqueduct::{Client, Environment, ErrorKind, Event, Key, Outcome, Start};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Metadata, Subscriber};

const SHOP: &str = r#"
[client]
source = "/shop"
layers = ["tracing"]

[streams.orders]
url = "memory:"
[streams.payments]
url = "memory:"

[groups.billing]
stream = "orders"
on_reject = "stop"
redelivery = { attempts = 3, first = "1ms", max = "1ms" }
"#;

async fn refusal(
    toml: &str,
    layers: Vec<Box<dyn Fn(aqueduct::ClientBuilder) -> aqueduct::ClientBuilder>>,
) -> String {
    let mut builder = Client::builder()
        .toml(toml)
        .environment(Environment::empty());
    for layer in layers {
        builder = layer(builder);
    }
    let error = builder.build().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

struct Named(&'static str, Stage);

impl Layer for Named {
    fn name(&self) -> &'static str {
        self.0
    }

    fn stage(&self) -> Stage {
        self.1
    }
}

#[tokio::test]
async fn a_trace_goes_on_from_the_sender_through_the_handler_to_what_it_sends() {
    let test = TestClient::new(SHOP).await.unwrap();
    let payments = test.client().producer("payments").await.unwrap();
    let worker = test
        .client()
        .worker("billing")
        .await
        .unwrap()
        .on("*", move |event: Event| {
            let payments = payments.clone();
            async move {
                let current = TraceContext::current().expect("a handler runs in a trace");
                let parent = TraceContext::of(&event).expect("the event carries its trace");
                assert_eq!(current.trace_id(), parent.trace_id());
                assert_ne!(current.span_id(), parent.span_id());
                assert_eq!(current.state(), parent.state());
                let paid = Event::new("paid").with_id("effect").caused_by(&event, 0);
                payments.send(paid).await?;
                payments.send(Event::new("noted").with_id("plain")).await?;
                payments.send(event).await.map(drop)
            }
        });
    let running = test.start(worker);
    let orders = test.client().producer("orders").await.unwrap();
    let mut placed = Event::new("placed")
        .with_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    placed
        .attributes_mut()
        .set("tracestate", "vendor=1")
        .unwrap();
    orders.send(placed).await.unwrap();
    test.wait_until_drained("billing").await.unwrap();
    running.stop().await.unwrap();

    let sent = test.published("payments").await.unwrap();
    let by_kind: BTreeMap<_, _> = sent.iter().map(|it| (it.kind().to_owned(), it)).collect();
    for kind in ["paid", "noted", "placed"] {
        let context = TraceContext::of(by_kind[kind]).unwrap();
        assert_eq!(
            context.trace_id(),
            0x4bf92f3577b34da6a3ce929d0e0e4736,
            "{kind}"
        );
        assert_eq!(context.state(), Some("vendor=1"), "{kind}");
        // What is passed on as it came keeps the span that made it.
        assert_eq!(
            context.span_id() == 0x00f067aa0ba902b7,
            kind == "placed",
            "{kind}"
        );
    }
}

#[tokio::test]
async fn a_damaged_context_starts_a_new_trace_and_a_valid_one_is_kept() {
    let test = TestClient::new(SHOP).await.unwrap();
    let orders = test.client().producer("orders").await.unwrap();
    for own in ["own trace", "00-0-0-0", ""] {
        orders
            .send(Event::new("x").with_traceparent(own))
            .await
            .unwrap();
    }
    orders.send(Event::new("x")).await.unwrap();
    let sent = test.published("orders").await.unwrap();
    let traces: Vec<_> = sent
        .iter()
        .map(|it| TraceContext::of(it).unwrap().trace_id())
        .collect();
    assert_eq!(traces.len(), 4);
    for (at, trace) in traces.iter().enumerate() {
        assert!(
            !traces[..at].contains(trace),
            "each begins a trace of its own"
        );
    }
    assert_eq!(TraceContext::current(), None, "nothing is left behind");
}

/// Keeps every span's name, fields as text, and whether it closed.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<BTreeMap<String, String>>>>);

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        write!(text, "{value:?}").unwrap();
        self.0
            .insert(field.name().into(), text.trim_matches('"').into());
    }
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_span() && metadata.target().starts_with("aqueduct_layers")
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let mut spans = self.0.lock().unwrap();
        spans.push(fields);
        Id::from_u64(spans.len() as u64)
    }

    fn record(&self, id: &Id, record: &Record<'_>) {
        let mut spans = self.0.lock().unwrap();
        let at = id.into_u64() as usize - 1;
        record.record(&mut Fields(&mut spans[at]));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, _: &tracing::Event<'_>) {}

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[tokio::test]
async fn spans_carry_the_names_of_the_messaging_conventions() {
    let spans = Spans::default();
    let _recorded = tracing::subscriber::set_default(spans.clone());
    let test = TestClient::new(SHOP).await.unwrap();
    let worker =
        test.client()
            .worker("billing")
            .await
            .unwrap()
            .on("*", |Key(key): Key| async move {
                match key.as_str() {
                    "bad" => Outcome::retry(),
                    _ => Outcome::ack(),
                }
            });
    let orders = test.client().producer("orders").await.unwrap();
    let events = ["good", "bad"].map(|key| {
        Event::new("placed")
            .with_id(key)
            .with_key(key)
            .with_data("12345")
    });
    for event in &events {
        orders.send(event.clone()).await.unwrap();
    }
    let outcomes = worker
        .handle(test.published("orders").await.unwrap())
        .await
        .unwrap();
    assert_eq!(outcomes.iter().filter(|it| it.is_ack()).count(), 1);

    let spans = spans.0.lock().unwrap();
    let find = |operation: &str, id: &str| {
        let found = spans.iter().find(|it| {
            it.get("messaging.operation.type")
                .is_some_and(|it| it == operation)
                && it.get("messaging.message.id").is_some_and(|it| it == id)
        });
        found.unwrap_or_else(|| panic!("no span {operation} {id} in {spans:?}"))
    };
    let sent = find("send", "good");
    for (name, value) in [
        ("otel.name", "send orders"),
        ("otel.kind", "producer"),
        ("messaging.system", "memory"),
        ("messaging.destination.name", "orders"),
        ("messaging.operation.name", "send"),
        ("messaging.message.body.size", "5"),
        ("cloudevents.event_type", "placed"),
    ] {
        assert_eq!(
            sent.get(name).map(String::as_str),
            Some(value),
            "{name}: {sent:?}"
        );
    }
    let good = find("process", "good");
    for (name, value) in [
        ("otel.name", "process orders"),
        ("otel.kind", "consumer"),
        ("messaging.consumer.group.name", "billing"),
        ("aqueduct.attempt", "1"),
    ] {
        assert_eq!(
            good.get(name).map(String::as_str),
            Some(value),
            "{name}: {good:?}"
        );
    }
    assert_eq!(
        good.get("trace_id"),
        sent.get("trace_id"),
        "one trace across both"
    );
    assert_eq!(good.get("parent_span_id"), sent.get("span_id"));
    assert_eq!(good.get("error.type"), None);
    let bad = find("process", "bad");
    assert_eq!(bad.get("error.type").map(String::as_str), Some("handler"));
    assert_eq!(
        bad.get("otel.status_code").map(String::as_str),
        Some("ERROR")
    );
}

#[tokio::test]
async fn a_handler_that_takes_too_long_for_the_layer_has_failed() {
    let toml = SHOP.replace(
        "[groups.billing]",
        "[layers.timeout]\nhandler = \"1s\"\n[groups.billing]\nlayers = [\"tracing\", \"timeout\"]",
    );
    let test = TestClient::new(&toml).await.unwrap();
    let runtime = test.client().runtime().clone();
    let calls = Arc::new(Mutex::new(0));
    let counted = calls.clone();
    let worker = test
        .client()
        .worker("billing")
        .await
        .unwrap()
        .on("*", move || {
            let (runtime, counted) = (runtime.clone(), counted.clone());
            async move {
                let call = {
                    let mut calls = counted.lock().unwrap();
                    *calls += 1;
                    *calls
                };
                if call < 3 {
                    runtime.sleep(Duration::from_secs(60)).await;
                }
            }
        });
    let running = test.start(worker);
    test.client()
        .producer("orders")
        .await
        .unwrap()
        .send(Event::new("x"))
        .await
        .unwrap();
    let before = test.clock().now();
    test.wait_until_drained("billing").await.unwrap();
    assert!(
        test.clock().now().since(before) < Duration::from_secs(30),
        "no handler ran for a minute"
    );
    running.stop().await.unwrap();
    assert_eq!(*calls.lock().unwrap(), 3);
}

#[tokio::test]
async fn code_adds_layers_that_stamp_once_before_any_attempt() {
    struct Stamp(Arc<Mutex<u32>>);
    impl Layer for Stamp {
        fn name(&self) -> &'static str {
            "stamp"
        }
        fn stage(&self) -> Stage {
            Stage::Observe
        }
        fn stamp(&self, event: &mut Event) {
            let mut count = self.0.lock().unwrap();
            *count += 1;
            event.attributes_mut().set("stamp", *count as i32).unwrap();
        }
    }
    let count = Arc::new(Mutex::new(0));
    let client = Client::builder()
        .toml(SHOP)
        .environment(Environment::empty())
        .layer(Stamp(count.clone()))
        .build()
        .await
        .unwrap();
    let orders = client.producer("orders").await.unwrap();
    orders
        .send_all(vec![Event::new("a"), Event::new("b")])
        .await
        .unwrap();
    orders
        .enqueue(Event::new("c"))
        .await
        .unwrap()
        .await
        .unwrap();
    assert_eq!(*count.lock().unwrap(), 3);
    let mut reader = client.reader("orders", Start::Earliest).await.unwrap();
    for _ in 0..3 {
        let event = reader.next().await.unwrap().unwrap().event;
        assert!(event.attributes().get("stamp").is_some());
        assert!(
            TraceContext::of(&event).is_some(),
            "configured layers stamp too"
        );
    }
}

#[tokio::test]
async fn layers_in_the_wrong_order_or_twice_are_refused_with_the_reason() {
    let given = |name: &'static str,
                 stage|
     -> Box<dyn Fn(aqueduct::ClientBuilder) -> aqueduct::ClientBuilder> {
        Box::new(move |builder| builder.layer(Named(name, stage)))
    };
    let said = refusal(
        SHOP,
        vec![
            given("inner", Stage::Backend),
            given("outer", Stage::Observe),
        ],
    )
    .await;
    for part in [
        "`inner` (stage backend)",
        "`outer` (stage observe)",
        "observe, idempotency, dead_letters, backend",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let said = refusal(
        SHOP,
        vec![given("one", Stage::Observe), given("one", Stage::Observe)],
    )
    .await;
    assert!(said.contains("layer `one` is given twice"), "{said}");
    // By code and by configuration, and beside the group's own.
    let tracing = Box::new(|builder: aqueduct::ClientBuilder| {
        let runtime = aqueduct::testing::ManualClock::new().runtime();
        builder.layer(Tracing::new(TracingOptions::default(), &runtime))
    });
    let said = refusal(SHOP, vec![tracing]).await;
    assert!(
        said.contains("streams.orders.layers") && said.contains("`tracing` is given twice"),
        "{said}"
    );
    let once = format!("{SHOP}idempotency = true\n");
    let said = refusal(&once, vec![given("idempotency", Stage::Idempotency)]).await;
    assert!(
        said.contains("groups.billing.layers") && said.contains("`idempotency`"),
        "{said}"
    );
}

#[tokio::test]
async fn layers_that_a_configuration_cannot_mean_are_refused() {
    for (more, parts) in [
        (
            "layers = \"traces\"",
            &[
                "client.layers = \"traces\"",
                "unknown layer `traces`",
                "timeout, tracing",
            ][..],
        ),
        (
            "layers = [\"tracing\", \"tracing\"]",
            &["client.layers", "`tracing` is given twice"],
        ),
        (
            "layers = \"timeout\"",
            &["`timeout` has no limits", "[layers.timeout]"],
        ),
        ("[layers.timeout]", &["layers.timeout", "limits nothing"]),
        (
            "[layers.timeout]\nsend = \"0s\"",
            &["layers.timeout.send = \"0s\"", "greater than zero"],
        ),
        (
            "[layers.timeout]\nsned = \"1s\"",
            &[
                "layers.timeout.sned: no such option",
                "handler, send, settle",
            ],
        ),
        (
            "[layers.tracing]\nsampled = \"often\"",
            &["layers.tracing.sampled = \"often\"", "true or false"],
        ),
        (
            "[layers.traces]",
            &["layers.traces", "unknown layer", "timeout, tracing"],
        ),
        (
            "[layers]\ntracing = true",
            &["layers.tracing: expected a table"],
        ),
    ] {
        let toml = format!("[client]\n{more}\n[streams.orders]\nurl = \"memory:\"");
        let said = refusal(&toml, Vec::new()).await;
        for part in parts {
            assert!(said.contains(part), "`{part}` is not in: {said}");
        }
    }
}
