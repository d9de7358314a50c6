use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Result, Retry, SendReport};
use aws_sdk_kinesis::types::PutRecordsRequestEntry;
use futures::future::{Either, select};
use futures::stream::{FuturesUnordered, StreamExt as _};

use super::KinesisProducer;
use super::draft::{Draft, Way};
use super::ledger::Ledger;
use super::outcome::{Outcome, Outcomes};
use super::schedule::{Gate, Schedule};
use crate::direct::Direct;
use crate::error;
use crate::shards::ShardMap;

/// Requests of one call that are in flight together; their keys are disjoint.
const IN_FLIGHT: usize = 4;

/// How long a call holds records for a shard that takes no more now. Short, so that a hot shard
/// keeps no place in flight from the others; long enough that few come back unsent.
const HOLD: Duration = Duration::from_millis(500);

/// The same where it keeps nobody waiting: all of its records are for one shard, and either no
/// other shard is there or few calls do so. Below the time that callers give a request.
const LONG_HOLD: Duration = Duration::from_secs(5);

/// The most calls of a stream of several shards that hold for long, half of what the producer engine has in
/// flight.
const LONG_HOLDS: usize = 2;

/// How long a call goes on sending: one key in many records takes one request after the other.
const PATIENCE: Duration = Duration::from_secs(10);

/// The answers of one request, or the error of all of it.
struct Answer {
    request: Vec<u32>,
    outcomes: Result<Vec<Outcome>>,
    latency: Duration,
}

/// One call under way.
pub(super) struct Call<'a> {
    pub(super) producer: &'a KinesisProducer,
    pub(super) events: &'a [Event],
    pub(super) map: Arc<ShardMap>,
    pub(super) draft: Draft,
    pub(super) ledger: Ledger,
    pub(super) schedule: Schedule,
    pub(super) hold: Instant,
    /// Until when it may hold for long; whether it does is in the producer's count then.
    pub(super) long_hold: Option<Instant>,
    pub(super) batch_wait: Instant,
    /// Whether the queues are the map's open shards.
    pub(super) by_shard: bool,
    /// Bytes and records of each queue that the paces have let go and that have no answer yet.
    pub(super) let_go: Vec<(usize, usize)>,
    /// The last failure of a record, for those that are not sent because of it.
    pub(super) trouble: Option<Error>,
}

impl KinesisProducer {
    /// Sends the events of one call.
    pub(super) async fn put_all(&self, events: &[Event]) -> SendReport {
        let now = self.runtime.now();
        let map = self.map.fresh(now);
        self.pacing.know(&map, now);
        let mut ledger = Ledger::new(events.len());
        let by_shard = self.drafter.aggregates() || !self.may_go_anywhere(events, now);
        let draft = if by_shard {
            let rooms = self.rooms(&map, now);
            let way = Way::Shards {
                map: &map,
                rooms: &rooms,
            };
            self.drafter.draft(events, way, &mut ledger)
        } else {
            self.drafter.draft(events, Way::Anywhere, &mut ledger)
        };
        let call = Call {
            producer: self,
            events,
            schedule: Schedule::new(&draft.slots, self.options.request_bytes),
            draft,
            ledger,
            hold: now + HOLD,
            long_hold: None,
            batch_wait: now + PATIENCE,
            by_shard,
            let_go: match by_shard {
                true => vec![(0, 0); map.open().len()],
                false => Vec::new(),
            },
            map,
            trouble: None,
        };
        call.run().await
    }

    fn may_go_anywhere(&self, events: &[Event], now: Instant) -> bool {
        if self.pacing.is_calm() {
            return true;
        }
        let bytes = events.iter().map(Event::approximate_size).sum();
        self.pacing.takes_anywhere(now, bytes, events.len())
    }

