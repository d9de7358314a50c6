//! Drives the machine step by step with faults from a seed, and checks its invariant after each.

use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Event, Instant, Lane, Limits, Receipt, Result};

use super::{CallId, Engine, Request};
use crate::options::{ProducerOptions, RetryBudget};

struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len() as u64) as usize]
    }
}

fn options(dice: &mut Dice) -> ProducerOptions {
    ProducerOptions {
        batch_wait: Duration::from_millis(dice.pick(&[0, 5])),
        max_batch_events: dice.pick(&[1, 3, 10]),
        in_flight: dice.pick(&[1, 2, 4]),
        attempts: dice.pick(&[2, 5, 1000]),
        deadline: Duration::from_secs(dice.pick(&[2, 20, 120])),
        resend_unknown: dice.pick(&[true, false]),
        budget: RetryBudget {
            share: dice.pick(&[0.0, 0.2]),
            per_second: dice.pick(&[0.1, 1.0, 10.0]),
            reserve: dice.pick(&[1.0, 3.0, 100.0]),
        },
        ..ProducerOptions::default()
    }
}

fn lane_of(event: &Event) -> Lane {
    Lane(event.id().to_string().len() as u64 % 2 + event.key().map_or(0, |key| key.len() as u64))
}

fn outcome(dice: &mut Dice, trouble: u64) -> Result<Receipt> {
    if dice.below(100) >= trouble {
        return Ok(Receipt::default());
    }
    let kind = dice.pick(&[
        ErrorKind::Throttled,
        ErrorKind::Throttled,
        ErrorKind::Unavailable,
        ErrorKind::Invalid,
        ErrorKind::TimedOut,
    ]);
    let effect = match kind {
        ErrorKind::TimedOut => Effect::Unknown,
        _ => Effect::None,
    };
    Err(Error::new(kind, "as drawn").with_effect(effect))
}

struct Machine {
    engine: Engine,
    dice: Dice,
    now: Instant,
    running: Vec<Request>,
    calls: Vec<(CallId, Instant)>,
    deadline: Duration,
}

impl Machine {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let options = options(&mut dice);
        Self {
            engine: Engine::new(&options, Limits::default(), seed),
            deadline: options.deadline,
            dice,
            now: Instant::default() + Duration::from_secs(1),
            running: Vec::new(),
            calls: Vec::new(),
        }
    }

    fn accept(&mut self) {
        let count = self.dice.pick(&[1, 1, 4]);
        let keys = ["", "a", "bb", "ccc"];
        let events: Vec<Event> = (0..count)
            .map(|_| match self.dice.pick(&keys) {
                "" => Event::new("counted"),
                key => Event::new("counted").with_key(key),
            })
            .collect();
        if !matches!(self.engine.reserve(count, count), Ok(None)) {
            return;
        }
        let call = self.engine.open(self.now, count);
        self.calls.push((call, self.now));
        let sizes = vec![1; count];
        if let Err(events) = self.engine.accept_whole(self.now, call, events, &sizes) {
            for (at, event) in events.into_iter().enumerate() {
                self.engine.accept(self.now, call, at, event, 1);
            }
        }
    }

    fn start(&mut self) {
        while let Some(request) = self.engine.next_request(self.now, &lane_of) {
            self.running.push(request);
            self.engine.check();
        }
    }

    fn finish(&mut self, trouble: u64) {
        if self.running.is_empty() {
            return;
        }
        let at = self.dice.below(self.running.len() as u64) as usize;
        let request = self.running.swap_remove(at);
        let outcomes = request.events.iter();
        let outcomes = outcomes.map(|_| outcome(&mut self.dice, trouble)).collect();
        let id = request.id;
        drop(request);
        self.engine.finished(self.now, id, outcomes, &lane_of);
    }

    /// Takes the outcomes of the calls that have ended.
    fn reap(&mut self) {
        let engine = &mut self.engine;
        self.calls
            .retain(|(call, _)| engine.poll_call(*call, std::task::Waker::noop()).is_none());
        drop(self.engine.take_wakes());
    }

    fn step(&mut self, trouble: u64) {
        match self.dice.below(4) {
            0 => self.accept(),
            1 => self.finish(trouble),
            2 => self.now = self.now + Duration::from_millis(self.dice.pick(&[1, 100, 3_000])),
            _ => {
                let wake = self.engine.next_wake();
                self.now = wake.map_or(self.now, |wake| wake.max(self.now));
            }
        }
        self.engine.check();
        self.start();
        self.reap();
        self.engine.check();
        // A driver that is woken at once, again and again, would spin.
        let wake = self.engine.next_wake();
        assert!(
            wake.is_none_or(|wake| wake > self.now),
            "time stands still: {}",
            self.engine.describe()
        );
    }

    /// Lets the rest end: requests at once, time from wake to wake.
    fn end(&mut self, trouble: u64) {
        while !self.calls.is_empty() {
            while !self.running.is_empty() {
                self.finish(trouble);
                self.engine.check();
            }
            self.start();
            self.reap();
            if self.running.is_empty() && !self.calls.is_empty() {
                let wake = self
                    .engine
                    .next_wake()
                    .expect("a call waits and nothing will happen");
                assert!(
                    wake > self.now,
                    "time stands still: {}",
                    self.engine.describe()
                );
                self.now = wake;
                self.start();
            }
            let oldest = self.calls.iter().map(|(_, accepted)| *accepted).min();
            let late = oldest.is_some_and(|it| self.now > it + self.deadline + self.deadline);
            assert!(!late, "a call has no outcome long after its deadline");
        }
    }
}

#[test]
fn something_comes_for_every_event_and_every_call_ends_by_its_deadline() {
    for seed in 0..1_000 {
        let mut machine = Machine::new(seed);
        let trouble = machine.dice.pick(&[0, 20, 90, 100]);
        for _ in 0..200 {
            machine.step(trouble);
        }
        machine.end(trouble);
    }
}
