mod allocations;
mod isolated;
mod limits;
mod model;
mod properties;
mod rules;

use std::time::Duration;

use aqueduct_core::{
    Backoff, Checkpoint, Event, Instant, Parts, Position, ReadFrom, Record, Revocation, Settlement,
};

use super::{Settled, Takeover, Tracker, TrackerOptions};

const OPTIONS: TrackerOptions = TrackerOptions {
    max_unsettled: 100,
    max_unsettled_bytes: 1 << 20,
    max_parked: 50,
    max_span: 1000,
    redelivery: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
    hash_seed: 7,
};

const START: Checkpoint = Checkpoint::Start(ReadFrom::Earliest);

fn tracker() -> Tracker {
    Tracker::new(OPTIONS, START, None, Takeover::default())
}

/// The event at `position`: `a3` is of key `a`, `3` of none.
fn record(position: u64, key: Option<&str>) -> Record {
    let event = Event::new("test").with_id(position.to_string().as_str());
    let event = match key {
        Some(key) => event.with_key(key),
        None => event,
    };
    Record::new(event, Position::new(position), None)
}

/// Returns records at 1, 2, 3 … with one character of the text as the key of each; `-` is no key.
fn records(keys: &str) -> Vec<Record> {
    records_from(1, keys)
}

fn records_from(first: u64, keys: &str) -> Vec<Record> {
    keys.chars()
        .zip(first..)
        .map(|(key, position)| match key {
            '-' => record(position, None),
            key => record(position, Some(key.to_string().as_str())),
        })
        .collect()
}

fn at(millis: u64) -> Instant {
    Instant::after_origin(Duration::from_millis(millis))
}

fn take(tracker: &mut Tracker, max: usize, now: Instant) -> Vec<Parts> {
    let mut out = Vec::new();
    tracker.take(max, now, |parts| out.push(parts));
    out
}

fn positions(parts: &[Parts]) -> Vec<u64> {
    parts.iter().map(position).collect()
}

fn position(parts: &Parts) -> u64 {
    let position = parts.position.and_then(Position::sequence).unwrap();
    assert_eq!(parts.event.id().to_string(), position.to_string());
    position
}

fn ack(tracker: &mut Tracker, parts: &Parts) -> Result<Settled, Revocation> {
    tracker.settle(parts, &Settlement::Ack, at(0), || 0)
}

fn nack(tracker: &mut Tracker, parts: &Parts, now: Instant, millis: u64) -> Settled {
    let delay = Some(Duration::from_millis(millis));
    let nack = Settlement::Nack { delay, error: None };
    tracker.settle(parts, &nack, now, || 0).unwrap()
}

fn ack_floor(tracker: &Tracker) -> Option<u64> {
    match tracker.progress().ack_floor {
        Checkpoint::At(position) => position.sequence(),
        _ => None,
    }
}
