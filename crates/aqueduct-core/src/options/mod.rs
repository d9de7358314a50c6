mod reference;
#[cfg(test)]
mod tests;
mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

pub use self::reference::{OptionDoc, OptionRecorder, OptionTable};
pub use self::units::{parse_bytes, parse_duration, percent_decode};
use crate::{Error, Result, SmallStr};

/// The options of one resource: its table in the configuration and its URL's query, as one set.
///
/// A backend reads each option that it knows by a typed method, then calls
/// [`finish`](Self::finish): an option that was not read is an error that lists the valid names. Errors print
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
    place: SmallStr,
    values: BTreeMap<SmallStr, OptionValue>,
    known: Vec<&'static str>,
    url: Option<ShownUrl>,
    recorder: Option<OptionRecorder>,
    default_source: Option<SmallStr>,
}

/// The key of a URL in the configuration, and the URL as it may be printed.
#[derive(Clone)]
struct ShownUrl {
    key: SmallStr,
    shown: SmallStr,
}

#[derive(Clone)]
struct OptionValue {
    written: SmallStr,
    value: SmallStr,
    used: bool,
}

impl Options {
    /// Creates an empty set for `place` in the configuration, such as `streams.orders`.
    pub fn new(place: impl Into<SmallStr>) -> Self {
        Self {
            place: place.into(),
            values: BTreeMap::new(),
            known: Vec::new(),
            url: None,
            recorder: None,
            default_source: None,
        }
    }

    /// Sets the configuration key of the URL and its masked text, for
    /// [`refuse_url`](Self::refuse_url).
    #[must_use]
    pub fn with_url(mut self, key: impl Into<SmallStr>, shown: impl Into<SmallStr>) -> Self {
        self.url = Some(ShownUrl {
            key: key.into(),
            shown: shown.into(),
        });
        self
    }

    /// Sets the source that the client gives to events without one.
    pub fn set_default_source(&mut self, source: impl Into<SmallStr>) {
        self.default_source = Some(source.into());
    }

    /// Returns the source that the client gives to events without one, for a backend that stores events
    /// beside the producer.
    pub fn default_source(&self) -> Option<&SmallStr> {
        self.default_source.as_ref()
    }

    /// Adds an option.
    #[must_use]
    pub fn with(mut self, name: impl Into<SmallStr>, value: impl Into<SmallStr>) -> Self {
        let value = value.into();
        self.set(name, value.clone(), value);
        self
    }

    /// Sets an option whose text, as written, differs from its value after expansion.
    pub fn set(
        &mut self,
        name: impl Into<SmallStr>,
        value: impl Into<SmallStr>,
        written: impl Into<SmallStr>,
    ) {
        let option = OptionValue {
            written: written.into(),
            value: value.into(),
            used: false,
        };
        self.values.insert(name.into(), option);
    }

    /// Records the names of the options that are read, to compare them with the documentation.
    #[must_use]
    pub fn recorded(mut self, recorder: &OptionRecorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Adds the options of the URL's query. An option that is already set stays: the configuration
    /// reader has merged both already, and knows how each was written.
    pub fn join_query(&mut self, url: &Url) {
        for (name, value) in url.query_pairs() {
            if !self.contains(&name) {
                let value = SmallStr::from(&*value);
                self.set(&*name, value.clone(), value);
            }
        }
    }

    /// Returns their place in the configuration.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Returns whether the option was given, without marking it as read.
    pub fn contains(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    /// Reads an option as text.
    pub fn text(&mut self, name: &'static str) -> Result<Option<SmallStr>> {
        self.read(name, "text", |text| Some(SmallStr::from(text)))
    }

    /// Reads `true` or `false`.
    pub fn boolean(&mut self, name: &'static str) -> Result<Option<bool>> {
        self.read(name, "true or false", |text| text.parse().ok())
    }

    /// Reads a whole number within `range`.
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

    /// Reads a duration such as `200ms`, `30s`, `5m`, `12h` or `7d`.
    pub fn duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        self.read(
            name,
            "a duration such as 200ms, 30s, 5m, 12h or 7d",
            parse_duration,
        )
    }

    /// Reads a duration longer than zero.
    pub fn positive_duration(&mut self, name: &'static str) -> Result<Option<Duration>> {
        match self.duration(name)? {
            Some(Duration::ZERO) => Err(self.refuse(name, "expected a duration above 0")),
            duration => Ok(duration),
        }
    }

    /// Reads a duration within `range`.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aqueduct_core::Options;
    ///
    /// let range = Duration::from_secs(10)..=Duration::from_secs(600);
    /// let mut options = Options::new("streams.orders").with("ack_deadline", "5s");
    /// assert_eq!(
    ///     options.duration_within("ack_deadline", range).unwrap_err().to_string(),
    ///     "streams.orders.ack_deadline = \"5s\": expected a duration from 10s to 600s"
    /// );
    /// ```
    pub fn duration_within(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<Duration>,
    ) -> Result<Option<Duration>> {
        match self.duration(name)? {
            Some(duration) if !range.contains(&duration) => {
                let (least, most) = (range.start(), range.end());
                let why = format!("expected a duration from {least:?} to {most:?}");
                Err(self.refuse(name, why))
            }
            duration => Ok(duration),
        }
    }

    /// Reads a size in bytes such as `512`, `64KiB`, `10MiB` or `2GiB`.
    pub fn bytes(&mut self, name: &'static str) -> Result<Option<u64>> {
        self.read(
            name,
            "a size such as 512, 64KiB, 10MiB or 2GiB",
            parse_bytes,
        )
    }

    /// Reads one of `choices`.
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

    /// Returns the error for an option whose value was read but cannot be used.
    pub fn refuse(&self, name: &str, why: impl fmt::Display) -> Error {
        let written = self.values.get(name).map_or("", |option| &option.written);
        Error::config(format!("{}.{name} = \"{written}\": {why}", self.place))
    }

    /// Returns the error for a URL that cannot be used. It prints the text that the configuration has,
    /// with secrets masked: the parsed URL may hold them expanded, so no part of it belongs in `why`.
    ///
    /// ```
    /// use aqueduct_core::Options;
    ///
    /// let options = Options::new("streams.orders")
    ///     .with_url("streams.orders.url", "sqlite://user:${TOKEN}@host/x.db");
    /// assert_eq!(
    ///     options.refuse_url("a file has no host").to_string(),
    ///     "streams.orders.url = \"sqlite://user:${TOKEN}@host/x.db\": a file has no host"
    /// );
    /// ```
    pub fn refuse_url(&self, why: impl fmt::Display) -> Error {
        match &self.url {
            Some(ShownUrl { key, shown }) => Error::config(format!("{key} = \"{shown}\": {why}")),
            None => Error::config(format!("{}.url: {why}", self.place)),
        }
    }

    /// Checks that every option was read.
    ///
    /// # Errors
    /// `Config` if an option is left that was not read, listing the valid ones.
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
        if let Some(recorder) = &self.recorder {
            recorder.note(name);
        }
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
