//! Aqueduct and Microsoft's Python checkpoint store take over from each other, by release and by crash.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_core::{
    Checkpoint, GroupKey, Lease, LeaseStore, OwnerId, PartitionId, Position, ReadFrom, ResumeToken,
    Swap,
};

use super::{container, open};
use crate::command::output;
use crate::install::{cache, install};
use crate::outcome::Verdict;
use crate::services::{AZURITE_ACCOUNT, AZURITE_KEY, Service};
use crate::suites::Cloud;

const NAMESPACE: &str = "Shop.servicebus.windows.net";
const HUB: &str = "Orders";
const GROUP: &str = "$Default";
const PARTITIONS: u64 = 8;
/// Events between two checkpoints.
const EVERY: u64 = 10;
const LIMIT: Duration = Duration::from_secs(120);

/// The numbers of the events handled, first and last, by partition.
type Handled = BTreeMap<String, (u64, u64)>;

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

async fn take_turns(cloud: &Cloud, installed: &Path) -> Result<String, String> {
    let name = cloud.name();
    container::create(cloud, &name).await?;
    let place = Place::new(cloud, installed, &name).await?;
    place.create().await?;
    let mut before = Handled::new();
    let mut repeated = 0;
    let (mut turns, mut crashed) = (0, false);
    for (ours, events, end) in [
        (true, 95, End::Stop),
        (false, 87, End::Stop),
        (true, 63, End::Crash),
        (false, 71, End::Crash),
        (true, 44, End::Stop),
        (false, 33, End::Crash),
        (false, 12, End::Stop),
        (true, 21, End::Stop),
    ] {
        let handled = match ours {
            true => place.ours(events, end).await?,
            false => place.theirs(turns, events, end).await?,
        };
        repeated += compare(&before, &handled, crashed)?;
        before = handled;
        crashed = end == End::Crash;
        turns += 1;
    }
    place.displaced().await?;
    Ok(format!(
        "{turns} turns on {PARTITIONS} partitions: none lost, {repeated} repeated after crashes"
    ))
}

/// Checks that no event is missing, and that only a crash repeats some: fewer than between two checkpoints.
fn compare(before: &Handled, now: &Handled, crashed: bool) -> Result<u64, String> {
    if now.len() as u64 != PARTITIONS {
        return Err(format!("{} of {PARTITIONS} partitions: {now:?}", now.len()));
    }
    let mut repeated = 0;
    for (partition, (first, _)) in now {
        let expected = before.get(partition).map_or(0, |(_, last)| last + 1);
        let again = expected
            .checked_sub(*first)
            .ok_or_else(|| format!("partition {partition}: {expected}..{first} are lost"))?;
        let most = if crashed { EVERY - 1 } else { 0 };
        if again > most {
            let why = format!("partition {partition}: {again} repeated, expected at most {most}");
            return Err(why);
        }
        repeated += again;
    }
    Ok(repeated)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Commits everything and releases.
    Stop,
    /// Commits and releases nothing more.
    Crash,
}

struct Place {
    leases: Arc<dyn LeaseStore>,
    key: GroupKey,
    python: PathBuf,
    /// Connection string and container, for the script.
    words: Vec<String>,
}

impl Place {
    async fn new(cloud: &Cloud, installed: &Path, container: &str) -> Result<Self, String> {
        let runtime = aqueduct_runtime::tokio();
        let options = [
            ("event_hubs", NAMESPACE),
            ("processor_watch", "0s"),
            ("checkpoint_blobs", "0s"),
        ];
        let store = open(cloud, container, "", &options).map_err(text)?;
        let options = cloud.place.options(Service::Blob)?;
        let endpoint = options.iter().find(|(key, _)| *key == "endpoint");
        let (_, endpoint) = endpoint.ok_or("the emulator has no endpoint")?;
        let connection = format!(
            "DefaultEndpointsProtocol=http;AccountName={AZURITE_ACCOUNT};AccountKey={AZURITE_KEY};\
             BlobEndpoint={endpoint};"
        );
        Ok(Self {
            leases: store.leases(&runtime).await.map_err(text)?,
            key: GroupKey::new(GROUP, HUB),
            python: installed.join("bin/python"),
            words: vec![connection, container.to_owned()],
        })
    }

    async fn create(&self) -> Result<(), String> {
        for partition in 0..PARTITIONS {
            let start = Checkpoint::Start(ReadFrom::Earliest);
            let lease = Lease::new(PartitionId::new(partition.to_string()), start);
            self.leases.create(&self.key, lease).await.map_err(text)?;
        }
        Ok(())
    }

    /// Handles events of every partition as a member does, all partitions at the same time.
    async fn ours(&self, events: u64, end: End) -> Result<Handled, String> {
        let listed = self.leases.list(&self.key, &[]).await.map_err(text)?;
        let handling = listed.iter().map(|lease| self.handle(lease, events, end));
        let handled = futures::future::try_join_all(handling).await?;
        Ok(handled.into_iter().collect())
    }

