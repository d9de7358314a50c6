use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::outcomes::{blocked_error, no_outcome};
use aqueduct_core::random::SplitMix64;
use aqueduct_core::sync::lock;
use aqueduct_core::{
    BatchProducer, Capabilities, Effect, Error, ErrorKind, Event, Lane, Receipt, Result,
    SendReport, SmallStr,
};
use async_trait::async_trait;

/// A producer that keeps the prefix rule and fails often: some events of a call are not stored,
/// some are stored and their responses lost.
pub(crate) struct Flaky {
    inner: Arc<dyn BatchProducer>,
    draws: Mutex<SplitMix64>,
    one_in: u64,
    loses_responses: bool,
}

impl Flaky {
    /// Fails one event in `one_in`, without effect.
    pub(crate) fn failing(inner: Arc<dyn BatchProducer>, one_in: u64) -> Self {
        Self {
            inner,
            draws: Mutex::new(SplitMix64::new(1)),
            one_in,
            loses_responses: false,
        }
    }

    /// Fails one event in `one_in`; half of those are stored all the same.
    pub(crate) fn losing_responses(inner: Arc<dyn BatchProducer>, one_in: u64) -> Self {
        Self {
            loses_responses: true,
            ..Self::failing(inner, one_in)
        }
    }

    fn draw(&self) -> u64 {
        lock(&self.draws).next_u64() >> 16
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for Flaky {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let mut failed_keys = BTreeSet::<SmallStr>::new();
        let mut plan: Vec<Fate> = Vec::with_capacity(events.len());
        for event in events {
            let blocked = event
                .key_text()
                .is_some_and(|key| failed_keys.contains(key));
            let fate = match (blocked, self.draw() % self.one_in) {
                (true, _) => Fate::Blocked,
                (false, 0) if self.loses_responses && self.draw().is_multiple_of(2) => {
                    Fate::StoredUnseen
                }
                (false, 0) => Fate::Refused,
                (false, _) => Fate::Stored,
            };
            if let (Fate::Refused | Fate::StoredUnseen, Some(key)) = (&fate, event.key_text()) {
                failed_keys.insert(key.clone());
            }
            plan.push(fate);
        }
        let sent: Vec<Event> = events
            .iter()
            .zip(&plan)
            .filter(|(_, fate)| matches!(fate, Fate::Stored | Fate::StoredUnseen))
            .map(|(event, _)| event.clone())
            .collect();
        let mut outcomes = self
            .inner
            .send_batch(&sent)
            .await
            .into_outcomes()
            .into_iter();
        SendReport::new(
            plan.into_iter()
                .map(|fate| fate.outcome(&mut outcomes))
                .collect(),
        )
    }

    fn lane(&self, event: &Event) -> Lane {
        self.inner.lane(event)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn deduplicates(&self) -> Option<Duration> {
        self.inner.deduplicates()
    }

    fn consecutive_requests(&self, events: &[Event]) -> u32 {
        self.inner.consecutive_requests(events)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

enum Fate {
    Stored,
    StoredUnseen,
    Refused,
    Blocked,
}

impl Fate {
    fn outcome(self, outcomes: &mut impl Iterator<Item = Result<Receipt>>) -> Result<Receipt> {
        let mut outcome = || outcomes.next().unwrap_or_else(|| Err(no_outcome()));
        let unavailable = |effect| {
            Err(Error::new(ErrorKind::Unavailable, "made to fail by the suite").with_effect(effect))
        };
        match self {
            Self::Stored => outcome(),
            Self::StoredUnseen => outcome().and(unavailable(Effect::Unknown)),
            Self::Refused => unavailable(Effect::None),
            Self::Blocked => Err(blocked_error()),
        }
    }
}
