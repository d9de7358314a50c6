//! A seeded simulation: real members and trackers, between a simulated log, a simulated
//! lease store and simulated processes that crash, stall, join and leave. One thread, virtual time.
//!
//! `AQUEDUCT_SEED=n cargo test -p aqueduct-group simulation -- --nocapture` replays one seed and
//! prints what happens; `AQUEDUCT_SEEDS=n` runs more of them; `AQUEDUCT_HISTORY=file` writes the history.

mod calls;
mod clock;
mod cost;
mod course;
mod facts;
mod faults;
mod handlers;
mod log;
mod process;
mod scenario;
mod schedule;
mod seen;
mod store;
mod world;

use std::env;
use std::sync::Mutex;

use self::scenario::Scenario;
use self::world::World;

/// The default number of seeds; `AQUEDUCT_SEEDS` sets another.
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    env::var(name).ok()?.parse().ok()
}

fn run(seed: u64, print: bool) -> Result<World, String> {
    let mut world = World::new(seed, Scenario::draw(seed), print);
    let outcome = world.run();
    if let Ok(file) = env::var("AQUEDUCT_HISTORY") {
        let file = std::fs::File::create(file).map_err(|e| e.to_string())?;
        let to = std::io::BufWriter::new(file);
        world.history.write(to).map_err(|e| e.to_string())?;
    }
    outcome.map_err(|why| format!("AQUEDUCT_SEED={seed}: {why}"))?;
    Ok(world)
}

#[test]
fn the_meaning_holds_for_every_seed() {
    if let Some(seed) = number("AQUEDUCT_SEED") {
        if let Err(why) = run(seed, true) {
            panic!("{why}");
        }
        return;
    }
    let seeds = number("AQUEDUCT_SEEDS").unwrap_or(SEEDS);
    let threads = std::thread::available_parallelism().map_or(1, |it| it.get() as u64);
    let mut seen = seen::Seen::default();
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let failed = &failed;
        let run_all = move |first: u64| {
            let mut seen = seen::Seen::default();
            for seed in (first..seeds).step_by(threads as usize) {
                match run(seed, false) {
                    Ok(world) => seen.add(&world.seen),
                    Err(why) => failed.lock().unwrap().push((seed, why)),
                }
            }
            seen
        };
        let all: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || run_all(first)))
            .collect();
        for thread in all {
            seen.add(&thread.join().unwrap());
        }
    });
    let failed = failed.into_inner().unwrap();
    if let Some((_, why)) = failed.first() {
        for (seed, why) in &failed {
            println!("seed {seed}: {}", why.lines().nth(1).unwrap_or(why));
        }
        panic!("{} seeds fail; one of them: {why}", failed.len());
    }
    // A simulation in which nothing happens proves nothing.
    println!("{seen:?}");
    seen.assert_everything_happened();
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let mut traces = Vec::new();
    for seed in 0..20 {
        let trace = |seed| run(seed, false).map(|world| world.trace.hash());
        let (first, second) = (trace(seed), trace(seed));
        assert_eq!(first, second, "seed {seed}");
        traces.push(first.unwrap());
    }
    traces.sort_unstable();
    traces.dedup();
    assert_eq!(traces.len(), 20, "different seeds, different traces");
}
