use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::{
    DeadLetter, DeadLetterReason, ErrorKind, Event, Failure, PartitionId, Position, SmallStr,
    Timestamp,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn dead_letter() -> DeadLetter {
    let event = Event::json("order.placed", &[1, 2])
        .unwrap()
        .with_id("A1")
        .with_source("/shop")
        .with_key("VINET")
        .with_attribute("traceparent", "00-trace")
        .unwrap()
        .with_attribute("colour", "red")
        .unwrap();
    let mut dead_letter = DeadLetter::new(
        event,
        "orders".into(),
        "billing".into(),
        DeadLetterReason::Exhausted,
        "card \"declined\"",
        at(31_000),
    );
    dead_letter.partition = Some("0".into());
    dead_letter.position = Some(Position::new(4711).with_sub(2));
    dead_letter.stored_at = Some(at(0));
    dead_letter.attempts = 5;
    dead_letter.holds_key = true;
    dead_letter.failures = vec![Failure {
        attempt: 5,
        at: at(30_500),
        error: "card \"declined\"".into(),
    }];
    dead_letter
}

#[test]
fn anyone_can_read_it() {
    let event = dead_letter().to_event().unwrap();
    event.validate().unwrap();
    assert_eq!(event.kind(), "io.aqueduct.letter");
    assert_eq!(
        (event.key(), event.subject()),
        (Some("VINET"), Some("billing"))
    );
    assert_eq!(event.time(), Some(at(31_000)));
    let names: Vec<_> = event.attributes().iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["traceparent"]);
    let data: serde_json::Value = event.decode_json().unwrap();
    assert_eq!(
        data,
        serde_json::json!({
            "version": 1,
            "stream": "orders",
            "group": "billing",
            "partition": "0",
            "position": "4711.2",
            "stored_at": "1970-01-01T00:00:00Z",
            "reason": "exhausted",
            "message": "card \"declined\"",
            "holds_key": true,
            "attempts": 5,
            "failures": [{
                "attempt": 5,
                "at": "1970-01-01T00:00:30.5Z",
                "error": "card \"declined\"",
            }],
            "buried_at": "1970-01-01T00:00:31Z",
            "event": {
                "specversion": "1.0",
                "id": "A1",
                "source": "/shop",
                "type": "order.placed",
                "partitionkey": "VINET",
                "datacontenttype": "application/json",
                "data": [1, 2],
                "traceparent": "00-trace",
                "colour": "red",
            },
        })
    );
    assert_eq!(DeadLetter::from_event(&event).unwrap(), dead_letter());
}

#[test]
fn burying_twice_is_one_id_and_everything_that_tells_letters_apart_makes_another() {
    let mut again = dead_letter();
    again.buried_at = at(99_000);
    again.attempts = 7;
    assert_eq!(again.id(), dead_letter().id());
    assert_eq!(
        again.to_event().unwrap().id(),
        dead_letter().to_event().unwrap().id()
    );
    assert_eq!(
        dead_letter().to_event().unwrap().id().to_string(),
        dead_letter().id().to_string()
    );
    // The id is part of the stored format: a change would orphan existing dead letters.
    assert_eq!(
        dead_letter().id().to_string(),
        "79a3d755-644a-59f3-9c6b-907999dc7202"
    );
    let mut ids = vec![dead_letter().id()];
    let event = dead_letter().event;
    let others = [
        ("orders", "billing", event.clone().with_id("A2")),
        (
            "orders",
            "billing",
            event.clone().with_source("/shopA").with_id("1"),
        ),
        ("orders", "shipping", event.clone()),
        ("returns", "billing", event),
    ];
    for (stream, group, event) in others {
        let mut other = dead_letter();
        other.stream = stream.into();
        other.group = group.into();
        other.event = event;
        ids.push(other.id());
    }
    let all = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), all);
}

#[test]
fn what_is_unknown_is_left_out_and_an_invalid_event_comes_back_too() {
    let event = Event::new("").with_id("").with_data(&[0, 255][..]);
    let bare = DeadLetter::new(
        event,
        "orders".into(),
        "billing".into(),
        DeadLetterReason::Undecodable,
        "",
        at(-1),
    );
    let carried = bare.to_event().unwrap();
    let data: serde_json::Value = carried.decode_json().unwrap();
    let names: Vec<_> = data.as_object().unwrap().keys().cloned().collect();
    assert!(!names.contains(&"partition".into()) && !names.contains(&"position".into()));
    assert_eq!(DeadLetter::from_event(&carried).unwrap(), bare);
}

