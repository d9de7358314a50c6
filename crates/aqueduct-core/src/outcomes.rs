//! The outcomes of `send_batch`: every producer keeps the index and the prefix rule the same way,
//! and says the same where it does not send an event.

use std::collections::BTreeSet;

use crate::{Effect, Error, ErrorKind, Receipt, Result, SendReport};

/// Collects the outcomes of one `send_batch` call and keeps the prefix rule: of the events of one
/// key, those stored are a prefix.
///
/// `K` identifies a key: its text, or a hash. Two keys with one hash are then kept in order like
/// one. Events without a key (`None`) block nothing.
///
/// ```
/// use aqueduct_core::outcomes::SendOutcomes;
/// use aqueduct_core::{Error, ErrorKind, Receipt};
///
/// let mut outcomes = SendOutcomes::new(2);
/// outcomes.failed(0, Some("k"), Error::new(ErrorKind::Throttled, "over 1 MiB/s"));
/// if outcomes.admit(1, Some("k")) {
///     outcomes.stored(1, Receipt::default());
/// }
/// let outcomes = outcomes.into_report().into_outcomes();
/// assert!(outcomes[1].as_ref().unwrap_err().is(ErrorKind::Blocked));
/// ```
#[derive(Debug)]
pub struct SendOutcomes<K> {
    outcomes: Vec<Option<Result<Receipt>>>,
    blocked: BTreeSet<K>,
}

