//! Guarantees of a simulation: it repeats, jumps in time, and reports a stall.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_core::{ErrorKind, Runtime};
use aqueduct_runtime::{Simulation, Stalled};
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// Ten tasks that sleep for random times and write down when they wake.
fn trace(seed: u64) -> (Vec<(u64, Duration)>, u64) {
    let simulation = Simulation::new(seed);
    let runtime = simulation.runtime();
    let log = Arc::new(Mutex::new(Vec::new()));
    for task in 0..10 {
        let (runtime, log) = (runtime.clone(), log.clone());
        let sleeper = async move {
            for _ in 0..5 {
                runtime.sleep(SECOND * (runtime.random() % 4) as u32).await;
                let at = runtime.now().elapsed_since_origin();
                log.lock().unwrap().push((task, at));
            }
        };
        simulation.runtime().spawn(sleeper).detach();
    }
    let done = log.clone();
    simulation
        .block_on(async {
            while done.lock().unwrap().len() < 50 {
                runtime.sleep(SECOND).await;
            }
        })
        .unwrap();
    let log = log.lock().unwrap().clone();
    (log, simulation.fingerprint())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(50))]
    #[test]
    fn the_same_seed_is_the_same_trace_and_another_seed_is_another(seed: u64) {
        prop_assert_eq!(trace(seed), trace(seed));
        prop_assert_ne!(trace(seed), trace(seed.wrapping_add(1)));
    }
}

#[test]
fn the_clock_jumps_to_the_next_timer_and_a_dropped_sleep_is_no_timer() {
    let simulation = Simulation::new(1);
    let runtime = simulation.runtime();
    drop(runtime.sleep(SECOND));
    simulation.block_on(runtime.sleep(3600 * SECOND)).unwrap();
    assert_eq!(runtime.now().elapsed_since_origin(), 3600 * SECOND);
    assert_eq!(runtime.wall().to_string(), "2026-01-01T01:00:00Z");
}

#[test]
fn what_cannot_end_is_stalled() {
    let simulation = Simulation::new(1).with_horizon(10 * SECOND);
    let asleep = simulation.block_on(std::future::pending::<()>());
    assert!(matches!(asleep, Err(Stalled::Asleep { .. })));
    let runtime = simulation.runtime();
    let late = simulation.block_on(runtime.sleep(11 * SECOND));
    assert!(matches!(late, Err(Stalled::Horizon { .. })));
    simulation.block_on(runtime.sleep(10 * SECOND)).unwrap();
}

#[test]
fn a_killed_process_runs_no_more_and_a_stalled_one_goes_on_later() {
    let simulation = Simulation::new(3);
    let ticks = |runtime: Runtime| {
        let count = Arc::new(Mutex::new(0));
        let (ticking, mine) = (runtime.clone(), count.clone());
        runtime
            .spawn(async move {
                loop {
                    ticking.sleep(SECOND).await;
                    *mine.lock().unwrap() += 1;
                }
            })
            .detach();
        count
    };
    let (killed, stalled) = (simulation.process(), simulation.process());
    let (a, b) = (ticks(killed.runtime()), ticks(stalled.runtime()));
    let run = |seconds| {
        simulation
            .block_on(simulation.runtime().sleep(SECOND * seconds + SECOND / 2))
            .unwrap();
        (*a.lock().unwrap(), *b.lock().unwrap())
    };
    assert_eq!(run(3), (3, 3));
    killed.kill();
    stalled.stall(true);
    assert_eq!(run(10), (3, 3));
    stalled.stall(false);
    let (dead, alive) = run(5);
    assert_eq!(dead, 3);
    let late = killed.runtime().spawn(async {});
    let error = simulation.block_on(late).unwrap().unwrap_err();
    assert!(error.is(ErrorKind::Closed), "{error}");
    assert!((8..=9).contains(&alive), "{alive}");
}

#[test]
fn a_dropped_simulation_drops_its_tasks() {
    let kept = Arc::new(());
    {
        let simulation = Simulation::new(1);
        let (runtime, held) = (simulation.runtime(), kept.clone());
        simulation
            .runtime()
            .spawn(async move {
                let _held = held;
                runtime.sleep(SECOND).await;
            })
            .detach();
    }
    assert_eq!(Arc::strong_count(&kept), 1);
}