    /// How many bytes each open shard may be sent in large records.
    fn rooms(&self, map: &ShardMap, now: Instant) -> Vec<usize> {
        let mut paces = self.pacing.paces();
        let room = |lane| match &mut paces {
            None => usize::MAX,
            Some(paces) => paces
                .get(lane)
                .map_or(usize::MAX, |pace| pace.room_for_large(now)),
        };
        map.open().iter().map(|it| it.lane).map(room).collect()
    }

    /// Takes one of the places of calls that hold for long.
    fn may_hold_long(&self, draft: &Draft, map: &ShardMap) -> bool {
        let first = draft.slots.first().map(|slot| slot.queue);
        if draft.slots.iter().any(|slot| Some(slot.queue) != first) {
            return false;
        }
        let places = match map.open().len() {
            1 => usize::MAX,
            _ => LONG_HOLDS,
        };
        let taken = self.holding.fetch_add(1, Ordering::Relaxed);
        if taken >= places {
            self.holding.fetch_sub(1, Ordering::Relaxed);
        }
        taken < places
    }

    /// One PutRecords.
    async fn put(&self, request: Vec<u32>, entries: Vec<PutRecordsRequestEntry>) -> Answer {
        let began = self.runtime.now();
        let count = entries.len();
        self.metrics.requests.increment(1);
        self.metrics.records.increment(count as u64);
        let direct = Direct::<Outcomes>::new();
        let answer = self
            .kinesis
            .client
            .put_records()
            .set_stream_name(self.kinesis.name())
            .set_stream_arn(self.kinesis.arn())
            .set_records(Some(entries))
            .customize()
            .interceptor(direct.clone())
            .send()
            .await;
        let what = || self.kinesis.what("PutRecords");
        let outcomes = match answer {
            Err(failed) => Err(error::request(what(), failed)),
            Ok(answer) => match direct.take().unwrap_or_else(|| answer.into()) {
                Outcomes(outcomes) if outcomes.len() == count => Ok(outcomes),
                Outcomes(others) => Err(other_count(what(), others.len(), count)),
            },
        };
        Answer {
            request,
            outcomes,
            latency: self.runtime.now().since(began),
        }
    }
}