impl<K> Default for SendOutcomes<K> {
    fn default() -> Self {
        Self {
            outcomes: Vec::new(),
            blocked: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord> SendOutcomes<K> {
    /// Creates the outcomes of a call with that many events, none of them decided.
    pub fn new(events: usize) -> Self {
        let mut outcomes = Vec::new();
        outcomes.resize_with(events, || None);
        Self {
            outcomes,
            blocked: BTreeSet::new(),
        }
    }

    /// Returns whether an earlier event of `key` is not stored, or may not be.
    #[inline]
    pub fn is_blocked(&self, key: Option<K>) -> bool {
        !self.blocked.is_empty() && key.is_some_and(|key| self.blocked.contains(&key))
    }

    /// Returns whether any key is blocked.
    #[inline]
    pub fn any_blocked(&self) -> bool {
        !self.blocked.is_empty()
    }

    /// Returns whether the event may be sent. Behind a failed event of its key it may not, and its
    /// outcome is `Blocked`.
    #[inline]
    pub fn admit(&mut self, index: usize, key: Option<K>) -> bool {
        let blocked = self.is_blocked(key);
        if blocked {
            self.outcomes[index] = Some(Err(blocked_error()));
        }
        !blocked
    }

    /// Records that the event is stored.
    #[inline]
    pub fn stored(&mut self, index: usize, receipt: Receipt) {
        self.outcomes[index] = Some(Ok(receipt));
    }

    /// Records what an attempt made of the event, and blocks its key for the rest of the call.
    pub fn failed(&mut self, index: usize, key: Option<K>, error: Error) {
        self.blocked.extend(key);
        self.outcomes[index] = Some(Err(error));
    }

    /// Records `outcome` as [`stored`](Self::stored) or [`failed`](Self::failed).
    pub fn settle(&mut self, index: usize, key: Option<K>, outcome: Result<Receipt>) {
        match outcome {
            Ok(receipt) => self.stored(index, receipt),
            Err(error) => self.failed(index, key, error),
        }
    }

    /// Records that the event was refused without being stored: as `Blocked` behind a failed event
    /// of its key, otherwise with `error`.
    pub fn refuse(&mut self, index: usize, key: Option<K>, error: Error) {
        if self.admit(index, key) {
            self.failed(index, key, error);
        }
    }

    /// Records that the event is not sent because something else failed with `error`.
    pub fn skip(&mut self, index: usize, key: Option<K>, error: &Error) {
        self.refuse(index, key, not_sent(error));
    }

    /// Skips every event that has no outcome, after a failure that stops the call.
    pub fn skip_rest(&mut self, error: &Error) {
        let error = not_sent(error);
        for outcome in self.outcomes.iter_mut().filter(|it| it.is_none()) {
            *outcome = Some(Err(error.clone()));
        }
    }

    /// Begins another pass over the events. What the pass before refused has blocked the events
    /// behind it, which keep their outcomes; the events before it may still be sent.
    pub fn begin_pass(&mut self) {
        self.blocked.clear();
    }

    /// Returns the report. An event without an outcome fails with [`no_outcome`].
    pub fn into_report(self) -> SendReport {
        let outcomes = self.outcomes.into_iter();
        SendReport::new(
            outcomes
                .map(|outcome| outcome.unwrap_or_else(|| Err(no_outcome())))
                .collect(),
        )
    }
}

/// Creates the error of an event that was not sent behind a failed one of its key: without effect,
/// and not worth a retry before that one is stored.
pub fn blocked_error() -> Error {
    Error::new(
        ErrorKind::Blocked,
        "blocked: an earlier event of the same key is not stored, so this one was not sent",
    )
}

/// Creates the error of an event for which a producer reported nothing. Whether it is stored is
/// unknown.
pub fn no_outcome() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the producer returned no outcome for the event",
    )
    .with_effect(Effect::Unknown)
}

/// Creates the error of an event that was not sent because of `error`: the same, without effect.
pub fn not_sent(error: &Error) -> Error {
    match error.effect() {
        Effect::None => error.clone(),
        Effect::Unknown => error.clone().with_effect(Effect::None).context("not sent"),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::Retry;

    #[derive(Clone, Copy, Debug)]
    enum Attempt {
        Stored,
        Failed(Effect),
        Refused,
        Skipped,
        Forgotten,
    }

    fn attempt() -> impl Strategy<Value = Attempt> {
        prop_oneof![
            4 => Just(Attempt::Stored),
            1 => Just(Attempt::Failed(Effect::None)),
            1 => Just(Attempt::Failed(Effect::Unknown)),
            1 => Just(Attempt::Refused),
            1 => Just(Attempt::Skipped),
            1 => Just(Attempt::Forgotten),
        ]
    }

    fn play(events: &[(Option<u8>, Attempt)]) -> Vec<Result<Receipt>> {
        let mut outcomes = SendOutcomes::new(events.len());
        let error = |effect| Error::new(ErrorKind::Unavailable, "away").with_effect(effect);
        for (index, (key, attempt)) in events.iter().enumerate() {
            match attempt {
                Attempt::Refused => {
                    outcomes.refuse(index, *key, Error::new(ErrorKind::TooLarge, "large"));
                }
                Attempt::Skipped => outcomes.skip(index, *key, &error(Effect::Unknown)),
                _ if !outcomes.admit(index, *key) => {}
                Attempt::Stored => outcomes.settle(index, *key, Ok(Receipt::default())),
                Attempt::Failed(effect) => outcomes.settle(index, *key, Err(error(*effect))),
                // Its key is not blocked, as after a bug in a backend: the report still says so.
                Attempt::Forgotten => {}
            }
        }
        outcomes.into_report().into_outcomes()
    }

    proptest! {
        #[test]
        fn the_stored_events_of_a_key_are_a_prefix(
            events in prop::collection::vec((prop::option::of(0..4u8), attempt()), 0..60),
        ) {
            let outcomes = play(&events);
            prop_assert_eq!(outcomes.len(), events.len());
            let mut failed: BTreeMap<u8, ()> = BTreeMap::new();
            for ((key, attempt), outcome) in events.iter().zip(&outcomes) {
                let behind = key.is_some_and(|key| failed.contains_key(&key));
                match (outcome, attempt) {
                    (Ok(_), _) => prop_assert!(!behind && matches!(attempt, Attempt::Stored)),
                    (Err(error), _) if behind => {
                        prop_assert_eq!(error.kind(), ErrorKind::Blocked);
                        prop_assert_eq!(error.effect(), Effect::None);
                        prop_assert_eq!(error.retry(), Retry::Never);
                    }
                    (Err(error), Attempt::Forgotten) => {
                        prop_assert_eq!(error.kind(), ErrorKind::Internal);
                        prop_assert_eq!(error.effect(), Effect::Unknown);
                        continue;
                    }
                    (Err(error), Attempt::Failed(effect)) => {
                        prop_assert_eq!(error.effect(), *effect);
                    }
                    (Err(error), _) => prop_assert_eq!(error.effect(), Effect::None),
                }
                if let (Err(_), Some(key)) = (outcome, key) {
                    failed.insert(*key, ());
                }
            }
        }
    }

    #[test]
    fn a_failure_that_stops_the_call_leaves_no_effect_on_the_rest() {
        let mut outcomes = SendOutcomes::new(3);
        let cut = Error::new(ErrorKind::Unavailable, "cut").with_effect(Effect::Unknown);
        outcomes.stored(0, Receipt::default());
        outcomes.failed(1, Some("k"), cut.clone());
        outcomes.skip_rest(&cut);
        let outcomes = outcomes.into_report().into_outcomes();
        assert!(outcomes[0].is_ok());
        assert_eq!(outcomes[1].as_ref().unwrap_err().effect(), Effect::Unknown);
        let rest = outcomes[2].as_ref().unwrap_err();
        assert_eq!(rest.effect(), Effect::None);
        assert_eq!(rest.to_string(), "not sent: cut");
    }

    #[test]
    fn an_undecided_outcome_costs_no_space() {
        assert_eq!(
            size_of::<Option<Result<Receipt>>>(),
            size_of::<Result<Receipt>>()
        );
    }
}