#[test]
fn what_is_no_letter_is_refused_by_name() {
    let other = Event::new("order.placed").with_id("A1");
    let error = DeadLetter::from_event(&other).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("`order.placed`"), "{error}");

    let good = dead_letter().to_event().unwrap();
    let text = std::str::from_utf8(good.data().unwrap())
        .unwrap()
        .to_owned();
    for (from, to, named) in [
        ("\"version\":1", "\"version\":2", "version 2"),
        ("\"exhausted\"", "\"tired\"", "`tired`"),
        ("\"4711.2\"", "\"over there\"", "`over there`"),
        ("\"1970-01-01T00:00:31Z\"", "\"late\"", "`buried_at`"),
        ("\"1970-01-01T00:00:30.5Z\"", "\"late\"", "`at`"),
        ("\"1970-01-01T00:00:00Z\"", "\"late\"", "`stored_at`"),
        (
            "\"specversion\":\"1.0\"",
            "\"specversion\":\"9\"",
            "`specversion`",
        ),
        ("\"stream\":\"orders\",", "", "missing field `stream`"),
        ("{", "", "line 1"),
    ] {
        assert!(text.contains(from), "{from} in {text}");
        let damaged = good.clone().with_data(text.replacen(from, to, 1));
        let error = DeadLetter::from_event(&damaged).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains(named), "{error}");
        assert!(
            error.to_string().contains(&*dead_letter().id().0),
            "{error}"
        );
    }
    let empty = Event::with_id_and_type("1".into(), DeadLetter::EVENT_TYPE);
    assert_eq!(
        DeadLetter::from_event(&empty).unwrap_err().kind(),
        ErrorKind::Corrupt
    );
}

#[test]
fn a_redriven_event_names_its_group_and_keeps_its_id() {
    let event = dead_letter().redriven().unwrap();
    assert_eq!(DeadLetter::target_group(&event), Some("billing"));
    assert_eq!(event.id(), dead_letter().event.id());
    assert_eq!(event.source(), dead_letter().event.source());
    assert_eq!(DeadLetter::target_group(&dead_letter().event), None);
    assert_eq!(
        dead_letter()
            .event
            .attributes()
            .get(&DeadLetter::TARGET_GROUP),
        None
    );
}

#[test]
fn a_foreign_letter_is_redriven_for_every_group_and_a_cut_one_is_not() {
    let mut foreign = dead_letter();
    foreign.reason = DeadLetterReason::Foreign;
    assert_eq!(foreign.redriven().unwrap(), foreign.event);
    let mut cut = dead_letter();
    cut.event = cut
        .event
        .with_attribute(DeadLetter::DATA_BYTES, 300_000)
        .unwrap();
    let error = cut.redriven().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("300000"), "{error}");
}

proptest! {
    #[test]
    fn every_letter_comes_back(
        (stream, group, message) in any::<(String, String, String)>(),
        data in option::of(vec(any::<u8>(), 0..50)),
        content_type in option::of(prop_oneof![
            Just(Event::JSON), Just(SmallStr::from("text/plain")), Just(SmallStr::from("a/b")),
        ]),
        reason in prop::sample::select(&DeadLetterReason::ALL[..]),
        place in option::of((any::<String>(), any::<u64>(), any::<u64>())),
        failures in vec((any::<u32>(), any::<i32>(), any::<String>()), 0..4),
        (attempts, holds_key, times) in any::<(u32, bool, (i32, Option<i32>))>(),
    ) {
        let mut event = Event::new("t").with_source("/s");
        event.data = data.map(Bytes::from);
        event.content_type = content_type;
        let mut dead_letter = DeadLetter::new(
            event,
            stream.into(),
            group.into(),
            reason,
            message,
            at(times.0.into()),
        );
        dead_letter.stored_at = times.1.map(|it| at(it.into()));
        dead_letter.attempts = attempts;
        dead_letter.holds_key = holds_key;
        dead_letter.partition = place.as_ref().map(|(name, ..)| PartitionId::new(name.as_str()));
        dead_letter.position = place.map(|(_, sequence, sub)| Position::new(sequence).with_sub(sub));
        dead_letter.failures = failures
            .into_iter()
            .map(|(attempt, millis, error)| Failure {
                attempt,
                at: at(millis.into()),
                error: error.into(),
            })
            .collect();
        prop_assert_eq!(DeadLetter::from_event(&dead_letter.to_event().unwrap()).unwrap(), dead_letter);
    }

    #[test]
    fn damaged_letters_are_answered(at in any::<usize>(), byte: u8) {
        let good = dead_letter().to_event().unwrap();
        let mut data = good.data().unwrap().to_vec();
        let at = at % data.len();
        data[at] = byte;
        if let Err(error) = DeadLetter::from_event(&good.with_data(data)) {
            prop_assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }
}
