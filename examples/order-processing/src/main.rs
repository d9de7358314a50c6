//! A real-time order flow on Aqueduct: placement, payment, shipping and order management, joined by
//! streams, with every effect once.

mod audit;
mod cli;
mod generator;
mod input;
mod ledger;
mod order;
mod report;
mod roles;
mod shop;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use aqueduct::{Result, WorkerHandle};
use clap::Parser as _;
use futures::future::{BoxFuture, FutureExt as _, TryFutureExt as _, select_all};
use futures::stream::{FuturesUnordered, StreamExt as _};
use tokio::sync::watch;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::cli::{Arguments, Role};
use crate::input::Input;
use crate::report::{Progress, tell};
use crate::shop::{Flow, describe};

/// The exit code if the audit found something lost, charged twice or out of order; wrong arguments have
/// 2.
const NOT_WHOLE: u8 = 3;

/// The exit code after a signal, as shells have it.
const STOPPED: u8 = 130;

/// The interval of reading the progress.
const LOOK: Duration = Duration::from_millis(100);

/// The silence after which events that management did not note are taken for lost: longer than a message
/// whose receiver was killed takes to come again.
const UNNOTED: Duration = Duration::from_secs(120);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = std::env::var("RUST_LOG").ok();
    let filter = filter.and_then(|filter| filter.parse::<Targets>().ok());
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry()
        .with(filter.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN)))
        .with(lines)
        .init();
    let stop = stop_on_signals();
    match run(&arguments, stop).await {
        Ok(code) => code,
        Err(message) => {
            tell(format_args!("order-processing: {message}"));
            ExitCode::FAILURE
        }
    }
}

/// How the flow ended.
enum End {
    /// Every order is finished; with the ids of the input's orders, if this process read it.
    Complete(Option<BTreeSet<String>>),
    Stopped,
}

async fn run(arguments: &Arguments, mut stop: Stop) -> Result<ExitCode, String> {
    let say = |e: aqueduct::Error| describe(&e);
    let begun = Instant::now();
    let input = match arguments.role.plays(Role::Placement) {
        true => Some(Input::open(arguments)?),
        false => None,
    };
    let expected = input.as_ref().and_then(|input| input.expected);
    let flow = Flow::open(arguments).await?;
    let before = flow.standing().await.map_err(say)?;
    if before.finished() > 0 && !arguments.quiet && !arguments.json {
        let finished = before.finished();
        tell(format_args!(
            "{} holds {} orders, {finished} of them finished: going on from there",
            arguments.data.display(),
            before.taken_in
        ));
    }
    let quiet = arguments.quiet || arguments.json;
    let progress = Progress::new(expected, before.finished(), quiet);
    let orders = match work(arguments, &flow, input, progress, &mut stop).await? {
        End::Complete(orders) => orders,
        End::Stopped => return Ok(stopped()),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let (mut summary, events) = tokio::select! {
        audited = flow.audit(orders.as_ref()) => audited.map_err(say)?,
        () = stopping(&mut stop) => return Ok(stopped()),
    };
    summary.seconds = (seconds * 1000.0).round() / 1000.0;
    summary.events_per_second = (events as f64 / seconds).round();
    report::print(&match arguments.json {
        true => serde_json::to_string(&summary).map_err(|e| e.to_string())?,
        false => report::table(&summary, arguments),
    })?;
    let whole = summary.lost + summary.charged_twice + summary.out_of_order == 0;
    Ok(if whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(NOT_WHOLE)
    })
}

fn stopped() -> ExitCode {
    tell("order-processing: stopped; start it again and it goes on where it was");
    ExitCode::from(STOPPED)
}

