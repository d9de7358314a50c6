use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use url::Url;

use crate::{Error, Result, SmallStr};

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
    place: SmallStr,
    values: BTreeMap<SmallStr, OptionValue>,
    known: Vec<&'static str>,
    url: Option<ShownUrl>,
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
    /// No options, for what stands at `place` in the configuration, such as `streams.orders`.
    pub fn new(place: impl Into<SmallStr>) -> Self {
        Self {
            place: place.into(),
            values: BTreeMap::new(),
            known: Vec::new(),
            url: None,
        }
    }

    /// Sets the key that the URL stands under and its masked text, for
    /// [`refuse_url`](Self::refuse_url).
    #[must_use]
    pub fn with_url(mut self, key: impl Into<SmallStr>, shown: impl Into<SmallStr>) -> Self {
        self.url = Some(ShownUrl {
            key: key.into(),
            shown: shown.into(),
        });
        self
    }

    /// The same and one more.
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

    /// Takes over those of the URL's query. One that is set already stays: whoever read the
    /// configuration has joined the two, and knows how each was written.
    pub fn join_query(&mut self, url: &Url) {
        for (name, value) in url.query_pairs() {
            if !self.contains(&name) {
                let value = SmallStr::from(&*value);
                self.set(&*name, value.clone(), value);
            }
        }
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
    pub fn text(&mut self, name: &'static str) -> Result<Option<SmallStr>> {
        self.read(name, "text", |text| Some(SmallStr::from(text)))
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

/// Reads a part of a URL: each `%` and two hexadecimal digits are a byte. `None` where the digits
/// are missing, and where the bytes are no UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
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
    use proptest::prelude::*;

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
    fn a_query_joins_what_is_set_and_leaves_it() {
        let url = Url::parse("sqlite:orders.db?sync=full&retention=7%64").unwrap();
        let mut options = Options::new("streams.orders").with("sync", "normal");
        options.join_query(&url);
        assert_eq!(options.text("sync").unwrap().as_deref(), Some("normal"));
        assert_eq!(options.text("retention").unwrap().as_deref(), Some("7d"));
        options.finish().unwrap();
    }

    #[test]
    fn parts_of_urls_are_decoded_or_refused() {
        assert_eq!(percent_decode("a%20%C3%A9%2f").as_deref(), Some("a é/"));
        for wrong in ["%", "%4", "%zz", "%ff"] {
            assert_eq!(percent_decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn units_are_exact() {
        assert_eq!(parse_duration("200ms"), Some(Duration::from_millis(200)));
        assert_eq!(parse_bytes("10MiB"), Some(10 << 20));
        for wrong in ["", "ms", "5", "5 weeks", "-1s", "99999999999999999999s"] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        for wrong in [
            "",
            "B",
            "KiB",
            "1KB",
            "1 kib",
            "-1",
            "1.5MiB",
            "99999999999TiB",
        ] {
            assert_eq!(parse_bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn each_reader_refuses_what_it_does_not_take_and_says_what_it_does() {
        let mut options = Options::new("streams.orders").with("it", "maybe");
        assert!(options.contains("it") && !options.contains("other"));
        let errors = [
            options.boolean("it").unwrap_err(),
            options.number("it", 1..=9u8).unwrap_err(),
            options.duration("it").unwrap_err(),
            options.bytes("it").unwrap_err(),
            options.choice("it", &["yes", "no"]).unwrap_err(),
        ];
        for (error, expected) in errors.iter().zip([
            "true or false",
            "a whole number from 1 to 9",
            "a duration such as",
            "a size such as",
            "one of yes, no",
        ]) {
            assert_eq!(error.kind(), crate::ErrorKind::Config);
            let said = error.to_string();
            assert!(
                said.starts_with("streams.orders.it = \"maybe\": expected "),
                "{said}"
            );
            assert!(said.contains(expected), "{said}");
        }
        assert_eq!(options.text("it").unwrap().as_deref(), Some("maybe"));
        assert!(
            Options::new("x")
                .with("n", "10")
                .number("n", 1..=9u8)
                .is_err()
        );
        assert!(
            Options::new("x")
                .with("n", "-1")
                .number("n", 0..=9u8)
                .is_err()
        );
        assert!(Options::new("x").finish().is_ok());
        let unread = Options::new("x").with("n", "1").finish().unwrap_err();
        assert_eq!(unread.to_string(), "x.n: no such option; valid: none");
    }

    proptest! {
        #[test]
        fn durations_come_back(
            number in 0..1_000_000u64,
            (unit, millis) in prop::sample::select(vec![
                ("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000),
            ]),
        ) {
            let expected = Some(Duration::from_millis(number * millis));
            prop_assert_eq!(parse_duration(&format!("{number}{unit}")), expected);
            prop_assert_eq!(parse_duration(&format!("{number} {unit}")), expected);
        }

        #[test]
        fn sizes_come_back(
            number in 0..1_000_000u64,
            (unit, shift) in prop::sample::select(vec![
                ("", 0), ("B", 0), ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40),
            ]),
        ) {
            prop_assert_eq!(parse_bytes(&format!("{number}{unit}")), Some(number << shift));
        }

        #[test]
        fn any_text_is_answered(text: String, digits in "[0-9]{0,25} ?[a-zA-Z]{0,4}") {
            for text in [text, digits] {
                parse_duration(&text);
                parse_bytes(&text);
                let mut options = Options::new("x").with("n", text.clone());
                prop_assert_eq!(options.number::<u64>("n", 0..=u64::MAX).ok(),
                    text.parse().ok().map(Some));
            }
        }
    }
}
