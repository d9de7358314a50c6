use std::fmt;
use std::sync::Arc;

use aqueduct_core::{DeadLetterQueue, Error, ErrorKind, Event, Letter, Producer, Result};
use async_trait::async_trait;

/// A dead letter queue made of any producer: each letter is an event of its own, see
/// [`Letter::to_event`]. Give it a [`Dispatch`](crate::Dispatch), which retries and batches.
///
/// What was sent cannot be listed again, so no restart knows which keys are held: with
/// [`OnExhausted::LetterKey`](super::OnExhausted::LetterKey), see
/// [`DeadLetters::new`](super::DeadLetters::new).
#[derive(Clone)]
pub struct ProducerLetters {
    producer: Arc<dyn Producer>,
}

impl ProducerLetters {
    /// Letters that go out through `producer`.
    pub fn new(producer: Arc<dyn Producer>) -> Self {
        Self { producer }
    }
}

#[async_trait]
impl DeadLetterQueue for ProducerLetters {
    async fn bury(&self, letters: &[Letter]) -> Vec<Result<()>> {
        let events: Vec<Result<Event>> = letters.iter().map(Letter::to_event).collect();
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

impl fmt::Debug for ProducerLetters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ProducerLetters")
    }
}

fn unanswered() -> Error {
    Error::new(
        ErrorKind::Internal,
        "the producer gave fewer outcomes than it was given letters",
    )
}
