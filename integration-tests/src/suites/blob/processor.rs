//! Microsoft's event processor for Python and a group of Aqueduct take over a hub from each other while events
//! come in, by release and by crash.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aqueduct_core::{
    Backend as _, Checkpoint, Event, GroupKey, GroupName, LeaseStore, Options, PartitionedLog,
    Resource, Source, Url,
};
use aqueduct_emulators::{EventHubs, EventHubsOptions};
use aqueduct_eventhubs::EventHubsBackend;
use aqueduct_group::{Group, GroupOptions};

use super::{container, open};
use crate::install::{cache, install};
use crate::outcome::Verdict;
use crate::services::{AZURITE_ACCOUNT, AZURITE_KEY, Service};
use crate::suites::Cloud;

const HUB: &str = "orders";
const GROUP: &str = "billing";
const PARTITIONS: usize = 4;

/// The events of one batch of the processor, and so between two of its checkpoints.
const EVERY: u64 = 20;

/// After how long an owner that does not renew has crashed, on both sides.
const EXPIRY: Duration = Duration::from_secs(8);

/// How many events each partition has before the owner changes.
const PER_TURN: u64 = 150;

const LIMIT: Duration = Duration::from_secs(180);

pub(crate) async fn run(cloud: &Cloud) -> Verdict {
    let setup = cloud.setup.clone();
    let installing = tokio::task::spawn_blocking(move || install(&setup, &cache()?));
    let installed = match installing.await {
        Ok(Ok(folder)) => folder,
        Ok(Err(why)) => return Verdict::Skipped(why),
        Err(panic) => return Verdict::Failed(panic.to_string()),
    };
    match take_turns(cloud, &installed).await {
        Ok(said) => Verdict::Passed(said),
        Err(why) => Verdict::Failed(why),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It commits everything and gives up its partitions.
    Stop,
    /// It is gone at once.
    Crash,
}

async fn take_turns(cloud: &Cloud, installed: &Path) -> Result<String, String> {
    let container = cloud.name();
    container::create(cloud, &container).await?;
    let options = EventHubsOptions::new()
        .with_hub(HUB, PARTITIONS)
        .with_consumer_group(HUB, GROUP);
    let hubs = EventHubs::start(options).await.map_err(|e| e.to_string())?;
    let place = Arc::new(Place::new(cloud, installed, &container, &hubs).await?);
    let (load, stop) = Load::start(&place).await?;
    let mut before: Option<Before> = None;
    let (mut turns, mut repeated) = (0, 0);
    for (ours, end) in [
        (true, End::Stop),
        (false, End::Stop),
        (true, End::Crash),
        (false, End::Crash),
        (true, End::Stop),
        (false, End::Crash),
        (true, End::Stop),
    ] {
        turns += 1;
        let turn = place.clone();
        let goal = turns * PER_TURN;
        let running = tokio::task::spawn_blocking(move || match ours {
            true => turn.ours(goal, end),
            false => turn.theirs(goal, end),
        });
        let handled = running.await.map_err(|panic| panic.to_string())?;
        let handled = handled.map_err(|why| format!("turn {turns}, {end:?}: {why}"))?;
        let mut reached = BTreeMap::new();
        for (partition, runs) in &handled {
            let place = format!("turn {turns}, partition {partition}");
            let (first, last) = runs.ends().map_err(|why| format!("{place}: {why}"))?;
            repeated += match &before {
                Some(before) => before.repeated(partition, first),
                None if first == 0 => Ok(0),
                None => Err(format!("it begins with {first}")),
            }
            .map_err(|why| format!("{place}: {why}"))?;
            reached.insert(partition.clone(), last);
        }
        before = Some(Before {
            reached,
            settled: place.checkpoints().await?,
            most: match (ours, end) {
                (_, End::Stop) => Some(0),
                (false, End::Crash) => Some(EVERY),
                (true, End::Crash) => None,
            },
        });
    }
    stop.store(true, Ordering::Relaxed);
    let sent = load.await.map_err(|panic| panic.to_string())??;
    let stored: usize = (0..PARTITIONS).map(|at| hubs.events(HUB, at).len()).sum();
    if stored as u64 != sent {
        return Err(format!("{stored} events are stored, {sent} were sent"));
    }
    let violations = hubs.violations();
    if !violations.is_empty() {
        return Err(format!("violations: {violations:?}"));
    }
    Ok(format!(
        "{turns} turns on {PARTITIONS} partitions under load, {sent} events sent: none lost, {repeated} handled again after crashes"
    ))
}

/// What the owner before left behind.
struct Before {
    /// The last event that it handled, by partition.
    reached: BTreeMap<String, u64>,
    /// The last event that it settled. One that crashed may have settled more right after this was read.
    settled: BTreeMap<String, u64>,
    /// The most events that it handled and did not settle, if they are counted: a group commits by the clock.
    most: Option<u64>,
}

impl Before {
    /// Returns how many events are handled again by an owner that begins with `first`.
    fn repeated(&self, partition: &str, first: u64) -> Result<u64, String> {
        let reached = self.reached.get(partition).copied().unwrap_or_default();
        let again = (reached + 1).checked_sub(first);
        let again = again.ok_or_else(|| format!("{}..{first} are lost", reached + 1))?;
        let settled = self.settled.get(partition).map_or(0, |last| last + 1);
        if first < settled {
            return Err(format!(
                "it begins with {first}, and everything before {settled} is settled"
            ));
        }
        match self.most {
            Some(most) if again > most => Err(format!(
                "{again} are handled again, expected at most {most}"
            )),
            _ => Ok(again),
        }
    }
}

/// The runs of consecutive events that an owner handled in a partition, in order.
#[derive(Debug, Default)]
struct Runs(Vec<(u64, u64)>);

impl Runs {
    /// Returns the first and the last event, if none between them was left out.
    fn ends(&self) -> Result<(u64, u64), String> {
        let (first, _) = self.0.first().ok_or("nothing was handled")?;
        let mut next = *first;
        for (from, to) in &self.0 {
            if *from != next {
                return Err(format!("{from} was handled where {next} comes next"));
            }
            next = to + 1;
        }
        Ok((*first, next - 1))
    }

    fn last(&self) -> Option<u64> {
        self.0.last().map(|(_, last)| *last)
    }
}

type Handled = BTreeMap<String, Runs>;

fn all_reached(handled: &Handled, goal: u64) -> bool {
    let reached = |runs: &Runs| runs.last().is_some_and(|last| last + 1 >= goal);
    handled.len() == PARTITIONS && handled.values().all(reached)
}

struct Place {
    stream: Arc<dyn Resource>,
    blobs: Arc<dyn Resource>,
    leases: Arc<dyn LeaseStore>,
    python: PathBuf,
    /// The words of the processor's command.
    words: Vec<String>,
}

impl Place {
    async fn new(
        cloud: &Cloud,
        installed: &Path,
        container: &str,
        hubs: &EventHubs,
    ) -> Result<Self, String> {
        let options = [
            ("event_hubs", "127.0.0.1"),
            ("processor_watch", "0s"),
            ("checkpoint_blobs", "0s"),
        ];
        let blobs = open(cloud, container, "", &options).map_err(text)?;
        let options = cloud.place.options(Service::Blob)?;
        let endpoint = options.iter().find(|(key, _)| *key == "endpoint");
        let (_, endpoint) = endpoint.ok_or("the emulator has no endpoint")?;
        let url = Url::parse(&format!("eventhubs:{HUB}")).map_err(|e| e.to_string())?;
        let options = Options::new("streams.orders")
            .with("connection_string", hubs.connection_string())
            .with("encoding", "raw");
        let stream = EventHubsBackend::new()
            .parse(HUB, &url, options)
            .map_err(text)?;
        let runtime = aqueduct_runtime::tokio();
        Ok(Self {
            stream,
            leases: blobs.leases(&runtime).await.map_err(text)?,
            blobs,
            python: installed.join("bin/python"),
            words: vec![
                hubs.connection_string(),
                HUB.to_owned(),
                GROUP.to_owned(),
                format!(
                    "DefaultEndpointsProtocol=http;AccountName={AZURITE_ACCOUNT};AccountKey={AZURITE_KEY};\
                     BlobEndpoint={endpoint};"
                ),
                container.to_owned(),
                EVERY.to_string(),
                EXPIRY.as_secs().to_string(),
            ],
        })
    }

    /// Returns the sequence number of the last settled event of each partition.
    async fn checkpoints(&self) -> Result<BTreeMap<String, u64>, String> {
        let key = GroupKey::new(GROUP, HUB);
        let listed = self.leases.list(&key, &[]).await.map_err(text)?;
        let settled = listed.iter().filter_map(|lease| match lease.checkpoint {
            Checkpoint::At(position) => {
                Some((lease.partition.as_str().to_owned(), position.sequence()?))
            }
            _ => None,
        });
        Ok(settled.collect())
    }

    /// Reads as a member of the group until each partition has reached `goal`. A crash ends its runtime, and
    /// with it every task, between two of them.
    fn ours(&self, goal: u64, end: End) -> Result<Handled, String> {
        let alone = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|e| e.to_string())?;
        let handled = alone.block_on(self.member(goal, end));
        alone.shutdown_timeout(LIMIT);
        handled
    }

    async fn member(&self, goal: u64, end: End) -> Result<Handled, String> {
        let runtime = aqueduct_runtime::tokio();
        let source = self.stream.source(&runtime).await.map_err(text)?;
        let Source::Log(log) = source else {
            return Err("the hub is no log".to_owned());
        };
        let log: Arc<dyn PartitionedLog> = log;
        let leases = self.blobs.leases(&runtime).await.map_err(text)?;
        let mut options = GroupOptions::new(GroupName::new(GROUP));
        options = options.with_lease_ttl(EXPIRY);
        options.commit_interval = Duration::from_secs(1);
        let member = Group::open(log, leases, options, &runtime);
        let member = member.await.map_err(text)?;
        let mut handled = Handled::new();
        let begun = Instant::now();
        while !all_reached(&handled, goal) {
            let left = LIMIT.saturating_sub(begun.elapsed());
            let received = tokio::time::timeout(left, member.receive_batch(50)).await;
            let received = received.map_err(|_| format!("waited in vain: {handled:?}"))?;
            for delivery in received.map_err(text)? {
                let (Some(partition), Some(position)) = (delivery.partition(), delivery.position())
                else {
                    return Err("a delivery without a position".to_owned());
                };
                let number = position.sequence().unwrap_or_default();
                let runs = handled.entry(partition.as_str().to_owned()).or_default();
                runs.0.push((number, number));
                delivery.ack().await.map_err(|failed| failed.to_string())?;
            }
        }
        if end == End::Stop {
            member.close().await.map_err(text)?;
        } else {
            // It lives until its runtime ends.
            std::mem::forget(member);
        }
        Ok(handled)
    }

    /// Runs Microsoft's processor until each partition has reached `goal`.
    fn theirs(&self, goal: u64, end: End) -> Result<Handled, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/event_processor.py");
        let mut child = Command::new(&self.python)
            .arg(script)
            .args(&self.words)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| e.to_string())?;
        let handled = Arc::new(Mutex::new(Handled::new()));
        let reading = follow(&mut child, &handled)?;
        let begun = Instant::now();
        let mut late;
        loop {
            let done = all_reached(
                &handled.lock().unwrap_or_else(PoisonError::into_inner),
                goal,
            );
            late = begun.elapsed() > LIMIT;
            let ended = child.try_wait().map_err(|e| e.to_string())?.is_some();
            if done || late || ended {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if end == End::Crash || late {
            child.kill().map_err(|e| e.to_string())?;
        }
        drop(child.stdin.take());
        let mut said = String::new();
        if let Some(mut errors) = child.stderr.take() {
            errors
                .read_to_string(&mut said)
                .map_err(|e| e.to_string())?;
        }
        child.wait().map_err(|e| e.to_string())?;
        reading.join().map_err(|_| "the reader panicked")??;
        let handled = std::mem::take(&mut *handled.lock().unwrap_or_else(PoisonError::into_inner));
        match all_reached(&handled, goal) {
            true => Ok(handled),
            false => Err(format!(
                "the processor handled {handled:?}, and said {said}"
            )),
        }
    }
}

