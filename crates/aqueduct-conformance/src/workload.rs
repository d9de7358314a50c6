use std::collections::BTreeMap;

use aqueduct_core::{Capability, Claims, Event, EventId};
use serde_json::json;

use crate::stop::{Outcome, Stop, check_eq};

/// The source of every event of the suite.
pub(crate) const SOURCE: &str = "/conformance";

/// The type of the numbered events.
pub(crate) const COUNTED: &str = "conformance.counted";

/// Returns the `n`th event of `key`.
pub(crate) fn keyed(key: &str, n: u64) -> Event {
    counted(n).with_key(key)
}

/// Returns the `n`th event, without a key.
pub(crate) fn counted(n: u64) -> Event {
    Event::bytes(COUNTED, Event::JSON, json!({ "n": n }).to_string()).with_source(SOURCE)
}

/// Returns `count` events for each of `keys`, round robin.
pub(crate) fn interleaved(keys: &[&str], count: u64) -> Vec<Event> {
    (0..count)
        .flat_map(|n| keys.iter().map(move |key| keyed(key, n)))
        .collect()
}

/// Returns the number that an event was made with.
pub(crate) fn number(event: &Event) -> Outcome<u64> {
    let data: serde_json::Value = event.decode_json()?;
    data["n"]
        .as_u64()
        .ok_or_else(|| Stop::failed(format!("event {} lost its number: {data}", event.id())))
}

/// The received events, in the order of receipt.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    times: BTreeMap<EventId, usize>,
    firsts: Vec<Event>,
    unordered: bool,
}

impl Seen {
    /// Disables the order check if the consumer claims no order.
    pub(crate) fn expect_of(&mut self, claims: &Claims) {
        self.unordered |= !claims.has(Capability::KeyOrder);
    }

    /// Records one event; returns whether it is the first with its id.
    pub(crate) fn note(&mut self, event: &Event) -> bool {
        let times = self.times.entry(event.id().clone()).or_insert(0);
        *times += 1;
        let first = *times == 1;
        if first {
            self.firsts.push(event.clone());
        }
        first
    }

    /// Returns the number of different events.
    pub(crate) fn distinct(&self) -> usize {
        self.firsts.len()
    }

    /// Returns how often the event was received.
    pub(crate) fn times(&self, event: &Event) -> usize {
        self.times.get(event.id()).copied().unwrap_or(0)
    }

    /// Returns each event once, in the order of first receipt.
    pub(crate) fn firsts(&self) -> &[Event] {
        &self.firsts
    }

    /// Checks that exactly the events of `sent` were received.
    pub(crate) fn check_complete(&self, sent: &[Event]) -> Outcome {
        let lost: Vec<_> = sent.iter().filter(|event| self.times(event) == 0).collect();
        if let Some(first) = lost.first() {
            let (lost, of) = (lost.len(), sent.len());
            return Err(Stop::failed(format!(
                "{lost} of {of} events lost, first {first:?}"
            )));
        }
        let known: std::collections::BTreeSet<_> = sent.iter().map(Event::id).collect();
        let strange = self.firsts.iter().find(|event| !known.contains(event.id()));
        match strange {
            None => Ok(()),
            Some(event) => Err(Stop::failed(format!(
                "an event that should not come: {event:?}"
            ))),
        }
    }

    /// Checks that no event was received twice.
    pub(crate) fn check_once(&self) -> Outcome {
        match self.times.iter().find(|(_, times)| **times > 1) {
            None => Ok(()),
            Some((id, times)) => Err(Stop::failed(format!("event {id} came {times} times"))),
        }
    }

    /// Checks that the first receipts of each key are in the order of `sent`, if the consumer
    /// claims order.
    pub(crate) fn check_order(&self, sent: &[Event]) -> Outcome {
        if self.unordered {
            return Ok(());
        }
        let (sent, seen) = (by_key(sent), by_key(&self.firsts));
        for (key, came) in &seen {
            let known: std::collections::BTreeSet<_> = came.iter().copied().collect();
            let expected: Vec<_> = sent
                .get(key)
                .into_iter()
                .flatten()
                .copied()
                .filter(|id| known.contains(id))
                .collect();
            let wrong = came
                .iter()
                .zip(&expected)
                .position(|(came, sent)| came != sent);
            if let Some(at) = wrong {
                let (came, expected) = (came[at], expected[at]);
                let why = format!("key {key}: at place {at} came {came}, sent was {expected}");
                return Err(Stop::failed(why));
            }
        }
        Ok(())
    }
}

/// Checks that `received` equals `sent` in every field.
pub(crate) fn check_same(sent: &Event, received: &Event) -> Outcome {
    check_eq!(received.id(), sent.id(), "id");
    check_eq!(received.source(), sent.source(), "source");
    check_eq!(received.kind(), sent.kind(), "type");
    check_eq!(received.subject(), sent.subject(), "subject");
    check_eq!(received.time(), sent.time(), "time");
    check_eq!(received.key(), sent.key(), "key");
    check_eq!(received.content_type(), sent.content_type(), "content type");
    check_eq!(received.schema(), sent.schema(), "schema");
    for (name, value) in sent.attributes().iter() {
        check_eq!(
            received.attributes().get(name),
            Some(value),
            "attribute {name}"
        );
    }
    let length = |event: &Event| event.data().map(bytes::Bytes::len);
    check_eq!(length(received), length(sent), "length of the data");
    check_eq!(
        received.data() == sent.data(),
        true,
        "data comes back as it was"
    );
    Ok(())
}

fn by_key(events: &[Event]) -> BTreeMap<&str, Vec<&EventId>> {
    let mut keys = BTreeMap::<_, Vec<_>>::new();
    for event in events {
        if let Some(key) = event.key() {
            keys.entry(key).or_default().push(event.id());
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(events: &[&Event]) -> Seen {
        let mut seen = Seen::default();
        for event in events {
            seen.note(event);
        }
        seen
    }

    #[test]
    fn order_counts_on_first_occurrences_alone() {
        let sent = interleaved(&["a", "b"], 3);
        let [a0, b0, a1, b1, a2, b2] = [0, 1, 2, 3, 4, 5].map(|at| &sent[at]);
        let redelivered = seen(&[a0, a1, a0, b0, a1, a2, b1, b2]);
        assert!(redelivered.check_order(&sent).is_ok());
        assert!(redelivered.check_complete(&sent).is_ok());
        assert!(redelivered.check_once().is_err());
        assert!(seen(&[a0, a2, a1]).check_order(&sent).is_err());
        assert!(seen(&[a0, b0, b1]).check_complete(&sent).is_err());
        assert!(seen(&[a0]).check_complete(&[]).is_err());
    }
}
