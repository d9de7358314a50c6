use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Retry, Runtime};

/// One thing that goes wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    error: Option<Error>,
    applied: Applied,
    request: Duration,
    answer: Duration,
}

/// Whether a call whose answer is lost took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It did.
    Yes,
    /// It did not.
    No,
    /// That is drawn. Of a batch of events, a prefix of drawn length is stored.
    Maybe,
}

impl Fault {
    /// The call is refused with an error of that kind, without effect.
    pub fn refused(kind: ErrorKind) -> Self {
        Self::error_of(Error::new(kind, format!("injected: {kind}")), Applied::No)
    }

    /// The call is throttled, with the hint to wait that long.
    pub fn throttled(wait: Duration) -> Self {
        let error = Error::new(ErrorKind::Throttled, "injected: throttled");
        Self::error_of(error.with_retry(Retry::After(wait)), Applied::No)
    }

    /// The call's answer is lost: `TimedOut` with `Effect::Unknown`.
    pub fn lost_answer(applied: Applied) -> Self {
        let error = Error::new(ErrorKind::TimedOut, "injected: the answer is lost");
        Self::error_of(error.with_effect(Effect::Unknown), applied)
    }

    /// A conditional write is told that somebody else was first, though nobody was.
    pub fn conflict() -> Self {
        Self::refused(ErrorKind::Conflict)
    }

    /// The call takes effect that much later.
    pub fn late_request(by: Duration) -> Self {
        Self::slow().with_delays(by, Duration::ZERO)
    }

    /// The call takes effect at once and is answered that much later.
    pub fn late_answer(by: Duration) -> Self {
        Self::slow().with_delays(Duration::ZERO, by)
    }

    /// The same, and slow: `request` before it takes effect, `answer` after it.
    #[must_use]
    pub fn with_delays(mut self, request: Duration, answer: Duration) -> Self {
        (self.request, self.answer) = (request, answer);
        self
    }

    fn slow() -> Self {
        Self {
            error: None,
            applied: Applied::Yes,
            request: Duration::ZERO,
            answer: Duration::ZERO,
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

    /// How many of a batch take effect although it fails.
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
        wait(self.answer, runtime).await;
    }
}

async fn wait(duration: Duration, runtime: &Runtime) {
    if !duration.is_zero() {
        runtime.sleep(duration).await;
    }
}
