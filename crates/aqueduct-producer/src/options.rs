use std::time::Duration;

use aqueduct_core::{Backoff, Error, Result, SmallStr};

/// How a dispatch batches, bounds, paces and retries.
#[derive(Clone, Debug)]
pub struct ProducerOptions {
    /// The stream's name, as metrics and log lines carry it. Default: empty.
    pub name: SmallStr,
    /// Stamped on events that have no source, once, before any try, so that a resent event keeps
    /// its identity. Default: none; an event without a source is then refused.
    pub source: Option<SmallStr>,
    /// How long an event may wait for company while nothing is in flight. Default: zero, since
    /// waiting at an idle stream costs latency and saves nothing.
    pub linger: Duration,
    /// How long an event may wait for company while a request is in flight; then it is sent beside
    /// that one. Default: 5 ms, longer than a good answer takes and shorter than a person notices,
    /// so that one slow request does not stop the rest.
    pub batch_wait: Duration,
    /// The most events of one request; the backend's own limit applies where it is lower.
    /// Default: 5,000, which fills the requests of a service that takes many events in a record. A
    /// request has as many as have gathered; it does not wait to be full.
    pub max_batch_events: usize,
    /// The most bytes of one request, about; the backend's own limit applies where it is lower.
    /// Default: 4 MiB, so that what is in flight fits the buffer many times over.
    pub max_batch_bytes: usize,
    /// The most events that are accepted and have no outcome yet. Callers wait beyond it.
    /// Default: 20,000, as many full requests as are in flight.
    pub max_buffered_events: usize,
    /// The most bytes of those events, about. An event that is larger alone is let in when the
    /// buffer is empty. Default: 64 MiB.
    pub max_buffered_bytes: usize,
    /// The most requests in flight, whose keys are disjoint. Default: 4.
    pub in_flight: usize,
    /// How often an event is tried. Default: 10; with the default back-off the deadline comes
    /// first where a service is away, attempts where it answers at once.
    pub attempts: u32,
    /// How long an event is tried, from the moment it was accepted. Default: 2 minutes, longer than
    /// a failover of the services takes.
    pub deadline: Duration,
    /// The wait between tries, with full jitter; a longer hint of the server goes first. Default:
    /// 50 ms doubling to 10 s.
    pub backoff: Backoff,
    /// What resending may cost. See [`RetryBudget`].
    pub budget: RetryBudget,
    /// Whether an event whose fate is unknown is sent again. It may then be stored twice, with the
    /// same id. Default: no, since only a consumer that deduplicates makes that harmless.
    pub resend_unknown: bool,
    /// How long one request may take before its events' fate counts as unknown. Default: 30 s.
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
    /// Checks that the numbers can work.
    ///
    /// # Errors
    /// `Config`, naming the option, the value and what is allowed.
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

    /// The same with every zero that cannot work raised to one.
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

/// What resending may cost, in requests.
///
/// Limits on attempts alone multiply the load of a backend that struggles: with ten attempts each,
/// a backend that fails half of its requests is asked twice as often, exactly when it can do less.
/// A budget bounds the whole instead: requests that carry nothing but resent events are paid from a
/// bucket that fills with a share of the fresh requests, and slowly by itself, so that a quiet
/// sender can still retry. Where the bucket is empty the resend waits, up to the event's deadline;
/// it rides along free with fresh events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget {
    /// Resends paid for by one fresh request. Default: 0.2, which bounds the extra load at a fifth.
    pub share: f64,
    /// Resends a second that need no fresh request. Default: 10.
    pub per_second: f64,
    /// The most resends saved up, and what there is at the start. Default: 100.
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
