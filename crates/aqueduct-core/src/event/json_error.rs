use std::fmt;

use serde_json::error::Category;

/// Displays a serde error without the parts that it quotes from the JSON: data does not belong in
/// errors.
pub(crate) fn describe_json_error(error: &serde_json::Error) -> String {
    struct Described<'a>(&'a serde_json::Error);

    impl fmt::Display for Described<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let said = self.0.to_string();
            let what = said.split(" at line ").next().unwrap_or_default();
            match self.0.classify() {
                // Syntax messages are fixed texts without data.
                Category::Io | Category::Syntax | Category::Eof => f.write_str(what)?,
                Category::Data => describe_data(what, f)?,
            }
            if self.0.line() > 0 {
                write!(f, " at line {} column {}", self.0.line(), self.0.column())?;
            }
            Ok(())
        }
    }

    Described(error).to_string()
}

/// Writes the parts that come from the expected type, and drops those that come from the data.
fn describe_data(what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for known in ["missing field `", "duplicate field `", "invalid length "] {
        if what.starts_with(known) {
            return f.write_str(what);
        }
    }
    for unexpected in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = what
            .strip_prefix(unexpected)
            .and_then(|rest| rest.rsplit_once(", expected "))
        {
            let found = found.split(' ').next().unwrap_or_default();
            return write!(f, "{unexpected}{found}, expected {expected}");
        }
    }
    for unknown in ["unknown variant", "unknown field"] {
        if what.starts_with(unknown) {
            return f.write_str(unknown);
        }
    }
    f.write_str("a value is not as expected")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;
    use serde::de::DeserializeOwned;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code)]
    struct Order {
        total: u32,
    }

    #[derive(Debug, Deserialize)]
    enum State {
        Open,
    }

    fn said<T: DeserializeOwned + fmt::Debug>(json: &str) -> String {
        describe_json_error(&serde_json::from_str::<T>(json).unwrap_err())
    }

    #[test]
    fn it_says_what_is_wrong_and_nothing_of_the_data() {
        assert_eq!(
            said::<Order>("{}"),
            "missing field `total` at line 1 column 2"
        );
        assert_eq!(
            said::<Order>(r#"{"total":"hunter2, expected x"}"#),
            "invalid type: string, expected u32 at line 1 column 30"
        );
        assert_eq!(
            said::<Order>(r#"{"total":-77}"#),
            "invalid value: integer, expected u32 at line 1 column 12"
        );
        assert_eq!(
            said::<Order>(r#"{"total":1,"hunter2":2}"#),
            "unknown field at line 1 column 20"
        );
        assert_eq!(
            said::<State>(r#""hunter2""#),
            "unknown variant at line 1 column 9"
        );
        assert!(said::<BTreeMap<u8, u8>>("{\"hunter2\":1}").starts_with("invalid"));
        assert_eq!(
            said::<Order>("{"),
            "EOF while parsing an object at line 1 column 1"
        );
    }
}