impl Call<'_> {
    async fn run(mut self) -> SendReport {
        let producer = self.producer;
        let mut flights = FuturesUnordered::new();
        loop {
            let mut wait = None;
            while flights.len() < IN_FLIGHT {
                let (mut request, until) = self.next();
                wait = until;
                if request.is_empty() {
                    break;
                }
                let entries = self.draft.entries.take(&mut request);
                flights.push(producer.put(request, entries));
            }
            let answer = match (flights.is_empty(), wait) {
                (true, None) => break,
                (true, Some(until)) => {
                    producer.runtime.sleep_until(until).await;
                    None
                }
                (false, None) => flights.next().await,
                (false, Some(until)) => {
                    let sleep = producer.runtime.sleep_until(until);
                    match select(flights.next(), sleep).await {
                        Either::Left((answer, _)) => answer,
                        Either::Right(_) => None,
                    }
                }
            };
            if let Some(answer) = answer {
                let request = answer.request;
                self.schedule.answered(&self.draft.slots, &request);
                self.answered(&request, answer.latency);
                match answer.outcomes {
                    Ok(outcomes) => self.read(&request, outcomes).await,
                    Err(error) => self.fail_all(&request, error),
                }
            }
        }
        std::mem::take(&mut self.ledger).into_report()
    }

    /// The next request, and when to ask again.
    fn next(&mut self) -> (Vec<u32>, Option<Instant>) {
        let now = self.producer.runtime.now();
        let Self {
            producer,
            map,
            draft,
            ledger,
            schedule,
            hold,
            long_hold,
            by_shard,
            trouble,
            let_go,
            ..
        } = self;
        let mut paces = match by_shard {
            true => producer.pacing.paces(),
            false => None,
        };
        let late = now >= self.batch_wait;
        let mut again = None;
        let step = schedule.next(&draft.slots, |item, begins| {
            if late {
                return Gate::TooLate;
            }
            if let Some(trouble) = trouble
                && ledger.leave_out_if_blocked(draft, item, trouble)
            {
                return Gate::LeaveOut;
            }
            let Some(paces) = &mut paces else {
                return Gate::Go;
            };
            let slot = draft.slots[item as usize];
            let lane = map.open()[slot.queue as usize].lane;
            let Some(pace) = paces.get(lane) else {
                return Gate::Go;
            };
            match pace.take(now, slot.bytes as usize, begins) {
                Ok(()) => {
                    let (bytes, records) = &mut let_go[slot.queue as usize];
                    *bytes += slot.bytes as usize;
                    *records += 1;
                    Gate::Go
                }
                Err(until) if until <= *hold => Gate::Wait(until),
                Err(until) if long_hold.is_some_and(|hold| until <= hold) => Gate::Wait(until),
                Err(until) if long_hold.is_none() && producer.may_hold_long(draft, map) => {
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
        drop(paces);
        if !step.left_out.is_empty() {
            let error = match again {
                Some(until) => self.held_back(until.since(now)),
                None => self.trouble.clone().unwrap_or_else(out_of_time),
            };
            for &item in &step.left_out {
                self.ledger.leave_out(&self.draft, item, &error);
            }
        }
        (step.request, step.wait)
    }

    /// Tells the paces of the records of one request.
    fn answered(&mut self, request: &[u32], latency: Duration) {
        if self.let_go.iter().all(|(_, records)| *records == 0) {
            return;
        }
        let now = self.producer.runtime.now();
        let mut shards = vec![(0, 0); self.let_go.len()];
        for &item in request {
            let slot = self.draft.slots[item as usize];
            let (left, left_records) = &mut self.let_go[slot.queue as usize];
            if *left_records > 0 {
                let size = (*left).min(slot.bytes as usize);
                *left -= size;
                *left_records -= 1;
                let (bytes, records) = &mut shards[slot.queue as usize];
                *bytes += size;
                *records += 1;
            }
        }
        for (shard, amount) in self.map.open().iter().zip(shards) {
            if amount.1 > 0 {
                let pacing = &self.producer.pacing;
                pacing.answered(shard.lane, now, amount, latency);
            }
        }
    }

    fn held_back(&self, wait: Duration) -> Error {
        let message = format!(
            "stream {}: a shard takes no more now, so this was not sent",
            self.producer.kinesis.shown
        );
        Error::new(ErrorKind::Throttled, message).with_retry(Retry::After(wait))
    }

    /// A request failed as a whole: what has not been sent would fail as well.
    fn fail_all(&mut self, request: &[u32], error: Error) {
        for &item in request {
            for &at in self.draft.members(item) {
                let at = at as usize;
                self.ledger.failed(at, self.draft.keys[at], error.clone());
            }
        }
        for item in self.schedule.take_rest() {
            self.ledger.leave_out(&self.draft, item, &error);
        }
    }
}

impl Drop for Call<'_> {
    /// A call that is given up leaves requests without an answer.
    fn drop(&mut self) {
        if self.long_hold.is_some() {
            self.producer.holding.fetch_sub(1, Ordering::Relaxed);
        }
        let now = self.producer.runtime.now();
        for (shard, amount) in self.map.open().iter().zip(&self.let_go) {
            if amount.1 > 0 {
                let pacing = &self.producer.pacing;
                pacing.answered(shard.lane, now, *amount, Duration::ZERO);
            }
        }
    }
}

fn other_count(what: impl Display, answers: usize, records: usize) -> Error {
    let message = format!("{what}: {answers} answers for {records} records; is `endpoint` right?");
    Error::new(ErrorKind::Unavailable, message).with_effect(Effect::Unknown)
}

fn out_of_time() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("not sent: the requests before it took {PATIENCE:?}"),
    )
}
