use std::time::Duration;

use super::scenario::Scenario;
use super::world::World;
use crate::{GroupOptions, request_cost};

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
    ] {
        *faults = 0;
    }
    scenario.trouble = Duration::from_secs(3_600);
    let mut world = World::new(1, scenario, false);
    world.run().unwrap();
    (world.store.writes as f64, world.store.lists as f64)
}

impl World {
    /// Checks that writes stay within the stated cost, with or without faults: per hour, and per
    /// take-over without release. A move, a flush and a lost or refused write cost a few each.
    pub(super) fn costs_what_is_stated(&self) -> Result<(), String> {
        let options = GroupOptions::new("simulated".into());
        let stated = request_cost(&options, self.log.partitions.len(), 1);
        let hours = self.now.elapsed_since_origin().as_secs_f64() / 3_600.0;
        let seen = &self.check.seen;
        let flushes = self.ids.flushes * self.log.partitions.len() as u64;
        let faults = 4 * (seen.moves + seen.conflicts + seen.doubts) + flushes;
        let crashes = u64::from(stated.crash_writes) * seen.unclean;
        let most = stated.busy_writes * hours + (faults + crashes) as f64;
        if self.store.writes as f64 > most {
            let writes = self.store.writes;
            return Err(format!("{writes} lease writes, at most {most} are stated"));
        }
        Ok(())
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
