use std::collections::BTreeMap;

use aqueduct_core::random::SplitMix64;

use crate::scenario::Scenario;

/// The behaviour of the handler of an event, drawn once, so that it does the same in every life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Well,
    /// Fails that often, then succeeds.
    Fails(u32),
    /// Fails at every attempt.
    Sick,
    Refused,
    /// Hangs for longer than the time-out, once.
    Hangs,
    /// Panics, once.
    Panics,
    /// Kills its process, whenever it runs.
    Kills,
}

/// The fates of all events, by id.
pub(crate) struct Fates(BTreeMap<String, Fate>);

impl Fates {
    pub(crate) fn draw(seed: u64, scenario: &Scenario) -> Self {
        let mut rng = SplitMix64::new(seed ^ 0xfa7e);
        let mut fates = BTreeMap::new();
        for key in 0..scenario.keys {
            for n in 0..scenario.each {
                let fate = match rng.below(1000) < scenario.failing {
                    false => Fate::Well,
                    true => match rng.below(7) {
                        0 => Fate::Sick,
                        1 => Fate::Refused,
                        2 => Fate::Hangs,
                        3 => Fate::Panics,
                        more => Fate::Fails(1 + (more as u32) % 2),
                    },
                };
                fates.insert(format!("{key}-{n}"), fate);
            }
        }
        for poison in 0..scenario.poison {
            let id = format!("{}-{}", poison % scenario.keys, scenario.each / 2);
            fates.insert(id, Fate::Kills);
        }
        Self(fates)
    }

    pub(crate) fn of(&self, id: &str) -> Fate {
        self.0.get(id).copied().unwrap_or(Fate::Well)
    }
}
