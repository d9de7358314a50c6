mod rfc3339;

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, ErrorKind};

/// A point in time in UTC, to the nanosecond, within the years 0 to 9999 that RFC 3339 can write.
///
/// ```
/// use aqueduct_core::Timestamp;
///
/// let time: Timestamp = "2026-01-31T13:00:00.25+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-01-31T12:00:00.25Z");
/// assert_eq!(Timestamp::from_millis(time.as_millis()), time);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp {
    /// Since the epoch, rounded down.
    seconds: i64,
    /// Past `seconds`.
    nanos: u32,
}

const NANOS: i64 = 1_000_000_000;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self {
        seconds: 0,
        nanos: 0,
    };

    /// 0000-01-01T00:00:00Z.
    pub const MIN: Self = Self {
        seconds: -62_167_219_200,
        nanos: 0,
    };

    /// 9999-12-31T23:59:59.999999999Z.
    pub const MAX: Self = Self {
        seconds: 253_402_300_799,
        nanos: 999_999_999,
    };

    /// Returns the time of the machine's wall clock. Code that must be deterministic asks its `Runtime`
    /// instead.
    #[allow(clippy::disallowed_methods)]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// Creates a time from milliseconds after the epoch, negative before it; saturates at
    /// [`MIN`](Self::MIN) and [`MAX`](Self::MAX).
    pub fn from_millis(millis: i64) -> Self {
        let nanos = millis.rem_euclid(1000) as u32 * 1_000_000;
        Self::saturating(millis.div_euclid(1000), nanos)
    }

    /// Creates a time from seconds after the epoch and nanoseconds after that; either may be negative.
    ///
    /// # Errors
    /// `Invalid` if the time is outside of the years 0 to 9999, or `nanos` is a second or more.
    pub fn from_parts(seconds: i64, nanos: i32) -> Result<Self, Error> {
        let nanos = i64::from(nanos);
        let time = seconds
            .checked_add(nanos.div_euclid(NANOS))
            .filter(|_| nanos.abs() < NANOS)
            .and_then(|seconds| Self::checked(seconds, nanos.rem_euclid(NANOS) as u32));
        time.ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "invalid timestamp: {seconds} s and {nanos} ns after 1970 (expected the years 0 to \
                     9999, and less than a second of nanoseconds)"
                ),
            )
        })
    }

    /// Returns milliseconds since the epoch, rounded towards it.
    pub fn as_millis(self) -> i64 {
        self.as_seconds() * 1000 + i64::from(self.subsec_nanos() / 1_000_000)
    }

    /// Returns whole seconds since the epoch, rounded towards it.
    pub fn as_seconds(self) -> i64 {
        self.seconds + i64::from(self.is_before_its_second())
    }

    /// Returns the nanoseconds past [`as_seconds`](Self::as_seconds), of the same sign.
    pub fn subsec_nanos(self) -> i32 {
        let nanos = self.nanos as i32;
        match self.is_before_its_second() {
            true => nanos - NANOS as i32,
            false => nanos,
        }
    }

    /// Returns the time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        if self <= earlier {
            return Duration::ZERO;
        }
        let nanos = i64::from(self.nanos) - i64::from(earlier.nanos);
        let seconds = self.seconds - earlier.seconds + nanos.div_euclid(NANOS);
        Duration::new(seconds.unsigned_abs(), nanos.rem_euclid(NANOS) as u32)
    }

    /// Returns this time plus `by`; saturates at [`MAX`](Self::MAX).
    pub fn saturating_add(self, by: Duration) -> Self {
        let nanos = self.nanos + by.subsec_nanos();
        let seconds = i64::try_from(by.as_secs())
            .ok()
            .and_then(|by| by.checked_add(i64::from(nanos >= NANOS as u32)))
            .and_then(|by| self.seconds.checked_add(by));
        match seconds {
            Some(seconds) => Self::saturating(seconds, nanos % NANOS as u32),
            None => Self::MAX,
        }
    }

    /// Returns this time minus `by`; saturates at [`MIN`](Self::MIN).
    pub fn saturating_sub(self, by: Duration) -> Self {
        let nanos = i64::from(self.nanos) - i64::from(by.subsec_nanos());
        let seconds = i64::try_from(by.as_secs())
            .ok()
            .and_then(|by| (self.seconds + nanos.div_euclid(NANOS)).checked_sub(by));
        match seconds {
            Some(seconds) => Self::saturating(seconds, nanos.rem_euclid(NANOS) as u32),
            None => Self::MIN,
        }
    }

    fn checked(seconds: i64, nanos: u32) -> Option<Self> {
        let time = Self { seconds, nanos };
        (Self::MIN..=Self::MAX).contains(&time).then_some(time)
    }

    fn saturating(seconds: i64, nanos: u32) -> Self {
        Self { seconds, nanos }.clamp(Self::MIN, Self::MAX)
    }

    /// Whether rounding towards the epoch goes up.
    fn is_before_its_second(self) -> bool {
        self.seconds < 0 && self.nanos > 0
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        match time.duration_since(UNIX_EPOCH) {
            Ok(after) => Self::EPOCH.saturating_add(after),
            Err(before) => Self::EPOCH.saturating_sub(before.duration()),
        }
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Parses RFC 3339 with any offset. Digits beyond the nanosecond are dropped.
    fn from_str(text: &str) -> Result<Self, Error> {
        rfc3339::parse(text).ok_or_else(|| {
            Error::new(
                ErrorKind::Invalid,
                format!(
                    "invalid RFC 3339 timestamp `{text}` (expected, for example, 2026-01-31T12:00:00Z)"
                ),
            )
        })
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC, with as many decimals as the time has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(rfc3339::format(*self, &mut [0; 30]))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A point on a runtime's monotonic clock, which counts suspension: a machine that slept a minute
/// is a minute further.
///
/// Only instants of one runtime compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// Creates the instant `elapsed` after the clock's origin.
    pub const fn after_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// Returns the time since the clock's origin.
    pub const fn elapsed_since_origin(self) -> Duration {
        self.0
    }

    /// Returns the time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(by))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_and_rounds_towards_the_epoch() {
        let nano = Duration::from_nanos(1);
        let before = Timestamp::EPOCH.saturating_sub(nano);
        assert_eq!((before.as_seconds(), before.subsec_nanos()), (0, -1));
        assert_eq!(before.as_millis(), 0);
        assert_eq!(before.saturating_add(nano), Timestamp::EPOCH);
        assert_eq!(Timestamp::EPOCH.since(before), nano);
        assert_eq!(before.since(Timestamp::EPOCH), Duration::ZERO);
        let half = Timestamp::from_millis(-1500);
        assert_eq!((half.as_seconds(), half.subsec_nanos()), (-1, -500_000_000));
        assert_eq!(
            (half.as_millis(), half),
            (-1500, Timestamp::from_parts(-1, -500_000_000).unwrap())
        );
        assert_eq!(Timestamp::from_parts(-2, 500_000_000).unwrap(), half);
        assert_eq!(
            half.since(Timestamp::from_millis(-2750)),
            Duration::from_millis(1250)
        );
        for most in [Duration::MAX, Duration::from_secs(i64::MAX as u64)] {
            assert_eq!(before.saturating_add(most), Timestamp::MAX);
            assert_eq!(half.saturating_sub(most), Timestamp::MIN);
        }
        assert_eq!(Timestamp::from_millis(i64::MIN), Timestamp::MIN);
        assert_eq!(Timestamp::from_millis(i64::MAX), Timestamp::MAX);
        for (seconds, nanos) in [
            (i64::MAX, 1),
            (i64::MIN, -1),
            (0, i32::MAX),
            (253_402_300_800, 0),
        ] {
            assert!(Timestamp::from_parts(seconds, nanos).is_err());
        }
    }

    #[test]
    fn rfc_3339_goes_both_ways() {
        let offset: Timestamp = "1990-12-31T15:59:50-08:00".parse().unwrap();
        assert_eq!(offset.to_string(), "1990-12-31T23:59:50Z");
        assert_eq!(
            "0001-01-01T00:00:00Z"
                .parse::<Timestamp>()
                .unwrap()
                .to_string(),
            "0001-01-01T00:00:00Z"
        );
        assert!(
            "yesterday"
                .parse::<Timestamp>()
                .unwrap_err()
                .to_string()
                .contains("yesterday")
        );
    }
}