/// Collects what the processor prints until it ends.
fn follow(
    child: &mut Child,
    handled: &Arc<Mutex<Handled>>,
) -> Result<std::thread::JoinHandle<Result<(), String>>, String> {
    let output = child.stdout.take().ok_or("the processor has no output")?;
    let handled = handled.clone();
    Ok(std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let line = line.map_err(|e| e.to_string())?;
            // A killed process may leave half a line; what it handled then is not known to be handled.
            let Ok(found) = serde_json::from_str::<serde_json::Value>(&line) else {
                continue;
            };
            let number = |name: &str| found[name].as_u64().ok_or(format!("no {name}: {line}"));
            let run = (number("first")?, number("last")?);
            let partition = found["partition"].as_str().ok_or("no partition")?;
            let mut handled = handled.lock().unwrap_or_else(PoisonError::into_inner);
            handled.entry(partition.to_owned()).or_default().0.push(run);
        }
        Ok(())
    }))
}

/// Sends events until it is stopped, so that no owner ever has all of them.
struct Load;

impl Load {
    #[allow(clippy::type_complexity)]
    async fn start(
        place: &Arc<Place>,
    ) -> Result<
        (
            tokio::task::JoinHandle<Result<u64, String>>,
            Arc<AtomicBool>,
        ),
        String,
    > {
        let runtime = aqueduct_runtime::tokio();
        let producer = place.stream.producer(&runtime).await.map_err(text)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let sending = tokio::spawn(async move {
            let mut sent = 0;
            let mut ticks = tokio::time::interval(Duration::from_millis(50));
            while !stopped.load(Ordering::Relaxed) {
                ticks.tick().await;
                let some = (0..20).map(|at| {
                    Event::bytes("order.placed", "text/plain", "one book")
                        .with_source("/load")
                        .with_key(format!("customer-{}", (sent + at) % 97))
                });
                let some: Vec<_> = some.collect();
                let report = producer.send_batch(&some).await;
                report.into_result().map_err(text)?;
                sent += some.len() as u64;
            }
            producer.close().await.map_err(text)?;
            Ok(sent)
        });
        Ok((sending, stop))
    }
}

fn text(error: aqueduct_core::Error) -> String {
    aqueduct_core::error_chain(&error)
}
