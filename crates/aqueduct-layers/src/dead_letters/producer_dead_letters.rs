use std::fmt;
use std::sync::Arc;

use aqueduct_core::outcomes::no_outcome;
use aqueduct_core::{BatchProducer, DeadLetter, DeadLetterQueue, Event, Result};
use async_trait::async_trait;

/// Dead letter queue over any producer: each dead letter is sent as an event, see
/// [`DeadLetter::to_event`]. Give it the application's `aqueduct::Producer`, which retries and batches.
///
/// Sent dead letters cannot be listed, so a restart loses the diverted keys: for
/// [`OnExhausted::DivertKey`](super::OnExhausted::DivertKey), see
/// [`DeadLetters::new`](super::DeadLetters::new).
#[derive(Clone)]
pub struct ProducerDeadLetters {
    producer: Arc<dyn BatchProducer>,
}

impl ProducerDeadLetters {
    /// Creates a queue that sends through `producer`.
    pub fn new(producer: Arc<dyn BatchProducer>) -> Self {
        Self { producer }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl DeadLetterQueue for ProducerDeadLetters {
    async fn put(&self, dead_letters: &[DeadLetter]) -> Vec<Result<()>> {
        let events: Vec<Result<Event>> = dead_letters.iter().map(DeadLetter::to_event).collect();
        let sendable: Vec<Event> = events.iter().flatten().cloned().collect();
        let report = self.producer.send_batch(&sendable).await;
        let mut outcomes = report.into_outcomes().into_iter();
        events
            .into_iter()
            .map(|event| {
                event?;
                outcomes.next().unwrap_or_else(|| Err(no_outcome()))?;
                Ok(())
            })
            .collect()
    }
}

impl fmt::Debug for ProducerDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerDeadLetters")
    }
}