    async fn handle(
        &self,
        lease: &Lease,
        events: u64,
        end: End,
    ) -> Result<(String, (u64, u64)), String> {
        let partition = lease.partition.as_str();
        let first = match lease.checkpoint {
            Checkpoint::At(position) => {
                let last = position.sequence().unwrap_or_default();
                let token = ResumeToken::new(format!("{partition}:{}", last * 10));
                if lease.resume_token.as_ref() != Some(&token) {
                    return Err(format!("expected the token {token:?}: {lease:?}"));
                }
                last + 1
            }
            _ => 0,
        };
        let mut mine = self.take(lease, "aqueduct").await?;
        let last = first + events - 1;
        for at in first..=last {
            if (at - first + 1) % EVERY == 0 {
                let next = settled(&mine, partition, at);
                mine = self.commit(&mine, next).await?;
            }
        }
        if end == End::Stop {
            let mut next = settled(&mine, partition, last);
            next.owner = None;
            let swap = self.leases.swap(&self.key, &mine, next).await;
            swapped(swap.map_err(text)?)?;
        }
        Ok((partition.to_owned(), (first, last)))
    }

    async fn take(&self, lease: &Lease, owner: &str) -> Result<Lease, String> {
        let mut next = lease.clone();
        next.owner = Some(OwnerId::new(owner));
        next.generation += 1;
        next.counter += 1;
        next.nonce += 1;
        let swap = self.leases.swap(&self.key, lease, next).await;
        swapped(swap.map_err(text)?)
    }

    async fn commit(&self, mine: &Lease, next: Lease) -> Result<Lease, String> {
        let swap = self.leases.commit(&self.key, mine, next).await;
        swapped(swap.map_err(text)?)
    }

    /// Runs Microsoft's checkpoint store in a process of its own.
    async fn theirs(&self, turn: u64, events: u64, end: End) -> Result<Handled, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/processor.py");
        let mut command = Command::new(&self.python);
        let end = match end {
            End::Stop => "stop",
            End::Crash => "crash",
        };
        command
            .arg(script)
            .args(&self.words)
            .args([NAMESPACE, HUB, GROUP])
            .args([
                format!("python-{turn}"),
                events.to_string(),
                EVERY.to_string(),
            ])
            .arg(end)
            .env("PYTHONDONTWRITEBYTECODE", "1");
        let running = tokio::task::spawn_blocking(move || output(&mut command, LIMIT));
        let said = running.await.map_err(|panic| panic.to_string())??;
        let line = said.lines().next_back().unwrap_or_default();
        let handled: BTreeMap<String, (u64, u64)> =
            serde_json::from_str(line).map_err(|error| format!("{error}: {said}"))?;
        Ok(handled)
    }

    /// A processor that claims a partition cuts off its owner.
    async fn displaced(&self) -> Result<(), String> {
        let listed = self.leases.list(&self.key, &[]).await.map_err(text)?;
        let lease = listed.first().ok_or("no lease is stored")?;
        let partition = lease.partition.as_str().to_owned();
        let mine = self.take(lease, "aqueduct").await?;
        let handled = self.theirs(99, 25, End::Crash).await?;
        let (_, last) = handled.get(&partition).ok_or("it was not claimed")?;
        let late = settled(&mine, &partition, 1_000_000);
        let swap = self.leases.commit(&self.key, &mine, late).await;
        let Swap::Lost(Some(row)) = swap.map_err(text)? else {
            return Err(format!(
                "partition {partition}: the displaced owner committed"
            ));
        };
        let at = Position::new(last - last % EVERY);
        let is_theirs = row.owner == Some(OwnerId::new("python-99"));
        match (is_theirs, row.checkpoint) {
            (true, Checkpoint::At(found))
                if found.sequence() <= Some(*last) && found < at.with_sub(1) =>
            {
                Ok(())
            }
            _ => Err(format!("expected the claim of python-99: {row:?}")),
        }
    }
}

fn settled(mine: &Lease, partition: &str, at: u64) -> Lease {
    let mut next = mine.clone();
    next.counter += 1;
    next.nonce += 1;
    next.checkpoint = Checkpoint::At(Position::new(at));
    next.resume_token = Some(ResumeToken::new(format!("{partition}:{}", at * 10)));
    next
}

fn swapped(swap: Swap) -> Result<Lease, String> {
    match swap {
        Swap::Swapped(lease) => Ok(lease),
        Swap::Lost(row) => Err(format!("a write without a rival was lost to {row:?}")),
    }
}

fn text(error: aqueduct_core::Error) -> String {
    aqueduct_core::error_chain(&error)
}
