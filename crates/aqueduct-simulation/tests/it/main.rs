//! Runs seeds, and lets the checker judge the history of each.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::BufWriter;

use aqueduct_simulation::run;

/// The default number of seeds; `AQUEDUCT_SEEDS` sets another, `AQUEDUCT_SEED` replays one.
const SEEDS: u64 = 300;

/// Returns a number of the environment; a value that is no number is refused.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    match text.parse() {
        Ok(number) => Some(number),
        Err(_) => panic!("{name}=`{text}` is not a number"),
    }
}

#[test]
fn the_whole_keeps_its_promises_for_every_seed() {
    let seeds = match number("AQUEDUCT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("AQUEDUCT_SEEDS").unwrap_or(SEEDS),
    };
    let (mut starts, mut dead_letters, mut kills, mut hours) = (0, 0, 0, 0.0);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let run = run(seed).unwrap();
        if let Ok(path) = std::env::var("AQUEDUCT_HISTORY") {
            let file = BufWriter::new(File::create(path).unwrap());
            run.history.write(file).unwrap();
        }
        if let Some(first) = run.verdict.findings.first() {
            println!(
                r#"{{"simulation":"whole","first_failed":{seed},"why":{:?}}}"#,
                first.to_string()
            );
            panic!("AQUEDUCT_SEED={seed}: {}", run.verdict);
        }
        starts += run.verdict.starts;
        dead_letters += run.verdict.dead_letters;
        kills += run.verdict.kills;
        hours += run.simulated.as_secs_f64() / 3_600.0;
    }
    println!(
        r#"{{"simulation":"whole","seeds":{count},"violations":0,"starts":{starts},"dead_letters":{dead_letters},"kills":{kills},"simulated_hours":{hours:.1}}}"#
    );
    if count >= 50 {
        assert!(starts > 0 && dead_letters > 0 && kills > 0);
    }
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..4 {
        let history = || run(seed).unwrap().history.records().to_vec();
        assert_eq!(history(), history(), "seed {seed}");
    }
}
