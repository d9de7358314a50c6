use std::time::Duration;

use crate::member::{Rng, Timings};

/// The setup that one seed simulates.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub(super) partitions: usize,
    pub(super) members: usize,
    pub(super) keys: usize,
    pub(super) events: usize,
    pub(super) poison: usize,
    pub(super) reshards: usize,
    /// Events that a member handles at once.
    pub(super) concurrency: usize,
    /// Attempts after which an event becomes a dead letter.
    pub(super) attempts: u32,
    /// In thousandths.
    pub(super) nacks: usize,
    pub(super) lost_responses: usize,
    pub(super) refused_calls: usize,
    pub(super) slow_calls: usize,
    /// Responses that come late, to writes that came in time.
    pub(super) late_responses: usize,
    pub(super) crashes: usize,
    /// Kills of all processes in quick succession.
    pub(super) storm: usize,
    pub(super) stalls: usize,
    pub(super) joins: usize,
    pub(super) outages: usize,
    pub(super) cuts: usize,
    /// Whether the store knows which members are dead.
    pub(super) knows_dead: bool,
    /// How long faults are injected.
    pub(super) trouble: Duration,
    pub(super) timings: Timings,
}

impl Scenario {
    pub(super) fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed ^ 0x5eed);
        let mut up_to = |most: usize| rng.below(most + 1);
        let calm = up_to(9) == 0;
        let mut fault = |most: usize| if calm { 0 } else { up_to(most) };
        let lost_responses = fault(60);
        let refused_calls = fault(60);
        let slow_calls = fault(60);
        let crashes = fault(4);
        let stalls = fault(3);
        let joins = fault(4);
        let outages = fault(2);
        let poison = fault(2);
        let storm = fault(24).saturating_sub(12);
        let late_responses = fault(60);
        let cuts = fault(2);
        // A storm then counts against an event exactly what it ran through.
        let responses = usize::from(storm == 0);
        Self {
            partitions: 1 + up_to(5),
            members: 1 + up_to(3),
            keys: 1 + up_to(11),
            events: 20 + up_to(100),
            poison,
            reshards: up_to(2),
            concurrency: 1 + up_to(5),
            attempts: if storm > 0 { 5 } else { 3 },
            nacks: up_to(150),
            lost_responses: lost_responses * responses,
            refused_calls: refused_calls * responses,
            slow_calls: slow_calls * responses,
            late_responses: late_responses * responses,
            crashes,
            storm,
            stalls,
            joins,
            outages,
            cuts,
            knows_dead: up_to(1) == 0,
            trouble: Duration::from_secs(240),
            timings: timings(),
        }
    }
}

pub(super) fn timings() -> Timings {
    Timings::new(&crate::GroupOptions::new("simulated".into()))
}
