use std::collections::BTreeMap;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use aqueduct_core::{
    Assignment, Destination, Error, ErrorKind, HandlerCall, HandlerInterceptor, Parts, Result,
    StreamName, panic_message,
};
use futures::FutureExt as _;

use super::outcome::Outcome;

/// The layers around the calls of a group's handlers, the outermost first.
#[derive(Clone)]
pub(crate) struct Surround {
    layers: Arc<[Arc<dyn HandlerInterceptor>]>,
    /// By the stream's own name.
    destinations: Arc<BTreeMap<StreamName, Destination>>,
    /// For events that were received elsewhere.
    elsewhere: Destination,
}

impl Surround {
    pub(crate) fn new(
        layers: Vec<Arc<dyn HandlerInterceptor>>,
        destinations: Vec<Destination>,
    ) -> Self {
        let elsewhere = destinations
            .first()
            .cloned()
            .unwrap_or_else(|| Destination::new("", StreamName::from("")));
        let by_name = destinations.into_iter().map(|it| (it.stream.clone(), it));
        Self {
            layers: layers.into(),
            destinations: Arc::new(by_name.collect()),
            elsewhere,
        }
    }

    /// Runs a call of a handler within the layers. A layer may end the call, which is a failed
    /// attempt; what the handler itself came to stands.
    pub(crate) async fn call<T: Send>(
        &self,
        deliveries: &[(&Parts, &Assignment)],
        run: impl Future<Output = Result<T, Outcome>> + Send,
        summary: fn(&T) -> Result<()>,
    ) -> Result<T, Outcome> {
        if self.layers.is_empty() {
            return run.await;
        }
        let stream = deliveries.first().map(|(_, assignment)| &assignment.stream);
        let destination = stream
            .and_then(|stream| self.destinations.get(stream))
            .unwrap_or(&self.elsewhere);
        let call = HandlerCall::new(destination, deliveries);
        let mut done = None;
        let handler = async {
            let ended = run.await;
            let result = match &ended {
                Ok(outcome) => summary(outcome),
                Err(failed) => result_of(failed),
            };
            done = Some(ended);
            result
        };
        let surrounded = self
            .layers
            .iter()
            .rev()
            .fold(handler.boxed(), |handler, layer| layer.call(call, handler));
        let ended = AssertUnwindSafe(surrounded).catch_unwind().await;
        match (done, ended) {
            (Some(done), _) => done,
            (None, Ok(Err(error))) => Err(Outcome::Retry {
                after: None,
                error: Some(error),
            }),
            (None, Ok(Ok(()))) => Err(failed("a layer ended the call before its handler")),
            (None, Err(panic)) => {
                let said = panic_message(&*panic);
                Err(failed(&format!("a layer panicked: {said}")))
            }
        }
    }
}

/// The failure or rejection that layers see. The reason of a rejection may quote the data.
pub(super) fn result_of(outcome: &Outcome) -> Result<()> {
    let error = match outcome {
        Outcome::Ack => return Ok(()),
        Outcome::Retry {
            error: Some(error), ..
        } => error.clone(),
        Outcome::Retry { error: None, .. } => Error::new(ErrorKind::Handler, "the attempt failed"),
        Outcome::Reject { .. } => Error::new(ErrorKind::Handler, "the event is rejected"),
    };
    Err(error)
}

/// Returns the first failure of a batch.
pub(super) fn result_of_all(outcomes: &[Outcome]) -> Result<()> {
    outcomes.iter().try_for_each(result_of)
}

fn failed(why: &str) -> Outcome {
    Outcome::Retry {
        after: None,
        error: Some(Error::new(ErrorKind::Handler, why.to_owned())),
    }
}
