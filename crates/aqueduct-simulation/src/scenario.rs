use std::time::Duration;

use aqueduct_core::random::SplitMix64;

/// The setup that one seed simulates.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) partitions: usize,
    pub(crate) processes: usize,
    pub(crate) keys: usize,
    /// Events of each key.
    pub(crate) each: usize,
    pub(crate) concurrency: usize,
    pub(crate) attempts: u32,
    /// Events whose handlers kill their process: up to two at once.
    pub(crate) poison: usize,
    /// In thousandths.
    pub(crate) failing: usize,
    pub(crate) kills: usize,
    pub(crate) stalls: usize,
    pub(crate) deploys: usize,
    /// Whether the stores fail, lose responses and answer late.
    pub(crate) troubled: bool,
    /// Whether ids are sent twice, which the group has to see once.
    pub(crate) twice: bool,
    /// How long faults are injected.
    pub(crate) trouble: Duration,
}

impl Scenario {
    pub(crate) fn draw(seed: u64) -> Self {
        let mut rng = SplitMix64::new(seed ^ 0x5eed);
        let mut up_to = |most: usize| rng.below(most + 1);
        // A third of the seeds has handlers that fail and nothing else.
        let calm = up_to(2) == 0;
        let mut fault = |most: usize| if calm { 0 } else { up_to(most) };
        let (poison, kills, stalls) = (fault(2), fault(3), fault(2));
        let troubled = fault(2) > 0;
        let failing = up_to(200);
        Self {
            partitions: 1 + up_to(3),
            processes: 1 + up_to(2),
            keys: 1 + up_to(5),
            each: 3 + up_to(7),
            concurrency: 1 + up_to(7),
            attempts: 2 + up_to(2) as u32,
            poison,
            failing,
            kills,
            stalls,
            deploys: up_to(2),
            troubled,
            twice: up_to(1) == 1,
            trouble: Duration::from_secs(180),
        }
    }

    /// Whether no process dies or stands still, and no store fails: each effect happens once then.
    pub(crate) fn is_calm(&self) -> bool {
        self.poison + self.kills + self.stalls == 0 && !self.troubled
    }
}
