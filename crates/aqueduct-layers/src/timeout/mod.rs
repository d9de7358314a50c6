//! Time limits for sending, settling and handling.

mod consumer;
mod options;
mod producer;

use std::fmt;
use std::sync::Arc;

use aqueduct_core::{
    BatchProducer, Destination, HandlerInterceptor, Interceptor, Layer, Result, Runtime, Stage,
};

use self::consumer::Limits;
pub use self::options::TimeoutOptions;
use self::producer::TimedProducer;

/// Layer that ends operations beyond a time limit with `TimedOut`.
///
/// - **Sending**: the events of the attempt have an unknown fate. The producer's own
///   `resend_unknown` decides whether they are sent again.
/// - **Settling**: the settlement fails and may be retried. It may have taken effect nevertheless;
///   settling twice is harmless.
/// - **Handling**: the handler is cancelled at its next await, and the attempt has failed.
///
/// A handler that blocks its thread cannot be cancelled.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::{Result, Runtime};
/// use aqueduct_layers::{Timeout, TimeoutOptions};
///
/// fn layer(runtime: &Runtime) -> Result<Timeout> {
///     let options = TimeoutOptions {
///         send: Some(Duration::from_secs(5)),
///         ..TimeoutOptions::default()
///     };
///     Timeout::new(options, runtime)
/// }
/// ```
#[derive(Clone)]
pub struct Timeout {
    options: TimeoutOptions,
    runtime: Runtime,
}

impl Timeout {
    /// Creates a layer with those limits.
    ///
    /// # Errors
    /// `Config`, as for [`TimeoutOptions::validate`].
    pub fn new(options: TimeoutOptions, runtime: &Runtime) -> Result<Self> {
        options.validate()?;
        Ok(Self {
            options,
            runtime: runtime.clone(),
        })
    }
}

impl Layer for Timeout {
    fn name(&self) -> &'static str {
        "timeout"
    }

    fn stage(&self) -> Stage {
        Stage::Observe
    }

    fn producer(&self, _: &Destination, inner: Arc<dyn BatchProducer>) -> Arc<dyn BatchProducer> {
        match self.options.send {
            Some(limit) => Arc::new(TimedProducer::new(inner, limit, self.runtime.clone())),
            None => inner,
        }
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        let limit = self.options.settle?;
        Some(Arc::new(Limits::new(limit, self.runtime.clone())))
    }

    fn handler(&self) -> Option<Arc<dyn HandlerInterceptor>> {
        let limit = self.options.handler?;
        Some(Arc::new(Limits::new(limit, self.runtime.clone())))
    }
}

impl fmt::Debug for Timeout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeout")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
