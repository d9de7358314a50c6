use aqueduct_core::{AttributeValue, Event, Limits, Timestamp};
use bytes::Bytes;

use crate::case::{Case, Need, case};
use crate::context::Context;
use crate::harness::Harness;
use crate::stop::{During as _, Outcome, Stop, check_eq};
use crate::workload::{SOURCE, check_same};

pub(super) const CASES: &[Case] = &[
    case!(Flow every_field_round_trips, [1], [Need::Producer]),
    case!(Flow bare_event_round_trips, [1], [Need::Producer]),
    case!(Flow binary_data_round_trips, [1], [Need::Producer]),
    case!(Flow non_ascii_round_trips, [1], [Need::Producer]),
    case!(Flow attribute_types_round_trip, [1], [Need::Producer]),
    case!(Flow empty_data_is_not_absent_data, [1], [Need::Producer]),
    case!(Flow largest_event_round_trips, [1], [Need::Producer]),
    case!(Flow foreign_ids_round_trip, [1], [Need::Producer]),
    case!(Flow no_key_is_invented, [2], [Need::Producer]),
    case!(Flow trace_context_round_trips, [15], [Need::Producer]),
];

async fn every_field_round_trips(context: &Context<'_>) -> Outcome {
    let event = full()?;
    round_trip(context, &[event]).await
}

async fn bare_event_round_trips(context: &Context<'_>) -> Outcome {
    round_trip(context, &[Event::new("bare").with_source(SOURCE)]).await
}

async fn binary_data_round_trips(context: &Context<'_>) -> Outcome {
    let all: Vec<u8> = (0..=255).chain([0, 0, 13, 10, 255, 254]).collect();
    let binary = Event::bytes("binary", "application/octet-stream", all.clone());
    let untyped = Event::new("untyped").with_data(all);
    let text = Event::bytes("text", "text/plain", "line\r\nline\0end \u{feff}");
    let json = Event::bytes(
        "json",
        Event::JSON,
        r#"{ "kept" :  [1.10, "as\u0041 written"] }"#,
    );
    let broken = Event::bytes("broken", Event::JSON, "{ no json");
    let events = [binary, untyped, text, json, broken].map(|event| event.with_source(SOURCE));
    round_trip(context, &events).await
}

async fn non_ascii_round_trips(context: &Context<'_>) -> Outcome {
    let event = Event::bytes(
        "commande.passée",
        "text/plain; charset=utf-8",
        "Grüße, 世界 🚚",
    )
    .with_source("/магазин/web?x=1#ü")
    .with_subject("ключ/日本 %41 \"quoted\"")
    .with_key("Müller & Söhne 🚚")
    .with_attribute("note", "naïve – “quoted” \\ 100%")?;
    round_trip(context, &[event]).await
}

async fn attribute_types_round_trip(context: &Context<'_>) -> Outcome {
    let time: Timestamp = "2026-02-28T23:59:59.123456789Z".parse()?;
    let uri = AttributeValue::Uri("https://example.com/a?b=c".into());
    let event = Event::new("typed")
        .with_source(SOURCE)
        .with_attribute("yes", true)?
        .with_attribute("no", false)?
        .with_attribute("least", i32::MIN)?
        .with_attribute("most", i32::MAX)?
        .with_attribute("bytes", Bytes::from_static(&[0, 1, 254, 255]))?
        .with_attribute("uri", uri)?
        .with_attribute("reference", AttributeValue::UriRef("../a#b".into()))?
        .with_attribute("moment", time)?
        .with_attribute("text", "5")?;
    round_trip(context, &[event]).await
}

async fn empty_data_is_not_absent_data(context: &Context<'_>) -> Outcome {
    let absent = Event::new("absent").with_source(SOURCE);
    let empty = Event::bytes("empty", "text/plain", "").with_source(SOURCE);
    round_trip(context, &[absent, empty]).await
}

async fn largest_event_round_trips(context: &Context<'_>) -> Outcome {
    let harness = context.harness(1).await?;
    let producer = harness.producer().await?;
    let event = with_data_of(largest_data(producer.capabilities().limits));
    round_trip_on(&harness, &[event]).await
}

async fn foreign_ids_round_trip(context: &Context<'_>) -> Outcome {
    let long = "i".repeat(200);
    let ids = [
        "1",
        "A234-1234-1234",
        "0190B1A4-7C3E-7000-8000-00000000ABCD",
        "a/b?c=ü",
        &long,
    ];
    let events = ids.map(|id| full().map(|event| event.with_id(id)));
    let events: Vec<Event> = events.into_iter().collect::<Outcome<_>>()?;
    round_trip(context, &events).await
}

async fn no_key_is_invented(context: &Context<'_>) -> Outcome {
    let harness = context.harness(2).await?;
    let events: Vec<Event> = (0..8).map(crate::workload::counted).collect();
    let mut observer = harness.observe().await?;
    harness.send(&events).await?;
    for event in observer.collect(events.len()).await?.firsts() {
        check_eq!(event.key(), None, "the key of event {}", event.id());
    }
    Ok(())
}

async fn trace_context_round_trips(context: &Context<'_>) -> Outcome {
    let event = full()?
        .with_attribute(
            "traceparent",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )?
        .with_attribute("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE")?;
    let effect = Event::new("effect")
        .with_source(SOURCE)
        .caused_by(&event, 0);
    check_eq!(
        effect.attributes().get("traceparent"),
        event.attributes().get("traceparent"),
        "an effect's trace"
    );
    round_trip(context, &[event, effect]).await
}

fn full() -> Outcome<Event> {
    let event = Event::json("order.placed", &serde_json::json!({ "total": "9.50" }))?
        .with_source("/shop/web")
        .with_subject("order/10248")
        .with_time("1996-07-04T09:08:07.123456Z".parse()?)
        .with_key("VINET")
        .with_schema("https://example.com/order.json")
        .with_attribute("correlationid", "c-1")?
        .with_attribute("region", "eu")?;
    Ok(event)
}

/// Base64 in the structured format makes 4 bytes of 3; the other fields need few bytes.
fn largest_data(limits: Limits) -> usize {
    let sizes = [limits.event_bytes, limits.batch_bytes];
    let limit = sizes.into_iter().flatten().min().unwrap_or(2 << 20);
    (limit.min(16 << 20) / 4 * 3).saturating_sub(1024).max(1)
}

fn with_data_of(bytes: usize) -> Event {
    let data: Vec<u8> = (0..bytes).map(|at| ((at * 31) >> 3) as u8).collect();
    Event::bytes("largest", "application/octet-stream", data)
        .with_source(SOURCE)
        .with_key("largest")
}

async fn round_trip(context: &Context<'_>, events: &[Event]) -> Outcome {
    round_trip_on(&context.harness(1).await?, events).await
}

async fn round_trip_on(harness: &Harness<'_>, events: &[Event]) -> Outcome {
    let mut observer = harness.observe().await?;
    harness.send(events).await?;
    let seen = observer.collect(events.len()).await?;
    seen.check_complete(events)?;
    seen.check_once()?;
    for sent in events {
        let same = |event: &&Event| event.id() == sent.id();
        let received = seen.firsts().iter().find(same);
        let received = received.ok_or_else(|| Stop::failed(format!("{sent:?} is lost")))?;
        check_same(sent, received).during(format!("event of type {}", sent.kind()))?;
    }
    Ok(())
}
