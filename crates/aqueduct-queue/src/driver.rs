use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aqueduct_core::{
    Backoff, Effect, Error, Instant, QueueMessage, ReceiveRequest, Result, Runtime, SmallStr,
};
use event_listener::EventListener;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;

use crate::engine::Engine;
use crate::machine::Command;

/// The pause between requests that fail.
const FAILED: Backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));

/// How often the driver tries to give a message back; after that its lease ends by itself.
const RELEASES: u32 = 3;

type Requests = FuturesUnordered<BoxFuture<'static, Response>>;

enum Response {
    Received {
        messages: Result<Vec<QueueMessage>>,
        asked: Instant,
        token: SmallStr,
    },
    Acked {
        messages: Vec<(u64, SmallStr)>,
        outcomes: Vec<Result<()>>,
    },
    Extended {
        messages: Vec<(u64, SmallStr, Duration)>,
        outcomes: Vec<Result<()>>,
        asked: Instant,
    },
    Released,
}

/// Carries out the machine's commands, until it is dropped.
pub(crate) async fn drive(engine: Arc<Engine>) {
    let mut driver = Driver {
        engine,
        receives: Requests::new(),
        others: Requests::new(),
        repeat: None,
    };
    loop {
        let woken = driver.engine.driver_wakes();
        let wake = driver.start();
        if let Some(response) = driver.next(woken, wake).await {
            driver.finish(response);
        }
    }
}

struct Driver {
    engine: Arc<Engine>,
    receives: Requests,
    others: Requests,
    /// The token of a receive whose response was lost.
    repeat: Option<SmallStr>,
}

impl Driver {
    /// Starts the requests that are due; returns when to look again.
    fn start(&mut self) -> Option<Instant> {
        let cancelled = match self.engine.look(|machine| machine.is_draining()) {
            true => std::mem::take(&mut self.receives).len(),
            false => 0,
        };
        let (commands, wake) = self.engine.quietly(|machine, now| {
            for _ in 0..cancelled {
                machine.receive_cancelled();
            }
            let commands = machine.poll(now);
            let metrics = self.engine.metrics();
            metrics.add(machine.take_counts(), machine.in_flight());
            (commands, machine.next_wake(now))
        });
        self.engine.notify_changed();
        for command in commands {
            match command {
                Command::Receive { max } => {
                    let request = self.receive(max);
                    self.receives.push(request);
                }
                other => self.others.push(request(self.engine.clone(), other)),
            }
        }
        wake
    }

    fn receive(&mut self, max: usize) -> BoxFuture<'static, Response> {
        let engine = self.engine.clone();
        let repeated = self.repeat.take();
        let token = repeated.unwrap_or_else(|| random_token(engine.runtime()));
        Box::pin(async move {
            let asked = engine.runtime().now();
            let request = ReceiveRequest::new(max, engine.settings(), token.clone());
            Response::Received {
                messages: engine.subscription().receive(request).await,
                asked,
                token,
            }
        })
    }

    /// Waits for a response; `None` if it is time to look again.
    async fn next(&mut self, mut woken: EventListener, wake: Option<Instant>) -> Option<Response> {
        let mut timer = wake.map(|at| self.engine.runtime().sleep_until(at));
        std::future::poll_fn(|cx| {
            for requests in [&mut self.others, &mut self.receives] {
                if let Poll::Ready(Some(response)) = requests.poll_next_unpin(cx) {
                    return Poll::Ready(Some(response));
                }
            }
            let woken = Pin::new(&mut woken).poll(cx).is_ready();
            let late = timer
                .as_mut()
                .is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
            match woken || late {
                true => Poll::Ready(None),
                false => Poll::Pending,
            }
        })
        .await
    }

    fn finish(&mut self, response: Response) {
        let engine = self.engine.clone();
        match response {
            Response::Received {
                messages: Ok(messages),
                asked,
                ..
            } => engine.quietly(|machine, now| machine.received(messages, asked, now)),
            Response::Received {
                messages: Err(error),
                token,
                ..
            } => {
                engine.metrics().failed_receives.increment(1);
                if error.effect() == Effect::Unknown {
                    self.repeat = Some(token);
                }
                let failures = engine.look(|machine| machine.failed_receives());
                let wait = FAILED.delay(failures + 1, engine.runtime());
                let shown = error.clone();
                if engine.quietly(|machine, now| machine.not_received(error, wait, now)) {
                    self.warn(&shown, "messages cannot be received; retrying");
                }
            }
            Response::Acked { messages, outcomes } => {
                if engine.quietly(|machine, now| machine.acked(&messages, &outcomes, now)) {
                    self.warn_first(
                        &outcomes,
                        "handled messages cannot be acknowledged; retrying",
                    );
                }
                let failed = outcomes.iter().filter(|it| it.is_err()).count();
                engine.metrics().failed_acks.increment(failed as u64);
            }
            Response::Extended {
                messages,
                outcomes,
                asked,
            } => {
                let extended = engine
                    .quietly(|machine, now| machine.extended(&messages, &outcomes, asked, now));
                if extended {
                    self.warn_first(
                        &outcomes,
                        "the leases of messages cannot be extended; retrying",
                    );
                }
                let failed = outcomes.iter().filter(|it| it.is_err()).count();
                engine.metrics().failed_extensions.increment(failed as u64);
            }
            Response::Released => engine.quietly(|machine, _| machine.released()),
        }
    }

    fn warn_first(&self, outcomes: &[Result<()>], message: &str) {
        if let Some(error) = outcomes.iter().find_map(|it| it.as_ref().err()) {
            self.warn(error, message);
        }
    }

    fn warn(&self, error: &Error, message: &str) {
        let assignment = aqueduct_core::Settler::assignment(&*self.engine);
        let (queue, group) = (&assignment.stream, &assignment.group);
        tracing::warn!(%queue, %group, %error, "{message}");
    }
}

/// Returns a request that changes messages.
fn request(engine: Arc<Engine>, command: Command) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        let asked = engine.runtime().now();
        let subscription = engine.subscription();
        match command {
            Command::Ack { messages } => {
                let receipts: Vec<SmallStr> = messages.iter().map(|it| it.1.clone()).collect();
                let outcomes = subscription.ack(&receipts).await;
                Response::Acked { messages, outcomes }
            }
            Command::Extend { messages } => {
                let leases: Vec<_> = messages.iter().map(|it| (it.1.clone(), it.2)).collect();
                let outcomes = subscription.extend(&leases).await;
                Response::Extended {
                    messages,
                    outcomes,
                    asked,
                }
            }
            Command::Release { messages } => {
                release(&engine, messages).await;
                Response::Released
            }
            Command::Receive { .. } => Response::Released,
        }
    })
}

/// Gives messages back. Those that the service does not take come again when their leases end.
async fn release(engine: &Engine, mut messages: Vec<(SmallStr, Duration)>) {
    for attempt in 1..=RELEASES {
        let outcomes = engine.subscription().release(&messages).await;
        let failed = messages
            .into_iter()
            .zip(outcomes)
            .filter_map(|(message, outcome)| outcome.err().map(|error| (message, error)))
            .filter(|(_, error)| error.is_retryable());
        messages = failed.map(|(message, _)| message).collect();
        if messages.is_empty() {
            return;
        }
        let pause = FAILED.delay(attempt, engine.runtime());
        engine.runtime().sleep(pause).await;
    }
}

fn random_token(runtime: &Runtime) -> SmallStr {
    format!("{:016x}{:016x}", runtime.random(), runtime.random()).into()
}
