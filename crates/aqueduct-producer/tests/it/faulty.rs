use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{
    BatchProducer, Capabilities, Claims, Effect, Error, ErrorKind, Event, Lane, Limits, Position,
    Receipt, Result, Retry, Runtime, SendReport,
};
use aqueduct_history::{HistoryLine, Op, Phase, Recorder};
use async_trait::async_trait;

/// How often each fault strikes, in thousandths.
#[derive(Clone, Copy, Default)]
pub(crate) struct Faults {
    /// The call fails before anything is stored.
    pub(crate) unavailable: u64,
    /// The call stores something and the response is lost.
    pub(crate) unknown: u64,
    /// The call never ends.
    pub(crate) hang: u64,
    /// The call panics after it stored something.
    pub(crate) panic: u64,
    /// An event is throttled.
    pub(crate) throttled: u64,
    /// An event fails for this time.
    pub(crate) event: u64,
    /// An event is refused for good.
    pub(crate) refused: u64,
    /// The response takes time.
    pub(crate) slow: u64,
}

/// Stores events in memory, with faults from the seed, and keeps watch over what it is asked.
pub(crate) struct Faulty {
    runtime: Runtime,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) limits: Limits,
    pub(crate) state: Mutex<Seen>,
    pub(crate) history: Mutex<Recorder>,
}

#[derive(Default)]
pub(crate) struct Seen {
    /// The order in which events were stored, repetitions included.
    pub(crate) stored: Vec<Event>,
    pub(crate) acknowledged: BTreeSet<String>,
    pub(crate) refused: BTreeSet<String>,
    pub(crate) in_flight_keys: BTreeSet<String>,
    pub(crate) in_flight: usize,
    pub(crate) most_in_flight: usize,
    pub(crate) requests: usize,
    /// In bytes of data.
    pub(crate) largest_request: usize,
    pub(crate) closed: bool,
    pub(crate) trace: Vec<String>,
    pub(crate) broken: Vec<String>,
}

impl Faulty {
    pub(crate) fn new(runtime: &Runtime, faults: Faults) -> Arc<Self> {
        Arc::new(Self {
            runtime: runtime.clone(),
            faults: Mutex::new(faults),
            limits: Limits::default(),
            state: Mutex::default(),
            history: Mutex::new(Recorder::new(None)),
        })
    }

    /// Adds a line about a call that sends `event`, or about its outcome.
    pub(crate) fn told(&self, caller: &str, event: &Event, outcome: Option<&Result<()>>) {
        let phase = match outcome {
            None => Phase::Invoke,
            Some(Ok(())) => Phase::Ok,
            Some(Err(error)) if error.effect() == Effect::Unknown => Phase::Unknown,
            Some(Err(_)) => Phase::Fail,
        };
        let mut line = self.line(caller, Op::Send, phase, event);
        if let Some(Err(error)) = outcome {
            line.why = Some(format!("{error}").into());
        }
        self.history.lock().unwrap().add(line);
    }

    fn line(&self, process: &str, op: Op, phase: Phase, event: &Event) -> HistoryLine {
        let now = self.runtime.now().elapsed_since_origin().as_micros() as u64;
        let key = event.key().map(Into::into);
        let line = HistoryLine::new(now, process, op, phase).key(key);
        line.event(event.id().to_string())
    }

    /// The first occurrences of each key's events, in the order of storage.
    pub(crate) fn first_occurrences(&self) -> BTreeMap<String, Vec<String>> {
        let mut known = BTreeSet::new();
        let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for event in &self.state.lock().unwrap().stored {
            let key = event.key().unwrap_or_default().to_owned();
            if known.insert(event.id().to_string()) {
                keys.entry(key).or_default().push(event.id().to_string());
            }
        }
        keys
    }

    fn chance(&self, thousandths: u64) -> bool {
        thousandths > 0 && self.runtime.random() % 1000 < thousandths
    }

