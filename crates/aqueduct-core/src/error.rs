use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The result of a call of this crate.
///
/// ```
/// fn parse(text: &str) -> aqueduct_core::Result<u16> {
///     let invalid = |_| aqueduct_core::Error::config(format!("`{text}` is not a port"));
///     text.parse().map_err(invalid)
/// }
/// assert!(parse("80").is_ok() && parse("eighty").is_err());
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error that says what happened, whether to retry, and whether the call may have taken effect.
///
/// One type for every backend and layer: [`kind`](Error::kind) says what happened,
/// [`retry`](Error::retry) what to do next, and [`effect`](Error::effect) whether the call may have
/// taken effect although it failed. A vendor's own error stays reachable through [`source`](StdError::source). Neither
/// `Display` nor `Debug` prints payloads or secrets; code that creates an error must keep to that.
///
/// ```
/// use aqueduct_core::{Effect, Error, ErrorKind, Retry};
///
/// let lost = Error::new(ErrorKind::TimedOut, "no response within 5s")
///     .with_effect(Effect::Unknown)
///     .context("stream orders");
/// assert_eq!(lost.to_string(), "stream orders: no response within 5s");
/// assert_eq!(lost.retry(), Retry::Now);
/// assert!(lost.is(ErrorKind::TimedOut) && lost.is_retryable());
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    retry: Retry,
    effect: Effect,
    message: Cow<'static, str>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The kind of an error.
///
/// ```
/// use aqueduct_core::{ErrorKind, Retry};
///
/// assert_eq!(ErrorKind::TooLarge.as_str(), "too_large");
/// assert_eq!(ErrorKind::Throttled.usual_retry(), Retry::Now);
/// assert_eq!(ErrorKind::Denied.usual_retry(), Retry::Never);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The configuration is invalid: the message names the key, the text as written and the choices.
    Config,
    /// An argument or event is invalid.
    Invalid,
    /// One event is larger than the backend accepts.
    TooLarge,
    /// A stream, table, file or dead letter does not exist.
    NotFound,
    /// It exists already.
    AlreadyExists,
    /// The credentials are missing, wrong, or lack a permission.
    Denied,
    /// The backend limits the rate.
    Throttled,
    /// The backend cannot be reached, or reported that it cannot serve now.
    Unavailable,
    /// No response in time.
    TimedOut,
    /// Not sent, since an earlier event of the same key is not stored.
    Blocked,
    /// An earlier event of the run was nacked or abandoned: this delivery comes again behind it.
    Superseded,
    /// The right to settle is gone: lease lost, handed off, expired.
    Revoked,
    /// The requested position is no longer kept.
    PositionExpired,
    /// Another writer changed it first.
    Conflict,
    /// The producer, consumer or client was closed.
    Closed,
    /// The backend, as opened, does not do that.
    Unsupported,
    /// Stored or received bytes are damaged or cannot be decoded.
    Corrupt,
    /// No room: disk or quota.
    Full,
    /// A handler failed, panicked or timed out.
    Handler,
    /// A fault of this library.
    Internal,
}

/// Whether a retry can help.
///
/// ```
/// use std::time::Duration;
/// use aqueduct_core::{Error, Retry};
///
/// fn wait(error: &Error) -> Option<Duration> {
///     match error.retry() {
///         Retry::Now => Some(Duration::from_millis(200)),
///         Retry::After(hint) => Some(hint),
///         Retry::Never | Retry::Exhausted => None,
///     }
/// }
/// assert_eq!(wait(&Error::config("no such option")), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Retry {
    /// The same call fails again.
    Never,
    /// It may succeed at once; the caller brings its own back-off.
    Now,
    /// Wait that long first: the server asked for it, or repeated failures require it.
    After(Duration),
    /// It was retried until the budget was used up. Do not retry again.
    Exhausted,
}

/// Whether a failed call may have taken effect.
///
/// ```
/// use aqueduct_core::{Effect, Error, ErrorKind};
///
/// let refused = Error::new(ErrorKind::Throttled, "over 1 MiB/s");
/// assert_eq!(refused.effect(), Effect::None); // sending again stores it once
/// let lost = Error::new(ErrorKind::TimedOut, "no response").with_effect(Effect::Unknown);
/// assert_eq!(lost.effect(), Effect::Unknown); // sending again may store it twice
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Nothing happened.
    None,
    /// It may have happened: the response was lost.
    Unknown,
}

