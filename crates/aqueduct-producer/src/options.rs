use std::time::Duration;

use aqueduct_core::{Backoff, Error, Result, SmallStr};

/// The options of a [`Producer`](crate::Producer).
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// The name of the stream in metrics and logs. Default: empty.
    pub name: SmallStr,
    /// Stamped on events without a source, once, before any attempt, so that a retried event keeps
    /// its identity. Default: none; an event without a source is then refused.
    pub source: Option<SmallStr>,
    /// How long an event may wait for others while nothing is in flight. Default: zero, since
    /// waiting at an idle stream costs latency and saves nothing.
    pub linger: Duration,
    /// How long an event may wait for others while a request is in flight; then it is sent beside
    /// that one. Default: 5 ms, longer than a fast response takes and shorter than a person notices,
    /// so that one slow request does not stop the rest.
    pub batch_wait: Duration,
    /// The most events of one request; the backend's own limit applies if it is lower.
    /// Default: 5,000, which fills the requests of a service that takes many events in a record. A
    /// request holds the events that have gathered; it does not wait to be full.
    pub max_batch_events: usize,
    /// The most bytes of one request, approximately; the backend's own limit applies if it is lower.
    /// Default: 4 MiB, so that what is in flight fits the buffer many times over.
    pub max_batch_bytes: usize,
    /// The most events that are accepted and have no outcome yet. Callers wait beyond it.
    /// Default: 20,000, as many full requests as are in flight.
    pub max_buffered_events: usize,
    /// The most bytes of those events, approximately. A larger event is let in alone when the
    /// buffer is empty. Default: 64 MiB.
    pub max_buffered_bytes: usize,
    /// The most requests in flight, whose keys are disjoint. Default: 4.
    pub in_flight: usize,
    /// The most attempts per event. Default: 10; with the default back-off the deadline comes
    /// first if a service is unreachable, and the attempts if it fails at once.
    pub attempts: u32,
    /// The time from acceptance within which every event has an outcome, wherever it waits; a request
    /// in flight ends first. Default: 2 minutes, longer than a failover of the services.
    pub deadline: Duration,
    /// The wait between attempts, with full jitter; a longer hint of the server takes precedence. Default:
    /// 50 ms doubling to 10 s.
    pub backoff: Backoff,
    /// The limit on the extra load of retries.
    pub budget: RetryBudget,
    /// Whether an unknown outcome is retried. The event may then be stored twice, with the
    /// same id. Default: no, since only a consumer that deduplicates makes that harmless. A backend that
    /// deduplicates for at least the deadline is always sent to again.
    pub resend_unknown: bool,
    /// The time-out of one request; its outcomes are unknown then. A backend that makes several
    /// requests of one batch, one after the other, has it for each. Default: 30 s.
    pub request_timeout: Duration,
    /// How long `close` waits for outcomes. Default: 30 s.
    pub drain: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            name: SmallStr::default(),
            source: None,
            linger: Duration::ZERO,
            batch_wait: Duration::from_millis(5),
            max_batch_events: 5_000,
            max_batch_bytes: 4 << 20,
            max_buffered_events: 20_000,
            max_buffered_bytes: 64 << 20,
            in_flight: 4,
            attempts: 10,
            deadline: Duration::from_secs(120),
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(10)),
            budget: RetryBudget::default(),
            resend_unknown: false,
            request_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(30),
        }
    }
}

impl ProducerOptions {
    /// Checks the values.
    ///
    /// # Errors
    /// `Config`, naming the option, the value and the allowed range.
    pub fn validate(&self) -> Result<()> {
        let counts = [
            ("max_batch_events", self.max_batch_events),
            ("max_batch_bytes", self.max_batch_bytes),
            ("max_buffered_events", self.max_buffered_events),
            ("max_buffered_bytes", self.max_buffered_bytes),
            ("in_flight", self.in_flight),
            ("attempts", self.attempts as usize),
        ];
        if let Some((name, _)) = counts.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::config(format!("{name} = 0: it must be at least 1")));
        }
        let times = [
            ("deadline", self.deadline),
            ("request_timeout", self.request_timeout),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, value)| value.is_zero()) {
            return Err(Error::config(format!(
                "{name} = 0: it must be longer than nothing"
            )));
        }
        if self.max_buffered_events < self.max_batch_events {
            return Err(Error::config(format!(
                "max_buffered_events = {}: it must be at least max_batch_events = {}",
                self.max_buffered_events, self.max_batch_events
            )));
        }
        self.budget.validate()
    }

    /// Raises every zero that cannot work to one.
    pub(crate) fn workable(mut self) -> Self {
        for count in [
            &mut self.max_batch_events,
            &mut self.max_batch_bytes,
            &mut self.max_buffered_events,
            &mut self.max_buffered_bytes,
            &mut self.in_flight,
        ] {
            *count = (*count).max(1);
        }
        self.attempts = self.attempts.max(1);
        self.budget = self.budget.workable();
        self
    }
}

/// The limit on retries, in requests.
///
/// Limits on attempts alone multiply the load of a backend that struggles: with ten attempts each,
/// a backend that fails half of its requests is asked twice as often, exactly when it can do less.
/// A budget bounds the sum instead: requests that carry only retried events are paid from a
/// bucket that fills with a share of the fresh requests, and slowly by itself, so that a quiet
/// sender can still retry. If the bucket is empty the retry waits, up to the event's deadline;
/// retries in a request with fresh events cost nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Retries paid for by one fresh request. Default: 0.2, which bounds the extra load at a fifth.
    pub share: f64,
    /// Retries per second that need no fresh request. Default: 10.
    pub per_second: f64,
    /// The capacity of the bucket, which is full at the start. Default: 100.
    pub reserve: f64,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self {
            share: 0.2,
            per_second: 10.0,
            reserve: 100.0,
        }
    }
}

impl RetryBudget {
    fn validate(&self) -> Result<()> {
        let refuse = |name: &str, value: f64, allowed: &str| {
            Err(Error::config(format!("budget.{name} = {value}: {allowed}")))
        };
        if !self.share.is_finite() || self.share < 0.0 {
            return refuse("share", self.share, "it must be zero or more");
        }
        if !self.per_second.is_finite() || self.per_second <= 0.0 {
            return refuse("per_second", self.per_second, "it must be above zero");
        }
        if !self.reserve.is_finite() || self.reserve < 1.0 {
            return refuse("reserve", self.reserve, "it must be at least 1");
        }
        Ok(())
    }

    fn workable(self) -> Self {
        let usual = Self::default();
        if self.validate().is_ok() { self } else { usual }
    }
}