    fn store(&self, events: &[Event], faults: Faults) -> Vec<Result<Receipt>> {
        let mut failed_keys = BTreeSet::new();
        let mut outcomes = Vec::new();
        for event in events {
            let blocked = event.key().is_some_and(|key| failed_keys.contains(key));
            let outcome = if blocked {
                Err(Error::new(ErrorKind::Blocked, "blocked"))
            } else if self.chance(faults.throttled) {
                let hint = self.chance(300).then_some(Duration::from_millis(300));
                let error = Error::new(ErrorKind::Throttled, "slow down");
                Err(hint
                    .map(|it| error.clone().with_retry(Retry::After(it)))
                    .unwrap_or(error))
            } else if self.chance(faults.event) {
                Err(Error::new(ErrorKind::Unavailable, "not now"))
            } else if self.chance(faults.refused) {
                self.state
                    .lock()
                    .unwrap()
                    .refused
                    .insert(event.id().to_string());
                Err(Error::new(ErrorKind::Invalid, "never"))
            } else {
                let mut state = self.state.lock().unwrap();
                state.stored.push(event.clone());
                let position = Position::new(state.stored.len() as u64);
                let line = self.line("log", Op::Store, Phase::Ok, event);
                let line = line.partition("0").position(position);
                self.history.lock().unwrap().add(line);
                Ok(Receipt::at("0".into(), position))
            };
            if let (Err(_), Some(key)) = (&outcome, event.key()) {
                failed_keys.insert(key.to_owned());
            }
            outcomes.push(outcome);
        }
        outcomes
    }

    fn begin(&self, events: &[Event]) {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let bytes = events.iter().filter_map(Event::data).map(|it| it.len());
        state.largest_request = state.largest_request.max(bytes.sum());
        state.in_flight += 1;
        state.most_in_flight = state.most_in_flight.max(state.in_flight);
        let at = self.runtime.now().elapsed_since_origin();
        let ids: Vec<String> = events.iter().map(|it| it.id().to_string()).collect();
        state.trace.push(format!("{at:?} {}", ids.join(" ")));
        let keys: BTreeSet<&str> = events.iter().filter_map(Event::key).collect();
        for key in keys {
            if !state.in_flight_keys.insert(key.to_owned()) {
                state
                    .broken
                    .push(format!("two runs of key {key} in flight"));
            }
        }
        for id in ids {
            if state.acknowledged.contains(&id) {
                state
                    .broken
                    .push(format!("{id} was acknowledged and came again"));
            }
        }
    }
}

/// Frees the keys of a call, however it ends.
struct Ending<'a>(&'a Faulty, &'a [Event]);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock().unwrap();
        state.in_flight -= 1;
        for key in self.1.iter().filter_map(Event::key) {
            state.in_flight_keys.remove(key);
        }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for Faulty {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        self.begin(events);
        let _ending = Ending(self, events);
        let faults = *self.faults.lock().unwrap();
        if self.chance(faults.slow) {
            let wait = self.runtime.jitter(Duration::from_millis(40));
            self.runtime.sleep(wait).await;
        }
        if self.chance(faults.unavailable) {
            return SendReport::failed(
                events.len(),
                &Error::new(ErrorKind::Unavailable, "not reachable"),
            );
        }
        let outcomes = self.store(events, faults);
        if self.chance(faults.hang) {
            futures::future::pending::<()>().await;
        }
        if self.chance(faults.unknown) {
            let error = Error::new(ErrorKind::Unavailable, "cut off").with_effect(Effect::Unknown);
            return SendReport::failed(events.len(), &error);
        }
        assert!(!self.chance(faults.panic), "a fault of the backend");
        let mut state = self.state.lock().unwrap();
        for (event, outcome) in events.iter().zip(&outcomes) {
            if outcome.is_ok() {
                state.acknowledged.insert(event.id().to_string());
            }
        }
        drop(state);
        SendReport::new(outcomes)
    }

    fn lane(&self, event: &Event) -> Lane {
        Lane(
            event
                .key()
                .map_or(0, |key| key.bytes().map(u64::from).sum::<u64>() % 3),
        )
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: self.limits,
        }
    }

    fn deduplicates(&self) -> Option<Duration> {
        None
    }

    fn consecutive_requests(&self, _: &[Event]) -> u32 {
        1
    }

    async fn close(&self) -> Result<()> {
        self.state.lock().unwrap().closed = true;
        Ok(())
    }
}
