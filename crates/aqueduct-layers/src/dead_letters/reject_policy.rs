use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::sync::lock;
use aqueduct_core::{
    Admission, Delivery, Error, ErrorKind, Interceptor, Layer, Next, Parts, Result, Retry,
    Settlement, Settling, SmallStr, Stage,
};
use async_trait::async_trait;
use metrics::counter;

/// The action for a rejected event without dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnReject {
    /// The consumer stops with an error, and the event stays unsettled.
    Stop,
    /// The event is dropped, logged and counted.
    Drop,
}

impl OnReject {
    /// Returns the choice of that name: `stop` or `drop`.
    ///
    /// # Errors
    /// `Config`, naming the text and the choices.
    pub fn from_name(name: &str) -> Result<Self> {
        match name {
            "stop" => Ok(Self::Stop),
            "drop" => Ok(Self::Drop),
            _ => Err(Error::config(format!(
                "on_reject = \"{name}\": expected \"stop\" or \"drop\""
            ))),
        }
    }
}

/// Layer that handles rejected events without dead letters; without it a rejection is `Unsupported`.
///
/// It takes the place of [`DeadLetters`](super::DeadLetters).
#[derive(Clone, Debug)]
pub struct RejectPolicy {
    policy: Arc<Policy>,
}

#[derive(Debug)]
struct Policy {
    on_reject: OnReject,
    stopped: Mutex<Option<Error>>,
}

impl RejectPolicy {
    /// Creates the layer.
    pub fn new(on_reject: OnReject) -> Self {
        Self {
            policy: Arc::new(Policy {
                on_reject,
                stopped: Mutex::new(None),
            }),
        }
    }

    /// Returns the error that stopped the consumer, which `receive_batch` returns from then on; `None` if
    /// it was not stopped.
    pub fn stopped(&self) -> Option<Error> {
        self.policy.stopped()
    }
}

impl Layer for RejectPolicy {
    fn name(&self) -> &'static str {
        "reject_policy"
    }

    fn stage(&self) -> Stage {
        Stage::DeadLetters
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        Some(self.policy.clone())
    }
}

impl Policy {
    fn stopped(&self) -> Option<Error> {
        lock(&self.stopped).clone()
    }

    fn stop(&self, parts: &Parts, reason: &SmallStr) {
        let error = Error::new(
            ErrorKind::Handler,
            format!(
                "event {} was rejected ({reason}), and on_reject = \"stop\"",
                parts.event.id()
            ),
        )
        .with_retry(Retry::Never);
        lock(&self.stopped).get_or_insert(error);
    }
}

#[async_trait]
impl Interceptor for Policy {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        match self.stopped() {
            Some(error) => Err(error),
            None => Ok(vec![Admission::Pass; deliveries.len()]),
        }
    }

    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        let Settlement::Reject { reason } = settlement else {
            return next.settle(parts, settlement);
        };
        let assignment = next.settler().assignment();
        match self.on_reject {
            OnReject::Drop => {
                tracing::warn!(
                    event = %parts.event.id(),
                    stream = %assignment.stream,
                    group = %assignment.group,
                    %reason,
                    "a rejected event is dropped"
                );
                counter!("aqueduct_rejected_dropped_total",
                    "stream" => assignment.stream.to_string(),
                    "group" => assignment.group.to_string())
                .increment(1);
                next.settle(parts, Settlement::Ack)
            }
            OnReject::Stop => {
                self.stop(parts, &reason);
                let delay = Duration::ZERO;
                next.settle(parts, Settlement::Defer { delay })
            }
        }
    }
}
