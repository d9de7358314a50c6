use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Result, Retry, SendReport};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::KinesisProducer;
use super::outcomes::{Outcomes, skip, skip_if_blocked};
use super::records::{Records, Target};
use super::response::{PutRecordsResponse, RecordResult};
use super::schedule::{Gate, Schedule};
use crate::error;
use crate::raw_response::ResponseReader;
use crate::shards::ShardMap;

/// The most requests of one call in flight at once; their keys are disjoint.
const IN_FLIGHT: usize = 4;

/// How long a call holds records for a shard at its limit. Short, so that a hot shard does not
/// occupy the producer's requests for long; long enough that few records come back unsent.
const HOLD: Duration = Duration::from_millis(500);

/// The same if no other shard waits for it: all records of the call are for one shard, and either
/// the stream has one shard or few calls do the same. Below the engine's limit for a request.
const LONG_HOLD: Duration = Duration::from_secs(5);

/// The most calls that hold for long on a stream of several shards: half of the requests that the
/// producer engine has in flight.
const LONG_HOLDS: usize = 2;

/// How long a call goes on sending: many records of one key take one request after the other.
const CALL_LIMIT: Duration = Duration::from_secs(10);

/// The results of one request, or the error of all of it.
struct Completed {
    request: Vec<u32>,
    results: Result<Vec<RecordResult>>,
    latency: Duration,
}

/// A `send_batch` in progress.
pub(super) struct Call<'a> {
    pub(super) producer: &'a KinesisProducer,
    pub(super) events: &'a [Event],
    pub(super) map: Arc<ShardMap>,
    pub(super) records: Records,
    pub(super) outcomes: Outcomes,
    pub(super) schedule: Schedule,
    pub(super) hold: Instant,
    /// When holding for long ends; `Some` counts as one of the producer's [`LONG_HOLDS`].
    pub(super) long_hold: Option<Instant>,
    pub(super) give_up_at: Instant,
    /// Whether the queues of the schedule are the map's open shards.
    pub(super) by_shard: bool,
    /// Bytes and records of each queue that the rate limiter counts as in flight.
    pub(super) charged: Vec<(usize, usize)>,
    /// The last failure of a record: the reason of those that are not sent because of it.
    pub(super) last_failure: Option<Error>,
}

impl KinesisProducer {
    /// Sends the events of one call.
    pub(super) async fn send_all(&self, events: &[Event]) -> SendReport {
        let now = self.runtime.now();
        let map = self.map.fresh(now);
        self.rate_limiter.update_shards(&map, now);
        let mut outcomes = Outcomes::new(events.len());
        let by_shard = self.builder.aggregates() || !self.may_go_anywhere(events, now);
        let records = if by_shard {
            let large_bytes = self.large_bytes(&map, now);
            let target = Target::Shards {
                map: &map,
                large_bytes: &large_bytes,
            };
            self.builder.build(events, target, &mut outcomes)
        } else {
            self.builder.build(events, Target::Anywhere, &mut outcomes)
        };
        let call = Call {
            producer: self,
            events,
            schedule: Schedule::new(&records.scheduled, self.options.request_bytes),
            records,
            outcomes,
            hold: now + HOLD,
            long_hold: None,
            give_up_at: now + CALL_LIMIT,
            by_shard,
            charged: match by_shard {
                true => vec![(0, 0); map.open().len()],
                false => Vec::new(),
            },
            map,
            last_failure: None,
        };
        call.run().await
    }

    fn may_go_anywhere(&self, events: &[Event], now: Instant) -> bool {
        if self.rate_limiter.is_unlimited() {
            return true;
        }
        let bytes = events.iter().map(Event::approximate_size).sum();
        self.rate_limiter.takes_anywhere(now, bytes, events.len())
    }

    /// Returns the bytes that may go to each open shard in large records.
    fn large_bytes(&self, map: &ShardMap, now: Instant) -> Vec<usize> {
        let mut shard_limiters = self.rate_limiter.shard_limiters();
        let allowed = |lane| match &mut shard_limiters {
            None => usize::MAX,
            Some(shard_limiters) => shard_limiters
                .get(lane)
                .map_or(usize::MAX, |limiter| limiter.large_record_bytes(now)),
        };
        map.open().iter().map(|it| it.lane).map(allowed).collect()
    }

