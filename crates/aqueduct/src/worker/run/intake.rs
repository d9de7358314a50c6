use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aqueduct_core::{Abandoned, Backoff, BatchConsumer, Delivery, Error, Result, Retry, Runtime};
use futures::FutureExt as _;
use futures::future::BoxFuture;

/// The wait between failed receives: short, but not a hot loop.
const RECEIVE_AGAIN: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(10));

/// Receives from the consumer, one call at a time, and backs off after failures.
pub(super) struct Intake {
    consumer: Arc<dyn BatchConsumer>,
    runtime: Runtime,
    /// The maximum of one receive.
    max: usize,
    receiving: Option<BoxFuture<'static, Result<Vec<Delivery>>>>,
    failures: u32,
    ended: bool,
}

impl Intake {
    pub(super) fn new(consumer: Arc<dyn BatchConsumer>, runtime: Runtime, max: usize) -> Self {
        Self {
            consumer,
            runtime,
            max,
            receiving: None,
            failures: 0,
            ended: false,
        }
    }

    pub(super) fn consumer(&self) -> &Arc<dyn BatchConsumer> {
        &self.consumer
    }

    /// Returns whether the consumer has ended: nothing more will come.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Begins a receive, unless one is under way or the consumer has ended.
    pub(super) fn begin(&mut self) {
        if self.receiving.is_none() && !self.ended {
            self.receiving = Some(self.receive(Duration::ZERO));
        }
    }

    /// Cancels a receive that is under way: what it received comes with the next one.
    pub(super) fn stop(&mut self) {
        self.receiving = None;
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Vec<Delivery>>> {
        let Some(receiving) = &mut self.receiving else {
            return Poll::Pending;
        };
        let received = futures::ready!(receiving.poll_unpin(cx));
        self.receiving = None;
        Poll::Ready(received)
    }

    /// Notes a successful receive; no delivery in it means that the consumer has ended.
    pub(super) fn received(&mut self, deliveries: &mut [Delivery]) {
        self.failures = 0;
        self.ended = deliveries.is_empty();
        for delivery in deliveries {
            // A handler that the worker cancels has not failed (rule 5).
            delivery.drop_as(Abandoned::Cancelled);
        }
    }

    /// Receives again after a wait.
    ///
    /// # Errors
    /// The error itself, if it is not retryable.
    pub(super) fn failed(&mut self, error: Error) -> Result<()> {
        if !error.is_retryable() {
            return Err(error);
        }
        self.failures = self.failures.saturating_add(1);
        let delay = match error.retry() {
            Retry::After(hint) => hint,
            _ => RECEIVE_AGAIN.delay(self.failures, &self.runtime),
        };
        self.receiving = Some(self.receive(delay.max(Duration::from_millis(1))));
        Ok(())
    }

    fn receive(&self, delay: Duration) -> BoxFuture<'static, Result<Vec<Delivery>>> {
        let (consumer, runtime, max) = (self.consumer.clone(), self.runtime.clone(), self.max);
        async move {
            if !delay.is_zero() {
                runtime.sleep(delay).await;
            }
            consumer.receive_batch(max).await
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::task::Waker;

    use aqueduct_core::{Capabilities, Claims, ConsumerStatus, ErrorKind, Limits};
    use aqueduct_runtime::Simulation;
    use async_trait::async_trait;

    use super::*;

    /// Returns errors until it has none left, then ends.
    struct Failing(Mutex<Vec<Error>>);

    #[async_trait]
    impl BatchConsumer for Failing {
        async fn receive_batch(&self, _: usize) -> Result<Vec<Delivery>> {
            match self.0.lock().unwrap().pop() {
                Some(error) => Err(error),
                None => Ok(Vec::new()),
            }
        }

        async fn drain(&self) -> Result<()> {
            Ok(())
        }

        async fn flush(&self) -> Result<()> {
            Ok(())
        }

        async fn close(&self) -> Result<()> {
            Ok(())
        }

        fn pause(&self, _: bool) {}

        fn capabilities(&self) -> Capabilities {
            Capabilities {
                claims: Claims::none(),
                limits: Limits::default(),
            }
        }

        fn status(&self) -> ConsumerStatus {
            ConsumerStatus::default()
        }
    }

    #[test]
    fn a_failed_receive_is_repeated_after_the_wait_that_the_error_names() {
        let simulation = Simulation::new(1);
        let runtime = simulation.runtime();
        let hint = Duration::from_secs(7);
        let throttled =
            Error::new(ErrorKind::Throttled, "too often").with_retry(Retry::After(hint));
        let failing = Failing(Mutex::new(vec![throttled]));
        let mut intake = Intake::new(Arc::new(failing), runtime.clone(), 10);
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(intake.poll(cx).is_pending(), "nothing was begun");
        let began = runtime.now();
        let ended = simulation.block_on(async {
            intake.begin();
            let error = std::future::poll_fn(|cx| intake.poll(cx))
                .await
                .unwrap_err();
            intake.failed(error).unwrap();
            std::future::poll_fn(|cx| intake.poll(cx)).await.unwrap()
        });
        assert_eq!(runtime.now().since(began), hint);
        intake.received(&mut ended.unwrap());
        assert!(intake.has_ended());
        intake.begin();
        assert!(intake.poll(cx).is_pending(), "nothing more will come");
    }

    #[test]
    fn an_error_that_a_retry_does_not_mend_is_returned() {
        let simulation = Simulation::new(1);
        let failing = Failing(Mutex::new(Vec::new()));
        let mut intake = Intake::new(Arc::new(failing), simulation.runtime(), 10);
        let denied = Error::new(ErrorKind::Denied, "no rights");
        assert_eq!(intake.failed(denied).unwrap_err().kind(), ErrorKind::Denied);
    }
}
