use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::hash::hash_key;
use crate::{Error, Event, Result, SmallStr};

/// Chooses one of several targets for each event.
///
/// Only [`by_key`](Self::by_key) keeps the order of a key; the others spread its events over the
/// targets.
///
/// ```
/// use aqueduct_core::{Balance, Event, Load};
///
/// let balance = Balance::weighted([("large", 3), ("small", 1)])?;
/// let event = Event::new("thumbnail.requested");
/// let large = (0..1000).filter(|_| balance.choose(&event, |_| Load::default()) == "large");
/// assert_eq!(large.count(), 750);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
pub struct Balance {
    /// Never empty.
    targets: Vec<SmallStr>,
    strategy: Strategy,
    /// How many events were spread so far.
    turn: AtomicU64,
}

/// How busy a target is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// The events being sent to it now.
    pub in_flight: usize,
    /// Whether it failed recently, so that others are preferred.
    pub failing: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Strategy {
    RoundRobin,
    /// For each target the sum of the weights up to it.
    Weighted(Vec<u64>),
    LeastInFlight,
    Key,
}

impl Balance {
    /// Takes the targets in turn.
    ///
    /// # Errors
    /// `Config` if there is no target, or one is named twice.
    pub fn round_robin(targets: impl IntoIterator<Item = impl Into<SmallStr>>) -> Result<Self> {
        Self::new(targets, Strategy::RoundRobin)
    }

    /// Takes each target as often as its weight says, evenly spread: of any 1,000 events in a row, each
    /// gets its share but for a few.
    ///
    /// # Errors
    /// `Config` if there is no target, one is named twice, or a weight is zero.
    pub fn weighted(targets: impl IntoIterator<Item = (impl Into<SmallStr>, u32)>) -> Result<Self> {
        let (mut names, mut sums, mut sum) = (Vec::new(), Vec::new(), 0u64);
        for (name, weight) in targets {
            let name = name.into();
            if weight == 0 {
                return Err(Error::config(format!(
                    "the weight of `{name}` is 0, expected at least 1; a target that takes no events \
                     is left out"
                )));
            }
            sum += u64::from(weight);
            names.push(name);
            sums.push(sum);
        }
        Self::new(names, Strategy::Weighted(sums))
    }

    /// Takes the target with the fewest events in flight; among equals, in turn. Targets that failed
    /// recently come last.
    ///
    /// # Errors
    /// `Config` if there is no target, or one is named twice.
    pub fn least_in_flight(targets: impl IntoIterator<Item = impl Into<SmallStr>>) -> Result<Self> {
        Self::new(targets, Strategy::LeastInFlight)
    }

    /// Takes the same target for all events of a key, in every process with the same list, so that the
    /// key keeps its order. Events without a key go where the fewest are in flight.
    ///
    /// # Errors
    /// `Config` if there is no target, or one is named twice.
    pub fn by_key(targets: impl IntoIterator<Item = impl Into<SmallStr>>) -> Result<Self> {
        Self::new(targets, Strategy::Key)
    }

    fn new(
        targets: impl IntoIterator<Item = impl Into<SmallStr>>,
        strategy: Strategy,
    ) -> Result<Self> {
        let targets: Vec<SmallStr> = targets.into_iter().map(Into::into).collect();
        if targets.is_empty() {
            return Err(Error::config("there are no targets to choose from"));
        }
        if let Some((at, name)) =
            (targets.iter().enumerate()).find(|(at, name)| targets[..*at].contains(name))
        {
            return Err(Error::config(format!(
                "target {} is `{name}` a second time: a target is named once{}",
                at + 1,
                match strategy {
                    Strategy::Weighted(_) => ", with the sum of its weights",
                    _ => "",
                }
            )));
        }
        Ok(Self {
            targets,
            strategy,
            turn: AtomicU64::new(0),
        })
    }

    /// Returns all targets.
    pub fn targets(&self) -> &[SmallStr] {
        &self.targets
    }

    /// Chooses the target of `event`; `load` tells how busy a target is.
    pub fn choose(&self, event: &Event, load: impl Fn(&SmallStr) -> Load) -> &SmallStr {
        let at = match (&self.strategy, event.key()) {
            (Strategy::RoundRobin, _) => self.next_turn() % self.count(),
            (Strategy::Weighted(sums), _) => self.next_weighted(sums),
            (Strategy::Key, Some(key)) => of_key(key, self.count()),
            (Strategy::Key, None) | (Strategy::LeastInFlight, _) => {
                least_in_flight(&self.targets, self.next_turn(), load)
            }
        };
        &self.targets[usize::try_from(at).unwrap_or_default()]
    }

    /// Spreads by the golden ratio: each run of events has every target close to its share, without a
    /// lock.
    fn next_weighted(&self, sums: &[u64]) -> u64 {
        let total = u128::from(*sums.last().unwrap_or(&1));
        let fraction = self.next_turn().wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let point = (u128::from(fraction) * total) >> 64;
        sums.partition_point(|sum| u128::from(*sum) <= point) as u64
    }

