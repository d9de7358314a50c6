use std::sync::Arc;
use std::time::Duration;

use aqueduct::{Client, DeadLetterQuery, Environment, Result, Start};
use aqueduct_core::random::SplitMix64;
use aqueduct_core::sync::lock;
use aqueduct_history::{HistoryLine, Judgement, Op, Phase, Recorder, Text, check};
use aqueduct_runtime::Simulation;

use crate::fates::Fate;
use crate::processes::Life;
use crate::sending::send_key;
use crate::shop::Shop;

/// The time after the last fault within which all must be settled.
const PATIENCE: Duration = Duration::from_secs(3_600);

/// A run of one seed, and what the checker says of it.
pub struct Run {
    /// The history.
    pub history: Recorder,
    /// The findings of the checker.
    pub verdict: Judgement,
    /// How long it took, in simulated time.
    pub simulated: Duration,
}

/// A fault from outside of the code under test.
#[derive(Clone, Copy, Debug)]
enum Act {
    Kill,
    Stall,
    Deploy,
}

/// Runs one seed: the same seed gives the same history.
///
/// # Errors
/// A text if the run cannot be made at all.
pub fn run(seed: u64) -> std::result::Result<Run, String> {
    let simulation = Simulation::new(seed).with_horizon(Duration::from_secs(24 * 3_600));
    let shop = Arc::new(Shop::new(simulation.runtime(), seed));
    let outcome = simulation.block_on(live(&shop, &simulation, seed));
    let outcome = match outcome {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(error)) => return Err(format!("seed {seed}: {error}")),
        Err(stalled) => Err(stalled.to_string()),
    };
    let mut history = lock(&shop.history);
    history.end(
        shop.now(),
        outcome.as_ref().copied().map_err(String::as_str),
    );
    let verdict = check(history.records());
    Ok(Run {
        history: std::mem::replace(&mut *history, Recorder::new(None)),
        verdict,
        simulated: simulation.runtime().now().elapsed_since_origin(),
    })
}

/// Returns why the run does not come to rest, if it does not.
async fn live(
    shop: &Arc<Shop>,
    simulation: &Simulation,
    seed: u64,
) -> Result<std::result::Result<(), String>> {
    let main = &shop.main;
    let client = Client::builder()
        .toml(shop.configuration())
        .environment(Environment::empty())
        .backend("memory", shop.backend.clone())
        .runtime(main.clone())
        .build()
        .await?;
    let producer = client.producer("orders").await?;
    if shop.scenario.troubled {
        shop.trouble();
    }
    let keys = 0..shop.scenario.keys;
    let senders: Vec<_> = keys
        .map(|key| main.spawn(send_key(shop.clone(), producer.clone(), key)))
        .collect();
    let mut lives = Lives {
        shop: shop.clone(),
        number: 0,
        all: Vec::new(),
    };
    lives.fill_up(simulation);
    for (at, act) in plan(shop, seed) {
        lives.sleep_until(at, simulation).await;
        lives.act(act).await;
    }
    lives.sleep_until(shop.scenario.trouble, simulation).await;
    shop.calm();
    for sender in senders {
        sender.await.ok();
    }
    let ids = || {
        let keys = 0..shop.scenario.keys;
        let each = shop.scenario.each;
        keys.flat_map(move |key| (0..each).map(move |n| format!("{key}-{n}")))
    };
    let deadline = main.now() + PATIENCE;
    let letters = client.dead_letters("billing").await?;
    let query = DeadLetterQuery::default();
    let outcome = loop {
        let dead = letters.list(&query).await?;
        let is_dead = |id: &String| {
            dead.iter()
                .any(|it| it.dead_letter.event.id().to_string() == *id)
        };
        let is_settled = |id: &String| lock(&shop.handled).contains(id) || is_dead(id);
        match ids().find(|id| !is_settled(id)) {
            None => break Ok(()),
            Some(open) if main.now() > deadline => {
                break Err(format!(
                    "{open} is not settled an hour after the last fault"
                ));
            }
            Some(_) => lives.sleep(Duration::from_secs(5), simulation).await,
        }
    };
    // What is dead-lettered at once with the last success, and copies that were sent twice.
    lives.sleep(Duration::from_secs(60), simulation).await;
    for life in &lives.all {
        life.stop().await;
    }
    let mut stored = Vec::new();
    let mut reader = client.reader("orders", Start::Earliest).await?;
    while let Ok(Ok(Some(it))) = main
        .timeout(Duration::from_secs(1), "the next event", reader.next())
        .await
    {
        let line = HistoryLine::new(0, "log", Op::Store, Phase::Ok);
        let line = line.key(it.event.key().map(Text::from));
        let line = line.event(it.event.id().to_string());
        stored.push(line.partition(it.partition.as_str()).position(it.position));
    }
    // A checkpoint passes events in the order of their positions.
    stored.sort_by(|a, b| (&a.partition, a.position).cmp(&(&b.partition, b.position)));
    lock(&shop.history).add_first(stored);
    for it in letters.list(&query).await? {
        let id = it.dead_letter.event.id().to_string();
        let mut line = shop.line("dead-letters", Op::DeadLetter, Phase::Ok);
        if shop.fates.of(&id) == Fate::Refused {
            line.why = Some("rejected".into());
        }
        shop.add(line.event(id));
    }
    Ok(outcome)
}

fn plan(shop: &Shop, seed: u64) -> Vec<(Duration, Act)> {
    let mut rng = SplitMix64::new(seed ^ 0xacc);
    let scenario = &shop.scenario;
    let most = scenario.trouble.as_millis() as usize;
    let mut plan = Vec::new();
    for (count, act) in [
        (scenario.kills, Act::Kill),
        (scenario.stalls, Act::Stall),
        (scenario.deploys, Act::Deploy),
    ] {
        for _ in 0..count {
            plan.push((Duration::from_millis(rng.below(most) as u64), act));
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// The processes, started again when they die.
struct Lives {
    shop: Arc<Shop>,
    number: usize,
    all: Vec<Arc<Life>>,
}

impl Lives {
    fn fill_up(&mut self, simulation: &Simulation) {
        self.all.retain(|life| life.is_alive());
        while self.all.len() < self.shop.scenario.processes {
            self.all
                .push(Life::begin(&self.shop, simulation, self.number));
            self.number += 1;
        }
    }

    async fn sleep_until(&mut self, at: Duration, simulation: &Simulation) {
        let now = self.shop.main.now().elapsed_since_origin();
        self.sleep(at.saturating_sub(now), simulation).await;
    }

    /// Waits, and starts processes again that ended meanwhile.
    async fn sleep(&mut self, lasts: Duration, simulation: &Simulation) {
        let main = self.shop.main.clone();
        let until = main.now() + lasts;
        while main.now() < until {
            let step = until.since(main.now()).min(Duration::from_secs(2));
            main.sleep(step).await;
            self.fill_up(simulation);
        }
    }

    async fn act(&mut self, act: Act) {
        let main = &self.shop.main;
        let random = main.random() as usize;
        let Some(life) = self.all.get(random % self.all.len().max(1)).cloned() else {
            return;
        };
        match act {
            Act::Kill => life.kill(None),
            Act::Stall => {
                let lasts = Duration::from_secs(5 + main.random() % 60);
                main.spawn(async move { life.stand_still(lasts).await })
                    .detach();
            }
            Act::Deploy => {
                main.spawn(async move { life.stop().await }).detach();
            }
        }
    }
}
