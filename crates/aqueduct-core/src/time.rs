use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{Error, ErrorKind};

/// A point on the wall clock, in UTC, to the nanosecond.
///
/// Covers the years -9999 to 9999, a superset of what RFC 3339 text can say (0 to 9999).
///
/// ```
/// use aqueduct_core::Timestamp;
///
/// let time: Timestamp = "2026-01-31T13:00:00.25+01:00".parse()?;
/// assert_eq!(time.to_string(), "2026-01-31T12:00:00.25Z");
/// assert_eq!(Timestamp::from_millis(time.as_millis()), time);
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// The machine's wall clock, now. Code that must be deterministic asks its `Runtime` instead.
    #[allow(clippy::disallowed_methods)]
    pub fn now() -> Self {
        SystemTime::now().into()
    }

    /// The time that many milliseconds after the epoch (before it, where negative); saturates at
    /// the end of the range.
    pub fn from_millis(millis: i64) -> Self {
        Self(
            jiff::Timestamp::from_millisecond(millis).unwrap_or(if millis < 0 {
                jiff::Timestamp::MIN
            } else {
                jiff::Timestamp::MAX
            }),
        )
    }

    /// The time that many whole seconds and nanoseconds after the epoch.
    pub fn from_parts(seconds: i64, nanos: i32) -> Result<Self, Error> {
        jiff::Timestamp::new(seconds, nanos)
            .map(Self)
            .map_err(|e| Error::new(ErrorKind::Invalid, format!("timestamp: {e}")))
    }

    /// Milliseconds since the epoch, rounded towards it.
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// Whole seconds since the epoch, rounded towards it.
    pub fn as_seconds(self) -> i64 {
        self.0.as_second()
    }

    /// Nanoseconds past `as_seconds`, of the same sign.
    pub fn subsec_nanos(self) -> i32 {
        self.0.subsec_nanosecond()
    }

    /// How long after `earlier` this is, zero where it is not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::try_from(self.0.duration_since(earlier.0)).unwrap_or(Duration::ZERO)
    }

    /// This time and that much more; saturates at the end of the range.
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.checked_add(by).unwrap_or(jiff::Timestamp::MAX))
    }

    /// This time less that much; saturates at the start of the range.
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.checked_sub(by).unwrap_or(jiff::Timestamp::MIN))
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

    /// Reads RFC 3339 with any offset, to the nanosecond.
    fn from_str(text: &str) -> Result<Self, Error> {
        text.parse().map(Self).map_err(|_| {
            Error::new(
                ErrorKind::Invalid,
                format!("`{text}` is no RFC 3339 time such as 2026-01-31T12:00:00Z"),
            )
        })
    }
}

impl fmt::Display for Timestamp {
    /// Writes RFC 3339 in UTC, with as many decimals as there are; a year before 0 is written in
    /// six digits with its sign, which reads back here and is no RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A point on a runtime's monotonic clock, which counts suspension: a machine that slept a minute
/// is a minute further.
///
/// Only moments of one runtime compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Instant(Duration);

impl Instant {
    /// The moment that long after the clock's origin.
    pub const fn after_origin(elapsed: Duration) -> Self {
        Self(elapsed)
    }

    /// How long after the clock's origin this is.
    pub const fn elapsed_since_origin(self) -> Duration {
        self.0
    }

    /// How long after `earlier` this is, zero where it is not.
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