    fn next_turn(&self) -> u64 {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    fn count(&self) -> u64 {
        self.targets.len() as u64
    }
}

/// Chooses one of `names` as [`Balance::by_key`] does; the first of equals for events without a key.
pub(super) fn of_names<'a>(
    event: &Event,
    names: &'a [SmallStr],
    load: impl Fn(&SmallStr) -> Load,
) -> Option<&'a SmallStr> {
    let at = match event.key() {
        _ if names.is_empty() => return None,
        Some(key) => of_key(key, names.len() as u64),
        None => least_in_flight(names, 0, load),
    };
    names.get(usize::try_from(at).ok()?)
}

fn of_key(key: &str, count: u64) -> u64 {
    // The remainder is below `count`.
    (hash_key(key) % u128::from(count)) as u64
}

/// Begins at `turn`, so that equals take turns.
fn least_in_flight(names: &[SmallStr], turn: u64, load: impl Fn(&SmallStr) -> Load) -> u64 {
    let count = names.len() as u64;
    let from = |at: u64| (turn % count + at) % count;
    let busy = |at: &u64| {
        let name = usize::try_from(*at).ok().and_then(|at| names.get(at));
        let load = name.map_or_else(Load::default, &load);
        (load.failing, load.in_flight)
    };
    (0..count).map(from).min_by_key(busy).unwrap_or_default()
}

impl Clone for Balance {
    fn clone(&self) -> Self {
        Self {
            targets: self.targets.clone(),
            strategy: self.strategy.clone(),
            turn: AtomicU64::new(self.turn.load(Ordering::Relaxed)),
        }
    }
}

impl PartialEq for Balance {
    fn eq(&self, other: &Self) -> bool {
        self.targets == other.targets && self.strategy == other.strategy
    }
}

impl Eq for Balance {}

impl fmt::Debug for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Balance")
            .field("targets", &self.targets)
            .field("strategy", &self.strategy)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn names(count: usize) -> Vec<SmallStr> {
        (0..count).map(|n| format!("t{n}").into()).collect()
    }

    fn counts(balance: &Balance, events: usize) -> BTreeMap<SmallStr, usize> {
        let mut counts = BTreeMap::new();
        for _ in 0..events {
            let chosen = balance.choose(&Event::new("x"), |_| Load::default());
            *counts.entry(chosen.clone()).or_default() += 1;
        }
        counts
    }

    #[test]
    fn in_turn_each_target_gets_as_many() {
        let balance = Balance::round_robin(names(3)).unwrap();
        assert!(counts(&balance, 300).values().all(|count| *count == 100));
    }

    #[test]
    fn bad_lists_are_refused_by_name() {
        let none = Balance::by_key(names(0)).unwrap_err();
        assert!(none.to_string().contains("no targets"), "{none}");
        let twice = Balance::round_robin(["a", "b", "a"]).unwrap_err();
        assert!(twice.to_string().contains("`a` a second time"), "{twice}");
        let zero = Balance::weighted([("a", 1), ("b", 0)]).unwrap_err();
        assert!(zero.to_string().contains("weight of `b` is 0"), "{zero}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn weights_hold_within_a_hundredth(weights in prop::collection::vec(1u32..1000, 1..8)) {
            const EVENTS: usize = 100_000;
            let named = names(weights.len()).into_iter().zip(weights.iter().copied());
            let counts = counts(&Balance::weighted(named).unwrap(), EVENTS);
            let total: u32 = weights.iter().sum();
            for (name, weight) in names(weights.len()).iter().zip(&weights) {
                let count = counts.get(name).copied().unwrap_or_default() as f64;
                let share = f64::from(*weight) / f64::from(total) * EVENTS as f64;
                prop_assert!((count - share).abs() <= EVENTS as f64 / 100.0, "{name}: {count} of {share}");
            }
        }
    }

    proptest! {
        #[test]
        fn the_least_busy_healthy_target_is_chosen(
            loads in prop::collection::vec((0usize..5, any::<bool>()), 1..8),
            turns in 0usize..10,
        ) {
            let targets = names(loads.len());
            let balance = Balance::least_in_flight(targets.clone()).unwrap();
            let load = |name: &SmallStr| {
                let at = targets.iter().position(|it| it == name).unwrap();
                Load { in_flight: loads[at].0, failing: loads[at].1 }
            };
            counts(&balance, turns);
            let chosen = load(balance.choose(&Event::new("x").with_key("k"), load));
            let healthy = loads.iter().any(|(_, failing)| !failing);
            prop_assert_eq!(chosen.failing, !healthy);
            for (in_flight, failing) in &loads {
                prop_assert!(*failing != chosen.failing || chosen.in_flight <= *in_flight);
            }
        }

        #[test]
        fn a_key_has_one_target_however_busy_it_is(
            key in ".{0,8}", count in 1usize..9, busy in prop::collection::vec(0usize..9, 9),
        ) {
            let targets = names(count);
            let balance = Balance::by_key(targets.clone()).unwrap();
            let event = Event::new("x").with_key(key.as_str());
            let first = balance.choose(&event, |_| Load::default()).clone();
            let load = |name: &SmallStr| {
                let at = targets.iter().position(|it| it == name).unwrap();
                Load { in_flight: busy[at], failing: busy[at] % 2 == 1 }
            };
            prop_assert_eq!(balance.choose(&event, load), &first);
            let by_names = of_names(&event, &targets, load);
            prop_assert_eq!(by_names, Some(&first));
        }
    }
}
