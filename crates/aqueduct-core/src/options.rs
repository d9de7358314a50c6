use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::{Error, Result, Text};

/// The options of one resource: its table in the configuration and its URL's query, as one set.
///
/// A backend reads each option that it knows by a typed method, then calls
/// [`finish`](Self::finish): what nobody read is an error that lists the valid names. Errors print
/// each value as it was written, before references to the environment were expanded.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::Options;
///
/// let mut options = Options::new("streams.orders").with("retention", "7d");
/// assert_eq!(options.duration("retention")?, Some(Duration::from_secs(7 * 86_400)));
/// assert_eq!(options.number::<u32>("partitions", 1..=1024)?, None);
/// options.finish()?;
/// # Ok::<(), aqueduct_core::Error>(())
/// ```
#[derive(Clone)]
pub struct Options {
    place: Text,
    values: BTreeMap<Text, OptionValue>,
    known: Vec<&'static str>,
}

#[derive(Clone)]
struct OptionValue {
    written: Text,
    value: Text,
    used: bool,
}

impl Options {
    /// No options, for what stands at `place` in the configuration, such as `streams.orders`.
    pub fn new(place: impl Into<Text>) -> Self {
        Self {
            place: place.into(),
            values: BTreeMap::new(),
            known: Vec::new(),
        }
    }

    /// The same and one more.
    #[must_use]
    pub fn with(mut self, name: impl Into<Text>, value: impl Into<Text>) -> Self {
        let value = value.into();
        self.set(name, value.clone(), value);
        self
    }

    /// Sets an option whose text, as written, differs from its value after expansion.
    pub fn set(&mut self, name: impl Into<Text>, value: impl Into<Text>, written: impl Into<Text>) {
        let option = OptionValue {
            written: written.into(),
            value: value.into(),
            used: false,
        };
        self.values.insert(name.into(), option);
    }

    /// Where in the configuration they stand.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Whether an option of that name was given, without reading it.
    pub fn contains(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Any text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<Text>> {
        self.read(name, "text", |text| Some(Text::from(text)))
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.read(name, "true or false", |text| text.parse().ok())
    }

    /// A whole number within `range`.
    pub fn number<T>(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>>
    where
        T: FromStr + PartialOrd + fmt::Display,
    {
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.read(name, &expected, |text| {
            text.parse().ok().filter(|n| range.contains(n))
        })
    }

    /// A duration such as `200ms`, `30s`, `5m`, `12h` or `7d`.
    pub fn duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.read(
            name,
            "a duration such as 200ms, 30s, 5m, 12h or 7d",
            parse_duration,
        )
    }

    /// A size in bytes such as `512`, `64KiB`, `10MiB` or `2GiB`.
    pub fn bytes(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.read(
            name,
            "a size such as 512, 64KiB, 10MiB or 2GiB",
            parse_bytes,
        )
    }

    /// One of `choices`.
    pub fn choice(
        &mut self,
        name: &'static str,
        choices: &[&'static str],
    ) -> Result<Option<&'static str>> {
        let expected = format!("one of {}", choices.join(", "));
        self.read(name, &expected, |text| {
            choices.iter().copied().find(|choice| *choice == text)
        })
    }

    /// The error for an option whose value was read but cannot be used.
    pub fn refuse(&self, name: &str, why: impl fmt::Display) -> Error {
        let written = self.values.get(name).map_or("", |option| &option.written);
        Error::config(format!("{}.{name} = \"{written}\": {why}", self.place))
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// `Config` where an option is left that nobody knows, listing those that are valid.
    pub fn finish(self) -> Result<()> {
        match self.values.iter().find(|(_, option)| !option.used) {
            None => Ok(()),
            Some((name, _)) => {
                let mut valid = self.known.clone();
                valid.sort_unstable();
                valid.dedup();
                let valid = if valid.is_empty() {
                    "none".into()
                } else {
                    valid.join(", ")
                };
                Err(Error::config(format!(
                    "{}.{name}: no such option; valid: {valid}",
                    self.place
                )))
            }
        }
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        self.known.push(name);
        let Some(option) = self.values.get_mut(name) else {
            return Ok(None);
        };
        option.used = true;
        match parse(&option.value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.refuse(name, format_args!("expected {expected}"))),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("place", &self.place)
            .field("names", &self.values.keys())
            .finish_non_exhaustive()
    }
}

/// Reads a duration such as `200ms`, `30s`, `5m`, `12h` or `7d`: a whole number and one unit.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(millis).map(Duration::from_millis)
}

/// Reads a size such as `512`, `64KiB`, `10MiB` or `2GiB`.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    number.checked_mul(factor)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let at = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_key_the_text_as_written_and_the_choices() {
        let mut options = Options::new("streams.orders").with("sync", "sometimes");
        options.set("retention", "hunter2", "${RETENTION}");
        let error = options.choice("sync", &["full", "normal"]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "streams.orders.sync = \"sometimes\": expected one of full, normal"
        );
        let error = options.duration("retention").unwrap_err().to_string();
        assert!(
            error.contains("${RETENTION}") && !error.contains("hunter2"),
            "{error}"
        );
        let error = options
            .clone()
            .with("colour", "red")
            .finish()
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "streams.orders.colour: no such option; valid: retention, sync"
        );
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn units_are_exact() {
        assert_eq!(parse_duration("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(parse_bytes("10MiB"), Some(10 << 20));
        for wrong in ["", "ms", "5", "5 weeks", "-1s", "99999999999999999999s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
    }
}
