use std::time::Duration;

use aqueduct_history::Recorder;

use super::scenario::Scenario;
use super::world::World;
use crate::{GroupOptions, request_cost};

/// Writes of each partition for each change of the members: it moves once, or runs through its suspects.
const PER_CHANGE: u64 = 8;

/// Writes for each call that failed or came late.
const PER_FAULT: u64 = 2;

/// An hour of 20 partitions and 5 members, without faults, at some number of events.
fn hour(events: usize) -> (f64, f64) {
    let mut scenario = Scenario::draw(1);
    scenario.partitions = 20;
    scenario.members = 5;
    scenario.events = events;
    scenario.keys = 5_000;
    scenario.concurrency = 500;
    for faults in [
        &mut scenario.poison,
        &mut scenario.reshards,
        &mut scenario.nacks,
        &mut scenario.lost_responses,
        &mut scenario.refused_calls,
        &mut scenario.slow_calls,
        &mut scenario.crashes,
        &mut scenario.stalls,
        &mut scenario.joins,
        &mut scenario.outages,
        &mut scenario.cuts,
        &mut scenario.late_responses,
        &mut scenario.storm,
    ] {
        *faults = 0;
    }
    scenario.trouble = Duration::from_secs(3_600);
    let mut world = World::new(1, scenario, false);
    world.history = std::mem::replace(&mut world.history, Recorder::new(None)).silent();
    world.run().unwrap();
    (world.store.writes as f64, world.store.lists as f64)
}

impl World {
    /// Returns the most writes that the stated cost and the faults of the scenario explain: per hour, per
    /// process that comes, goes, dies, stands still or is cut off, and per call that failed or came late.
    pub(super) fn most_writes(&self) -> u64 {
        let options = GroupOptions::new("simulated".into());
        let partitions = self.log.partitions.len() as u64;
        let stated = request_cost(&options, self.log.partitions.len(), 1);
        let hours = self.now.elapsed_since_origin().as_secs_f64() / 3_600.0;
        let seen = &self.seen;
        let changes = self.processes.len() as u64
            + seen.leaves
            + seen.stalls
            + seen.cuts
            + seen.outages
            + seen.crashes
            + seen.storms
            + seen.kills;
        let each = PER_CHANGE * partitions;
        (stated.busy_writes * hours) as u64
            + changes * each
            + PER_FAULT * seen.troubled
            + self.ids.flushes * partitions
    }
}

#[test]
fn an_hour_costs_what_is_stated_and_no_more_with_more_events() {
    let options = GroupOptions::new("simulated".into());
    let stated = request_cost(&options, 20, 5);
    let (idle, lists) = hour(0);
    assert!((idle / stated.idle_writes - 1.0).abs() < 0.05, "{idle}");
    assert!((lists / stated.listings - 1.0).abs() < 0.05, "{lists}");
    let (busy, _) = hour(20_000);
    let (busier, _) = hour(60_000);
    assert!(
        busy > idle && busier < stated.busy_writes * 1.02,
        "{busier}"
    );
    assert!(
        busier < busy * 1.1,
        "{busy} with 20,000 events, {busier} with 60,000"
    );
}