    /// Tries to become one of the calls that hold for long.
    fn may_hold_long(&self, records: &Records, map: &ShardMap) -> bool {
        let first = records.scheduled.first().map(|it| it.queue);
        if records.scheduled.iter().any(|it| Some(it.queue) != first) {
            return false;
        }
        let limit = match map.open().len() {
            1 => usize::MAX,
            _ => LONG_HOLDS,
        };
        let taken = self.holding.fetch_add(1, Ordering::Relaxed);
        if taken >= limit {
            self.holding.fetch_sub(1, Ordering::Relaxed);
        }
        taken < limit
    }

    /// Makes one PutRecords request.
    async fn put(&self, request: Vec<u32>, entries: Vec<PutRecordsRequestEntry>) -> Completed {
        let began = self.runtime.now();
        let count = entries.len();
        self.metrics.requests.increment(1);
        self.metrics.records.increment(count as u64);
        let reader = ResponseReader::<PutRecordsResponse>::new(self.kinesis.direct);
        let response = self
            .kinesis
            .client
            .put_records()
            .set_stream_name(self.kinesis.name())
            .set_stream_arn(self.kinesis.arn())
            .set_records(Some(entries))
            .customize()
            .interceptor(reader.clone())
            .send()
            .await;
        let what = || self.kinesis.what("PutRecords");
        let results = match response {
            Err(failed) => Err(error::request(what(), failed)),
            Ok(response) => match reader.take().unwrap_or_else(|| response.into()) {
                PutRecordsResponse(results) if results.len() == count => Ok(results),
                PutRecordsResponse(others) => Err(wrong_count(what(), others.len(), count)),
            },
        };
        Completed {
            request,
            results,
            latency: self.runtime.now().since(began),
        }
    }
}

