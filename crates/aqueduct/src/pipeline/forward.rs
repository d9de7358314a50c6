use aqueduct_core::{Error, Event, EventId, SmallStr};
use aqueduct_routing::Condition;
use metrics::Counter;

use super::partial::{Partial, Remaining};
use super::{Map, reject};
use crate::client::{RoutingProducer, is_of_the_event};
use crate::config::list;
use crate::worker::Outcome;

/// Sends events on.
pub(super) struct Forward {
    pub(super) name: SmallStr,
    pub(super) filters: Vec<Condition>,
    pub(super) maps: Vec<Map>,
    producer: RoutingProducer,
    partial: Partial,
    sent: Counter,
    filtered: Counter,
}

impl Forward {
    pub(super) fn new(name: SmallStr, producer: RoutingProducer) -> Self {
        let counter =
            |metric: &'static str| metrics::counter!(metric, "pipeline" => name.to_string());
        Self {
            sent: counter("aqueduct_pipeline_sent_total"),
            filtered: counter("aqueduct_pipeline_filtered_total"),
            name,
            filters: Vec::new(),
            maps: Vec::new(),
            producer,
            partial: Partial::default(),
        }
    }

    pub(super) async fn handle(&self, event: Event) -> Outcome {
        for filter in &self.filters {
            match filter.holds(&event) {
                Ok(true) => {}
                Ok(false) => {
                    self.filtered.increment(1);
                    return Outcome::Ack;
                }
                Err(error) => return reject(error),
            }
        }
        let identity = (SmallStr::from(event.source()), event.id().clone());
        let mapped = self.maps.iter().try_fold(event, |event, map| map(event));
        let event = match mapped {
            Ok(event) => event,
            Err(error) => return reject(error),
        };
        let remaining = match self.partial.take(&identity) {
            Some(remaining) => remaining,
            None => match self.producer.choose(&event) {
                Ok(streams) => Remaining::new(streams),
                Err(error) => return reject(error),
            },
        };
        if remaining.streams.is_empty() {
            return Outcome::Ack;
        }
        let sent = match self.producer.send_to(&event, &remaining.streams).await {
            Ok(sent) => sent,
            // Nothing was sent: a stream could not be opened, or is not declared.
            Err(error) => {
                self.partial.put(identity, remaining);
                return Outcome::retry().with_error(error);
            }
        };
        let mut left = Remaining {
            streams: Vec::new(),
            stored: remaining.stored,
        };
        let mut failures = Vec::new();
        for (stream, outcome) in sent {
            match outcome {
                Ok(_) => left.stored.push(stream),
                Err(error) => {
                    failures.push((stream.clone(), error));
                    left.streams.push(stream);
                }
            }
        }
        self.sent
            .increment((remaining.streams.len() - failures.len()) as u64);
        self.settle(identity, left, failures)
    }

    fn settle(
        &self,
        identity: (SmallStr, EventId),
        left: Remaining,
        failures: Vec<(SmallStr, Error)>,
    ) -> Outcome {
        // A refusal for the event's own sake decides: another attempt cannot help.
        let refused = failures.iter().find(|(_, error)| is_of_the_event(error));
        let Some((stream, error)) = refused.or(failures.first()) else {
            return Outcome::Ack;
        };
        let stored = match left.stored.is_empty() {
            true => String::new(),
            false => format!("; stored in {}", list(left.stored.iter())),
        };
        let said = format!("pipeline {}: stream {stream}{stored}", self.name);
        if refused.is_some() {
            return reject(format_args!("{said}: {error}"));
        }
        let error = error.clone().context(said);
        self.partial.put(identity, left);
        Outcome::retry().with_error(error)
    }
}