/// Runs the roles until every order has come to its end, or a signal comes.
async fn work(
    arguments: &Arguments,
    flow: &Flow,
    input: Option<Input>,
    progress: Progress,
    stop: &mut Stop,
) -> Result<End, String> {
    let say = |e: aqueduct::Error| describe(&e);
    let workers = flow.workers(arguments.role).await.map_err(say)?;
    let handles: Vec<_> = workers.iter().map(|worker| worker.control()).collect();
    let mut running: FuturesUnordered<_> = workers
        .into_iter()
        .map(|worker| tokio::spawn(worker.run_to_end()))
        .collect();
    let mut relays = flow.relays(arguments.role).await.map_err(say)?;
    relays.push(futures::future::pending().boxed());
    let mut relaying = select_all(relays);
    let dead_letters = flow.dead_letters().await.map_err(say)?;
    let mut placing: BoxFuture<'_, Result<Option<BTreeSet<String>>, String>> = match input {
        Some(input) => roles::placement::run(&flow.shop, input, &*dead_letters)
            .map_ok(Some)
            .boxed(),
        None => futures::future::ready(Ok(None)).boxed(),
    };
    let mut placed = None;
    let mut look = tokio::time::interval(LOOK);
    let mut watch = Watch::new(arguments);
    let mut journal = Journal::default();
    let end = loop {
        tokio::select! {
            outcome = &mut placing, if placed.is_none() => placed = Some(outcome?),
            _ = &mut relaying => return Err("a relay of the outbox ended".into()),
            Some(ended) = running.next() => return Err(match ended {
                Ok(Ok(())) => "a role ended before the flow did".into(),
                Ok(Err(error)) => describe(&error),
                Err(panic) => panic.to_string(),
            }),
            () = stopping(stop) => break End::Stopped,
            _ = look.tick() => {
                let standing = match flow.standing().await {
                    Ok(standing) => standing,
                    // The file may be busy: the next read may succeed.
                    Err(error) if error.is_retryable() => continue,
                    Err(error) => return Err(say(error)),
                };
                progress.show(standing);
                if let Some(orders) = &mut placed
                    && standing.is_complete()
                    && flow.is_published().await.map_err(say)?
                    && journal.is_done(flow.notes().await.map_err(say)?)
                {
                    break End::Complete(orders.take());
                }
                watch.look(standing, placed.is_some())?;
            }
        }
    };
    progress.end();
    handles.iter().for_each(WorkerHandle::stop);
    while let Some(ended) = running.next().await {
        ended.map_err(|panic| panic.to_string())?.map_err(say)?;
    }
    Ok(end)
}

/// Returns an error with what is missing if nothing moves. A role that runs alone waits for the others
/// for ever.
struct Watch {
    stall_timeout: Option<Duration>,
    last: ledger::Standing,
    since: Instant,
}

impl Watch {
    fn new(arguments: &Arguments) -> Self {
        let alone = arguments.role == Role::All;
        Self {
            stall_timeout: alone.then(|| Duration::from_secs(arguments.stall_timeout)),
            last: ledger::Standing::default(),
            since: Instant::now(),
        }
    }

    fn look(&mut self, standing: ledger::Standing, placed: bool) -> Result<(), String> {
        // Placement that waits for room waits for the others; otherwise it may wait for its input.
        let reads = !placed && standing.under_way() < roles::placement::BACKLOG;
        if standing != self.last || reads {
            self.last = standing;
            self.since = Instant::now();
        }
        match self.stall_timeout {
            Some(stall_timeout) if self.since.elapsed() > stall_timeout => Err(format!(
                "nothing has moved for {stall_timeout:?}: {} of {} orders are finished ({} placed, {} \
                 paid). Run it with RUST_LOG=info to see what its workers wait for",
                standing.finished(),
                standing.taken_in,
                standing.placed,
                standing.paid
            )),
            _ => Ok(()),
        }
    }
}

/// Waits for the notes of management, which may follow a stream later than another: an order can be shipped
/// before management has seen its payment.
#[derive(Default)]
struct Journal {
    last: Option<(u64, Instant)>,
}

impl Journal {
    /// Returns whether nothing is missing, or nothing has come for long: then it is lost, and the audit says so.
    fn is_done(&mut self, notes: Option<ledger::Notes>) -> bool {
        let Some(notes) = notes.filter(|notes| notes.missing > 0) else {
            return true;
        };
        match self.last {
            Some((noted, since)) if noted == notes.noted => since.elapsed() > UNNOTED,
            _ => {
                self.last = Some((notes.noted, Instant::now()));
                false
            }
        }
    }
}

/// Turns true when a signal asks the flow to end.
type Stop = watch::Receiver<bool>;

async fn stopping(stop: &mut Stop) {
    // The sender is gone if signals cannot be listened to.
    if stop.wait_for(|stop| *stop).await.is_err() {
        futures::future::pending::<()>().await;
    }
}

/// Listens to SIGTERM, SIGHUP and ctrl-c: the first signal lets the flow drain, a second one ends it at
/// once. That loses nothing: every effect is in one transaction with the record that it is done.
fn stop_on_signals() -> Stop {
    let (sender, stop) = watch::channel(false);
    tokio::spawn(async move {
        stop_signal().await;
        sender.send_replace(true);
        stop_signal().await;
        tell("order-processing: stopped at once; start it again and it goes on where it was");
        std::process::exit(STOPPED.into())
    });
    stop
}

/// Waits for SIGTERM, SIGHUP or ctrl-c.
async fn stop_signal() {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        // `nohup` ignores SIGHUP: listening would undo that.
        let mut hangup = match ignores_hangup() {
            true => None,
            false => signal(SignalKind::hangup()).ok(),
        };
        let closed = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => futures::future::pending().await,
            }
        };
        if let Ok(mut terminate) = signal(SignalKind::terminate()) {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = closed => {}
                _ = tokio::signal::ctrl_c() => {}
            }
            return;
        }
    }
    let _ = tokio::signal::ctrl_c().await;
}

/// Returns whether SIGHUP is ignored; known on Linux only. It is the lowest bit of the mask.
#[cfg(unix)]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    ignored
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & 1 == 1)
}
