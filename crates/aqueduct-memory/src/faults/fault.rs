use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Retry, Runtime};

/// One injected fault.
#[derive(Clone, Debug)]
pub struct MemoryFault {
    error: Option<Error>,
    applied: Applied,
    request: Duration,
    response: Duration,
}

/// Whether a call whose response is lost took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It took effect.
    Yes,
    /// It did not take effect.
    No,
    /// Drawn at random. Of a batch of events, a prefix of random length is stored.
    Maybe,
}

impl MemoryFault {
    /// Refuses the call with an error of that kind, without effect.
    pub fn refused(kind: ErrorKind) -> Self {
        Self::error_of(Error::new(kind, format!("injected: {kind}")), Applied::No)
    }

    /// Throttles the call, with a hint to wait that long.
    pub fn throttled(wait: Duration) -> Self {
        let error = Error::new(ErrorKind::Throttled, "injected: throttled");
        Self::error_of(error.with_retry(Retry::After(wait)), Applied::No)
    }

    /// Loses the call's response: `TimedOut` with `Effect::Unknown`.
    pub fn lost_response(applied: Applied) -> Self {
        let error = Error::new(ErrorKind::TimedOut, "injected: the response was lost");
        Self::error_of(error.with_effect(Effect::Unknown), applied)
    }

    /// Reports a conflict for a conditional write although no other writer changed the row.
    pub fn conflict() -> Self {
        Self::refused(ErrorKind::Conflict)
    }

    /// Delays the call before it takes effect.
    pub fn late_request(by: Duration) -> Self {
        Self::slow().with_delays(by, Duration::ZERO)
    }

    /// Delays the response after the call took effect.
    pub fn late_response(by: Duration) -> Self {
        Self::slow().with_delays(Duration::ZERO, by)
    }

    /// Adds delays: `request` before the call takes effect, `response` after it.
    #[must_use]
    pub fn with_delays(mut self, request: Duration, response: Duration) -> Self {
        (self.request, self.response) = (request, response);
        self
    }

    fn slow() -> Self {
        Self {
            error: None,
            applied: Applied::Yes,
            request: Duration::ZERO,
            response: Duration::ZERO,
        }
    }

    fn error_of(error: Error, applied: Applied) -> Self {
        Self {
            error: Some(error),
            applied,
            ..Self::slow()
        }
    }

    pub(crate) fn error(&self) -> Option<&Error> {
        self.error.as_ref()
    }

    /// Draws how many events of a failed batch take effect.
    pub(crate) fn applied_prefix(&self, count: usize, runtime: &Runtime) -> usize {
        match self.applied {
            Applied::Yes => count,
            Applied::No => 0,
            Applied::Maybe => (runtime.random() % (count as u64 + 1)) as usize,
        }
    }

    pub(crate) async fn delay_request(&self, runtime: &Runtime) {
        wait(self.request, runtime).await;
    }

    pub(crate) async fn delay_answer(&self, runtime: &Runtime) {
        wait(self.response, runtime).await;
    }
}

async fn wait(duration: Duration, runtime: &Runtime) {
    if !duration.is_zero() {
        runtime.sleep(duration).await;
    }
}
