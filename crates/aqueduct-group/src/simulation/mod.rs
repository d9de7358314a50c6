//! A seeded simulation: real members and trackers, between a simulated log, a simulated
//! lease store and simulated processes that crash, stall, join and leave. One thread, virtual time.
//!
//! It writes a history of what processes, handlers, log and store did, and `aqueduct-history` judges
//! that; nothing is read off the state of the code under test.
//!
//! `AQUEDUCT_SEED=n cargo test -p aqueduct-group simulation -- --nocapture` replays one seed and
//! prints what happens; `AQUEDUCT_HISTORY=file` keeps its history. `AQUEDUCT_SEEDS`, `AQUEDUCT_FIRST`
//! and `AQUEDUCT_MINUTES` choose what is run, `AQUEDUCT_STOP=1` ends at the first seed that fails.

mod calls;
mod clock;
mod cost;
mod course;
mod facts;
mod faults;
mod handlers;
mod log;
mod process;
mod runner;
mod scenario;
mod schedule;
mod seen;
mod store;
mod world;

use std::env;
use std::fs::File;
use std::io::BufWriter;

use self::runner::{Plan, cpu, number, reason};
use self::scenario::Scenario;
use self::world::World;

fn run(seed: u64, print: bool) -> Result<World, String> {
    let mut world = World::new(seed, Scenario::draw(seed), print);
    let outcome = world.run();
    if let (true, Ok(path)) = (print, env::var("AQUEDUCT_HISTORY")) {
        let file = File::create(&path).map_err(|e| format!("{path}: {e}"))?;
        let written = world.history.write(BufWriter::new(file));
        written.map_err(|e| format!("{path}: {e}"))?;
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
    let plan = Plan::from_environment();
    let mut summary = plan.run();
    println!("{:?}", summary.seen);
    for (seed, why) in &summary.failed {
        println!("seed {seed}: {}", reason(why));
    }
    println!("{}", summary.json(cpu()));
    if let Some((_, why)) = summary.failed.first() {
        panic!("{} seeds fail; one of them: {why}", summary.failed.len());
    }
    // A simulation in which nothing happens proves nothing.
    if summary.seeds >= 500 {
        summary.seen.assert_everything_happened();
    }
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
