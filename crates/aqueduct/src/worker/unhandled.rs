use std::sync::Mutex;
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{Event, Instant};
use aqueduct_layers::DeadLetters;

use super::engine::Engine;
use super::outcome::Outcome;
use crate::config::OnUnhandled;

/// How often records that are not CloudEvents are warned of.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// How long after the last such record the worker's health reports them.
const RECENT: Duration = Duration::from_secs(300);

/// Counts the records that are not CloudEvents and that no handler takes.
#[derive(Default)]
pub(crate) struct ForeignRecords {
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    count: u64,
    last: Option<Instant>,
    warned: Option<Instant>,
}

impl ForeignRecords {
    /// Counts one. Returns the count so far if it is time to warn.
    fn note(&self, now: Instant) -> Option<u64> {
        let mut seen = lock(&self.seen);
        seen.count += 1;
        seen.last = Some(now);
        let is_quiet = seen.warned.is_some_and(|at| now < at + WARN_EVERY);
        (!is_quiet).then(|| {
            seen.warned = Some(now);
            seen.count
        })
    }

    /// Returns the count if there was one in the last five minutes.
    pub(crate) fn recent(&self, now: Instant) -> Option<u64> {
        let seen = lock(&self.seen);
        seen.last
            .is_some_and(|last| now < last + RECENT)
            .then_some(seen.count)
    }
}

impl Engine {
    /// Decides about an event that no handler takes.
    pub(super) fn unhandled(&self, event: &Event) -> Outcome {
        self.counters.unhandled.increment(1);
        if event.kind() == Event::DAMAGED.as_str() {
            let why = event.damage().unwrap_or("the record is damaged");
            return Outcome::reject(format!("{}: {why}", DeadLetters::UNDECODABLE));
        }
        let is_foreign = event.is_foreign();
        if is_foreign {
            self.note_foreign(event);
        }
        // A new type is a normal day. Records without any type mean that a producer changed its
        // format: acknowledged in silence, they would be lost.
        let refuse = match self.policy.unhandled {
            Some(OnUnhandled::Ack) => false,
            Some(OnUnhandled::Reject) => true,
            None => is_foreign,
        };
        match (refuse, is_foreign) {
            (false, _) => Outcome::Ack,
            (true, true) => Outcome::reject(format!(
                "not a CloudEvent, and no handler takes the type {}",
                Event::FOREIGN
            )),
            (true, false) => Outcome::reject(format!("no handler takes the type {}", event.kind())),
        }
    }

    fn note_foreign(&self, event: &Event) {
        self.counters.foreign.increment(1);
        if let Some(count) = self.foreign.note(self.runtime.now()) {
            tracing::warn!(
                group = %self.group, id = %event.id(), source = event.source(), count,
                "records that are not CloudEvents, and no handler takes the type {}: add a handler for it \
                 or correct their producer; `unhandled` decides what becomes of them",
                Event::FOREIGN
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_once_a_minute_and_health_forgets_after_five() {
        let at = |seconds| Instant::after_origin(Duration::from_secs(seconds));
        let foreign = ForeignRecords::default();
        assert_eq!(foreign.recent(at(0)), None);
        let warned: Vec<_> = (0..130).filter_map(|n| foreign.note(at(n))).collect();
        assert_eq!(warned, [1, 61, 121]);
        assert_eq!(foreign.recent(at(129 + 299)), Some(130));
        assert_eq!(foreign.recent(at(129 + 300)), None);
    }
}
