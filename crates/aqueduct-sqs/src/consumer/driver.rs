use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aqueduct_core::{Backoff, Effect, Instant, Result, SmallStr};
use aws_sdk_sqs::types::Message;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use super::arrival::arrival;
use super::core::Core;
use super::machine::Command;
use crate::ids;
use crate::queue::Receipt;

/// The pause between receipts that fail.
const FAILED: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// How often a message is given back that the service does not take.
const RETURNS: u32 = 3;

type Jobs = FuturesUnordered<BoxFuture<'static, Done>>;

/// What a request brought.
enum Done {
    Received {
        answer: Result<Vec<Message>>,
        asked: Instant,
        attempt: String,
    },
    Deleted {
        messages: Vec<(u64, SmallStr)>,
        outcomes: Vec<Result<()>>,
    },
    Extended {
        messages: Vec<(u64, SmallStr, Duration)>,
        outcomes: Vec<Result<()>>,
        asked: Instant,
    },
    Returned,
}

/// Does what the machine says, until it is dropped.
pub(super) async fn drive(core: Arc<Core>) {
    let mut driver = Driver {
        source: format!("sqs://{}", core.queue.name).into(),
        core,
        receipts: Jobs::new(),
        others: Jobs::new(),
        repeat: None,
    };
    loop {
        let kicked = driver.core.kicked.listen();
        let wake = driver.start();
        let done = driver.next(kicked, wake).await;
        if let Some(done) = done {
            driver.finish(done);
        }
    }
}

struct Driver {
    core: Arc<Core>,
    source: SmallStr,
    receipts: Jobs,
    others: Jobs,
    /// The attempt of a receipt whose answer was lost: an ordered queue repeats it.
    repeat: Option<String>,
}

impl Driver {
    /// Starts what is to be done; answers when to look again.
    fn start(&mut self) -> Option<Instant> {
        let cancelled = match self.core.look(|machine| machine.is_draining()) {
            true => std::mem::take(&mut self.receipts).len(),
            false => 0,
        };
        let (commands, wake, held) = self.core.quietly(|machine, now| {
            for _ in 0..cancelled {
                machine.receive_cancelled();
            }
            let commands = machine.poll(now);
            let metrics = &self.core.queue.metrics;
            metrics
                .expired
                .increment(std::mem::take(&mut machine.expired));
            metrics
                .repeated
                .increment(std::mem::take(&mut machine.repeated));
            metrics
                .returned
                .increment(std::mem::take(&mut machine.returned));
            (commands, machine.next_wake(now), machine.held())
        });
        self.core.queue.metrics.held.set(held as f64);
        self.core.changed.notify(usize::MAX);
        for command in commands {
            match command {
                Command::Receive { max } => {
                    let job = self.receive(max);
                    self.receipts.push(job);
                }
                other => {
                    let job = job(self.core.clone(), other);
                    self.others.push(job);
                }
            }
        }
        wake
    }

    fn receive(&mut self, max: usize) -> BoxFuture<'static, Done> {
        let core = self.core.clone();
        let repeated = self.repeat.take();
        let attempt = repeated.unwrap_or_else(|| ids::random(&core.runtime));
        Box::pin(async move {
            let asked = core.runtime.now();
            let receipt = Receipt {
                max,
                wait: core.wait,
                visibility: core.visibility,
                attempt: Some(attempt.clone()),
            };
            Done::Received {
                answer: core.queue.receive(receipt).await,
                asked,
                attempt,
            }
        })
    }

    /// Waits for what is done first; `None` where it is only time to look again.
    async fn next(
        &mut self,
        mut kicked: event_listener::EventListener,
        wake: Option<Instant>,
    ) -> Option<Done> {
        let mut timer = wake.map(|at| self.core.runtime.sleep_until(at));
        std::future::poll_fn(|cx| {
            for jobs in [&mut self.others, &mut self.receipts] {
                if let Poll::Ready(Some(done)) = jobs.poll_next_unpin(cx) {
                    return Poll::Ready(Some(done));
                }
            }
            let kicked = Pin::new(&mut kicked).poll(cx).is_ready();
            let late = timer
                .as_mut()
                .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            match kicked || late {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn finish(&mut self, done: Done) {
        let core = self.core.clone();
        match done {
            Done::Received {
                answer: Ok(messages),
                asked,
                ..
            } => {
                let arrivals = messages.into_iter();
                let arrivals = arrivals
                    .filter_map(|it| arrival(it, &self.source))
                    .collect();
                core.quietly(|machine, now| machine.received(arrivals, asked, now));
            }
            Done::Received {
                answer: Err(error),
                attempt,
                ..
            } => {
                tracing::warn!(queue = %core.queue.name, %error, "messages could not be received");
                if error.effect() == Effect::Unknown {
                    self.repeat = Some(attempt);
                }
                let failures = core.look(|machine| machine.failed_receipts());
                let wait = FAILED.delay(failures + 1, &core.runtime);
                core.quietly(|machine, now| machine.not_received(error, wait, now));
            }
            Done::Deleted { messages, outcomes } => {
                core.quietly(|machine, now| machine.deleted(&messages, &outcomes, now));
            }
            Done::Extended {
                messages,
                outcomes,
                asked,
            } => {
                core.quietly(|machine, now| machine.extended(&messages, &outcomes, asked, now));
            }
            Done::Returned => core.quietly(|machine, _| machine.returned_now()),
        }
    }
}

/// A request that changes messages.
fn job(core: Arc<Core>, command: Command) -> BoxFuture<'static, Done> {
    Box::pin(async move {
        let asked = core.runtime.now();
        match command {
            Command::Delete { messages } => {
                let handles: Vec<SmallStr> = messages.iter().map(|it| it.1.clone()).collect();
                let outcomes = core.queue.delete(&handles).await;
                Done::Deleted { messages, outcomes }
            }
            Command::Extend { messages } => {
                let times: Vec<_> = messages.iter().map(|it| (it.1.clone(), it.2)).collect();
                let outcomes = core.queue.hide(&times).await;
                Done::Extended {
                    messages,
                    outcomes,
                    asked,
                }
            }
            Command::Return { messages } => {
                give_back(&core, messages).await;
                Done::Returned
            }
            Command::Receive { .. } => Done::Returned,
        }
    })
}

/// Gives messages back. What the service does not take comes again when its time runs out.
async fn give_back(core: &Core, mut messages: Vec<(SmallStr, Duration)>) {
    for attempt in 1..=RETURNS {
        let outcomes = core.queue.hide(&messages).await;
        let failed = messages
            .into_iter()
            .zip(outcomes)
            .filter_map(|(message, outcome)| outcome.err().map(|error| (message, error)))
            .filter(|(_, error)| error.is_retryable());
        messages = failed.map(|(message, _)| message).collect();
        if messages.is_empty() {
            return;
        }
        let pause = FAILED.delay(attempt, &core.runtime);
        core.runtime.sleep(pause).await;
    }
}