impl Error {
    /// Creates an error with the kind's usual retry and without effect.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self(Arc::new(Inner {
            kind,
            retry: kind.usual_retry(),
            effect: Effect::None,
            message: message.into(),
            source: None,
        }))
    }

    /// Creates an error of kind [`Config`](ErrorKind::Config).
    pub fn config(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Config, message)
    }

    /// Creates an error of kind [`Unsupported`](ErrorKind::Unsupported).
    pub fn unsupported(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// Sets whether to retry.
    #[must_use]
    pub fn with_retry(self, retry: Retry) -> Self {
        self.edit(|inner| inner.retry = retry)
    }

    /// Sets whether the call may have taken effect.
    #[must_use]
    pub fn with_effect(self, effect: Effect) -> Self {
        self.edit(|inner| inner.effect = effect)
    }

    /// Sets the cause.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let source: Box<dyn StdError + Send + Sync> = source.into();
        self.edit(|inner| inner.source = Some(Arc::from(source)))
    }

    /// Prefixes the message: `orders: no such stream`.
    #[must_use]
    pub fn context(self, what: impl fmt::Display) -> Self {
        self.edit(|inner| inner.message = format!("{what}: {}", inner.message).into())
    }

    /// Returns the kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns whether a retry can help.
    pub fn retry(&self) -> Retry {
        self.0.retry
    }

    /// Returns whether the call may have taken effect.
    pub fn effect(&self) -> Effect {
        self.0.effect
    }

    /// Returns the message without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns whether a caller with a budget left should retry.
    pub fn is_retryable(&self) -> bool {
        matches!(self.0.retry, Retry::Now | Retry::After(_))
    }

    /// Returns whether the error is of `kind`.
    pub fn is(&self, kind: ErrorKind) -> bool {
        self.0.kind == kind
    }

    /// Replaces the message, for instance to take a secret out of it. Causes stay.
    #[must_use]
    pub fn with_message(self, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        self.edit(|inner| inner.message = message)
    }

    fn edit(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            retry: shared.retry,
            effect: shared.effect,
            message: shared.message.clone(),
            source: shared.source.clone(),
        });
        change(&mut inner);
        Self(Arc::new(inner))
    }
}

impl ErrorKind {
    /// Returns whether a retry usually helps with this kind.
    pub fn usual_retry(self) -> Retry {
        match self {
            Self::Throttled | Self::Unavailable | Self::TimedOut | Self::Conflict => Retry::Now,
            _ => Retry::Never,
        }
    }

    /// Returns the kind in snake case, as in metrics and dead letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Invalid => "invalid",
            Self::TooLarge => "too_large",
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::Denied => "denied",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Blocked => "blocked",
            Self::Superseded => "superseded",
            Self::Revoked => "revoked",
            Self::PositionExpired => "position_expired",
            Self::Conflict => "conflict",
            Self::Closed => "closed",
            Self::Unsupported => "unsupported",
            Self::Corrupt => "corrupt",
            Self::Full => "full",
            Self::Handler => "handler",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    /// Writes the message, the kind, and each cause on a line of its own, since a `main` that returns
    /// an error prints this. A cause that the text above it contains is left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} [{}", self.0.message, self.0.kind)?;
        if self.0.effect == Effect::Unknown {
            f.write_str(", effect unknown")?;
        }
        f.write_str("]")?;
        causes(self, |cause| write!(f, "\n  caused by: {cause}"))
    }
}

/// Returns an error and its causes in one line. A cause that the text before it contains is left out,
/// so that nothing is said twice.
///
/// ```
/// use aqueduct_core::{Error, ErrorKind, error_chain};
///
/// let refused = std::io::Error::other("connection refused");
/// let error = Error::new(ErrorKind::Unavailable, "stream orders").with_source(refused);
/// assert_eq!(error_chain(&error), "stream orders: connection refused");
/// ```
pub fn error_chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let written = causes(error, |cause| {
        text.push_str(": ");
        text.push_str(cause);
        Ok(())
    });
    debug_assert!(written.is_ok());
    text
}

/// Calls `write` with each cause of `error` that adds something to what was said before.
fn causes(
    error: &(dyn StdError + 'static),
    mut write: impl FnMut(&str) -> fmt::Result,
) -> fmt::Result {
    let mut said = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !said.iter().any(|known| known.contains(&text)) {
            write(&text)?;
            said.push(text);
        }
        cause = error.source();
    }
    Ok(())
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_ref()
            .map(|source| &**source as &(dyn StdError + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_reads_as_text_and_says_each_cause_once() {
        let refused = std::io::Error::other("connection \"refused\"");
        let inner =
            Error::new(ErrorKind::Unavailable, "connection \"refused\"").with_source(refused);
        let outer = Error::new(ErrorKind::TimedOut, "flush")
            .with_effect(Effect::Unknown)
            .with_source(inner)
            .context("stream orders");
        assert_eq!(
            format!("{outer:?}"),
            "stream orders: flush [timed_out, effect unknown]\n  caused by: connection \"refused\""
        );
        assert_eq!(
            error_chain(&outer),
            "stream orders: flush: connection \"refused\""
        );
    }

    #[test]
    fn an_error_is_one_word_and_editing_a_clone_leaves_the_original() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let plain = Error::new(ErrorKind::Throttled, "slow down");
        let hinted = plain
            .clone()
            .with_retry(Retry::After(Duration::from_secs(1)))
            .context("orders");
        assert_eq!(plain.retry(), Retry::Now);
        assert_eq!(hinted.retry(), Retry::After(Duration::from_secs(1)));
        assert_eq!(hinted.to_string(), "orders: slow down");
        assert_eq!(plain.to_string(), "slow down");
    }
}
