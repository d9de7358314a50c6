use std::fmt;
use std::sync::Arc;

use aqueduct_core::{DeadLetter, DeadLetterQueue, Error, ErrorKind, Event, Producer, Result};
use async_trait::async_trait;

/// A dead letter queue made of any producer: each dead letter is an event of its own, see
/// [`DeadLetter::to_event`]. Give it the application's `aqueduct::Producer`, which retries and batches.
///
/// What was sent cannot be listed again, so no restart knows which keys are held: with
/// [`OnExhausted::DivertKey`](super::OnExhausted::LetterKey), see
/// [`DeadLetters::new`](super::DeadLetters::new).
#[derive(Clone)]
pub struct ProducerDeadLetters {
    producer: Arc<dyn Producer>,
}

impl ProducerDeadLetters {
    /// Dead letters that go out through `producer`.
    pub fn new(producer: Arc<dyn Producer>) -> Self {
        Self { producer }
    }
}

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
                outcomes.next().unwrap_or_else(|| Err(unanswered()))?;
                Ok(())
            })
            .collect()
    }
}

impl fmt::Debug for ProducerDeadLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerLetters")
    }
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the producer gave fewer outcomes than it was given dead letters",
    )
}
