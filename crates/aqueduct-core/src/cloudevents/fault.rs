use std::fmt;

use crate::{Error, ErrorKind};

/// Returns the error for input that breaks a rule of CloudEvents.
pub(super) fn invalid(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Invalid, format!("invalid CloudEvent: {what}"))
}

/// Returns the error for input that is not in the format at all.
pub(super) fn corrupt(what: impl fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("not a CloudEvent: {what}"))
}

/// Untrusted text in backticks, truncated and with its control characters escaped.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 40;
        f.write_str("`")?;
        for character in self.0.chars().take(LONGEST) {
            write!(f, "{}", character.escape_debug())?;
        }
        if self.0.chars().nth(LONGEST).is_some() {
            f.write_str("…")?;
        }
        f.write_str("`")
    }
}