impl Call<'_> {
    async fn run(mut self) -> SendReport {
        let producer = self.producer;
        let mut in_flight = FuturesUnordered::new();
        loop {
            let mut wait = None;
            while in_flight.len() < IN_FLIGHT {
                let (mut request, until) = self.next();
                wait = until;
                if request.is_empty() {
                    break;
                }
                let entries = self.records.entries.take(&mut request);
                in_flight.push(producer.put(request, entries));
            }
            let completed = match (in_flight.is_empty(), wait) {
                (true, None) => break,
                (true, Some(until)) => {
                    producer.runtime.sleep_until(until).await;
                    None
                }
                (false, None) => in_flight.next().await,
                (false, Some(until)) => {
                    let sleep = producer.runtime.sleep_until(until);
                    match select(in_flight.next(), sleep).await {
                        Either::Left((completed, _)) => completed,
                        Either::Right(_) => None,
                    }
                }
            };
            if let Some(completed) = completed {
                let request = completed.request;
                self.schedule.completed(&self.records.scheduled, &request);
                self.completed(&request, completed.latency);
                match completed.results {
                    Ok(results) => self.apply(&request, results).await,
                    Err(error) => self.fail_all(&request, error),
                }
            }
        }
        std::mem::take(&mut self.outcomes).into_report()
    }

    /// Returns the next request, and when to ask again.
    fn next(&mut self) -> (Vec<u32>, Option<Instant>) {
        let now = self.producer.runtime.now();
        let Self {
            producer,
            map,
            records,
            outcomes,
            schedule,
            hold,
            long_hold,
            by_shard,
            last_failure,
            charged,
            ..
        } = self;
        let mut shard_limiters = match by_shard {
            true => producer.rate_limiter.shard_limiters(),
            false => None,
        };
        let late = now >= self.give_up_at;
        let mut again = None;
        let step = schedule.next(&records.scheduled, |record, begins| {
            if late {
                return Gate::TooLate;
            }
            if let Some(last_failure) = last_failure
                && skip_if_blocked(outcomes, records, record, last_failure)
            {
                return Gate::Skip;
            }
            let Some(shard_limiters) = &mut shard_limiters else {
                return Gate::Go;
            };
            let scheduled = records.scheduled[record as usize];
            let lane = map.open()[scheduled.queue as usize].lane;
            let Some(limiter) = shard_limiters.get(lane) else {
                return Gate::Go;
            };
            match limiter.take(now, scheduled.bytes as usize, begins) {
                Ok(()) => {
                    let (bytes, records) = &mut charged[scheduled.queue as usize];
                    *bytes += scheduled.bytes as usize;
                    *records += 1;
                    Gate::Go
                }
                Err(until) if until <= *hold => Gate::Wait(until),
                Err(until) if long_hold.is_some_and(|hold| until <= hold) => Gate::Wait(until),
                Err(until) if long_hold.is_none() && producer.may_hold_long(records, map) => {
                    let end = *hold + (LONG_HOLD - HOLD);
                    *long_hold = Some(end);
                    Gate::Wait(until.min(end))
                }
                Err(until) => {
                    again = Some(again.map_or(until, |known: Instant| known.max(until)));
                    Gate::TooLate
                }
            }
        });
        drop(shard_limiters);
        if !step.skipped.is_empty() {
            let error = match again {
                Some(until) => self.rate_limited(until.since(now)),
                None => self.last_failure.clone().unwrap_or_else(out_of_time),
            };
            for &record in &step.skipped {
                skip(&mut self.outcomes, &self.records, record, &error);
            }
        }
        (step.request, step.wait)
    }

    /// Tells the rate limiter that the records of one request have their results.
    fn completed(&mut self, request: &[u32], latency: Duration) {
        if self.charged.iter().all(|(_, records)| *records == 0) {
            return;
        }
        let now = self.producer.runtime.now();
        let mut shards = vec![(0, 0); self.charged.len()];
        for &record in request {
            let scheduled = self.records.scheduled[record as usize];
            let (left, left_records) = &mut self.charged[scheduled.queue as usize];
            if *left_records > 0 {
                let size = (*left).min(scheduled.bytes as usize);
                *left -= size;
                *left_records -= 1;
                let (bytes, records) = &mut shards[scheduled.queue as usize];
                *bytes += size;
                *records += 1;
            }
        }
        for (shard, amount) in self.map.open().iter().zip(shards) {
            if amount.1 > 0 {
                let rate_limiter = &self.producer.rate_limiter;
                rate_limiter.completed(shard.lane, now, amount, latency);
            }
        }
    }

    fn rate_limited(&self, wait: Duration) -> Error {
        let message = format!(
            "stream {}: the shard is at its write limit, so the event was not sent",
            self.producer.kinesis.shown
        );
        Error::new(ErrorKind::Throttled, message).with_retry(Retry::After(wait))
    }

    /// Fails a request as a whole, and skips the records not sent yet: they would fail as well.
    fn fail_all(&mut self, request: &[u32], error: Error) {
        for &record in request {
            for &at in self.records.members(record) {
                let at = at as usize;
                self.outcomes
                    .failed(at, self.records.keys[at], error.clone());
            }
        }
        for record in self.schedule.take_rest() {
            skip(&mut self.outcomes, &self.records, record, &error);
        }
    }
}

impl Drop for Call<'_> {
    /// A call that is dropped leaves requests without a response: they no longer count as in flight.
    fn drop(&mut self) {
        if self.long_hold.is_some() {
            self.producer.holding.fetch_sub(1, Ordering::Relaxed);
        }
        let now = self.producer.runtime.now();
        for (shard, amount) in self.map.open().iter().zip(&self.charged) {
            if amount.1 > 0 {
                let rate_limiter = &self.producer.rate_limiter;
                rate_limiter.completed(shard.lane, now, *amount, Duration::ZERO);
            }
        }
    }
}

fn wrong_count(what: impl Display, results: usize, records: usize) -> Error {
    let message = format!(
        "{what}: the response has {results} results for {records} records; does `endpoint` name a \
         Kinesis service?"
    );
    Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown)
}

fn out_of_time() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("not sent: earlier requests of the same call took {CALL_LIMIT:?}"),
    )
}
