use std::time::Duration;

use aqueduct_core::{
    Abandoned, Admission, Capabilities, Delivery, HandlerCall, HandlerFuture, HandlerInterceptor,
    Interceptor, Next, Parts, Result, Runtime, Settlement, Settler, Settling,
};
use async_trait::async_trait;
use futures::FutureExt as _;

/// Ends settlements, or calls of handlers, that take longer than a limit.
pub(super) struct Limits {
    limit: Duration,
    runtime: Runtime,
}

impl Limits {
    pub(super) fn new(limit: Duration, runtime: Runtime) -> Self {
        Self { limit, runtime }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl Interceptor for Limits {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        Ok(vec![Admission::Pass; deliveries.len()])
    }

    fn settle<'a>(
        &'a self,
        parts: &'a Parts,
        settlement: Settlement,
        next: Next<'a>,
    ) -> Settling<'a> {
        match next.settle(parts, settlement) {
            // A log settles in memory: no timer, no allocation.
            Settling::Pending(settling) => Settling::pending(async move {
                self.runtime
                    .timeout(self.limit, "settling", settling)
                    .await?
            }),
            ready => ready,
        }
    }

    fn abandoned(&self, _: &Parts, _: &dyn Settler, _: Abandoned) {}

    fn capabilities(&self, inner: Capabilities) -> Capabilities {
        inner
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }
}

impl HandlerInterceptor for Limits {
    fn call<'a>(&'a self, _: HandlerCall<'a>, handler: HandlerFuture<'a>) -> HandlerFuture<'a> {
        let limited = self.runtime.timeout(self.limit, "the handler", handler);
        limited.map(|ended| ended.and_then(|result| result)).boxed()
    }
}
