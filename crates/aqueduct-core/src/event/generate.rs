use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::Uuid;

use crate::random::SplitMix64;

/// The largest backward step of the clock that is waited out, so that ids keep rising.
const STEP_BACK: u64 = 10_000;

/// The id generator of one thread.
#[derive(Clone, Copy)]
struct Generator {
    /// Draws the random steps; seeded from system entropy.
    random: SplitMix64,
    millis: u64,
    /// The 74 bits after the time: drawn anew each millisecond, then rising by random steps.
    tail: u128,
}

/// Generates a UUIDv7 by RFC 9562's "monotonic random" method. Entropy is drawn from the system once
/// per millisecond, which is many times cheaper than once per id. Ids of one thread rise.
pub(super) fn uuid_v7() -> Uuid {
    thread_local! {
        static GENERATOR: Cell<Generator> = const {
            Cell::new(Generator { random: SplitMix64::new(0), millis: 0, tail: 0 })
        };
    }
    let mut generator = GENERATOR.get();
    let uuid = generator.next(wall_millis());
    GENERATOR.set(generator);
    uuid
}

impl Generator {
    fn next(&mut self, now: u64) -> Uuid {
        let is_same = now <= self.millis && self.millis - now < STEP_BACK;
        if is_same {
            self.tail += 1 + u128::from(self.random.next_u64() >> 32);
        } else {
            self.millis = now;
            self.reseed();
        }
        // From the left: 48 bits of time, the version, 12 bits, the variant, 62 bits.
        let high = self.millis << 16 | 0x7000 | (self.tail >> 62) as u64 & 0x0fff;
        let low = 0b10 << 62 | self.tail as u64 & (u64::MAX >> 2);
        Uuid::from_u64_pair(high, low)
    }

    /// Draws a new tail with its highest bit clear, which leaves room for 2^41 steps.
    fn reseed(&mut self) {
        let drawn = Uuid::now_v7().as_u128();
        let mut mixed = SplitMix64::new(self.random.next_u64() ^ (drawn >> 64) as u64);
        self.random = SplitMix64::new(mixed.next_u64() ^ drawn as u64);
        let high = u128::from(self.random.next_u64());
        let low = u128::from(self.random.next_u64());
        self.tail = (high << 64 | low) & (u128::MAX >> (128 - 73));
    }
}

/// Ids do not depend on a simulation's seed: those that must repeat are derived from their cause.
#[allow(clippy::disallowed_methods)]
fn wall_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use uuid::{Variant, Version};

    use super::*;

    #[test]
    fn ids_are_of_version_7_and_tell_their_time() {
        let before = wall_millis();
        let uuid = uuid_v7();
        assert_eq!(uuid.get_version(), Some(Version::SortRand));
        assert_eq!(uuid.get_variant(), Variant::RFC4122);
        let millis = (uuid.as_u128() >> 80) as u64;
        assert!((before..=wall_millis()).contains(&millis));
    }

    #[test]
    fn ids_of_a_thread_rise_and_those_of_all_threads_differ() {
        let make = || (0..50_000).map(|_| uuid_v7()).collect::<Vec<_>>();
        let threads = std::thread::scope(|scope| {
            [(); 4]
                .map(|()| scope.spawn(make))
                .map(|thread| thread.join())
        });
        let mut all = BTreeSet::new();
        for ids in threads {
            let ids = ids.unwrap();
            assert!(ids.is_sorted_by(|a, b| a < b));
            all.extend(ids);
        }
        assert_eq!(all.len(), 200_000);
    }

    #[test]
    fn a_clock_that_steps_back_a_little_makes_no_id_smaller() {
        let mut generator = Generator {
            random: SplitMix64::new(0),
            millis: 0,
            tail: 0,
        };
        let first = generator.next(1_000_000);
        let second = generator.next(1_000_000);
        let third = generator.next(999_000);
        assert!(first < second && second < third);
        let after_a_leap = generator.next(500_000);
        assert!(after_a_leap < first);
        let mut fresh = BTreeSet::new();
        fresh.extend((0..1000).map(|n| generator.next(600_000 + n).as_u128() as u64));
        assert_eq!(fresh.len(), 1000, "each millisecond draws anew");
    }
}
