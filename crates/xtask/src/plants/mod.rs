//! Faults planted on purpose: each is applied to a copy of the tree, and seeds run until one is red.

mod plant;
mod tree;

use std::io::Write as _;
use std::time::{Duration, Instant};

use clap::Args;
use serde_json::json;

use self::plant::Plant;
use self::tree::{Outcome, Tree};
use crate::command::root;

/// The flags of `plants`.
#[derive(Args)]
pub(crate) struct Options {
    /// Runs only plants whose names contain one of these.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The most seeds for each plant.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// The most seconds for each plant; one that hangs is found.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Fails if a plant no longer applies, does not compile, or survives without an explanation.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let root = root();
    let plants = plant::all(&root.join("simulation/plants"))?;
    let named = |plant: &Plant| {
        options.only.is_empty()
            || options
                .only
                .iter()
                .any(|it| plant.name.contains(it.as_str()))
    };
    let plants: Vec<_> = plants.into_iter().filter(named).collect();
    if plants.is_empty() {
        return Err(format!("no plant is named like {:?}", options.only));
    }
    let tree = Tree::copy(&root)?;
    // Before anything is built: a plant that rots unseen proves nothing.
    for plant in &plants {
        tree.applies(plant)?;
    }
    let limit = Duration::from_secs(options.seconds);
    let mut results = Vec::new();
    for plant in &plants {
        let begun = Instant::now();
        let outcome = tree.run(plant, options.seeds, limit)?;
        let seconds = begun.elapsed().as_secs();
        let shown = match (&outcome, &plant.survives) {
            (Outcome::Survived, Some(_)) => "survives, as explained".to_owned(),
            (outcome, Some(_)) => format!("{outcome}; its `survives:` is wrong"),
            (outcome, _) => outcome.to_string(),
        };
        println!("{:<58} {seconds:>4} s  {shown}", plant.name);
        std::io::stdout().flush().ok();
        results.push((plant, outcome));
    }
    let survived = |it: &&(&Plant, Outcome)| it.1 == Outcome::Survived;
    let survivors: Vec<_> = results.iter().filter(survived).map(|it| it.0).collect();
    let (found, all) = (results.len() - survivors.len(), results.len());
    let stale = |it: &&(&Plant, Outcome)| it.1 != Outcome::Survived && it.0.survives.is_some();
    let stale: Vec<_> = results.iter().filter(stale).map(|it| it.0).collect();
    let unexplained: Vec<_> = survivors
        .iter()
        .filter(|it| it.survives.is_none())
        .collect();
    let names = |plants: &[&Plant]| plants.iter().map(|it| it.name.clone()).collect::<Vec<_>>();
    let unexplained = names(&unexplained.into_iter().copied().collect::<Vec<_>>());
    let line = json!({
        "plants": all,
        "found": found,
        "found_percent": found * 1_000 / all / 10,
        "seeds_at_most": options.seeds,
        "survivors": names(&survivors),
        "unexplained": unexplained,
        "wrongly_explained": names(&stale),
    });
    println!("{line}");
    if !stale.is_empty() {
        let names = names(&stale).join(", ");
        return Err(format!("found, although they are said to survive: {names}"));
    }
    match unexplained.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "survive without an explanation: {}",
            unexplained.join(", ")
        )),
    }
}
