use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Settlement, SmallStr, error_chain};
use aqueduct_layers::DeadLetters;

/// The outcome of handling an event.
///
/// As the error type of a handler's `Result` it lets `?` decide: implement `From<YourError>` for
/// it.
///
/// ```
/// use std::time::Duration;
/// use aqueduct::Outcome;
///
/// async fn charge(total: u32) -> Outcome {
///     match total {
///         0 => Outcome::reject("an order without a total"),
///         1..=1000 => Outcome::ack(),
///         _ => Outcome::retry_after(Duration::from_secs(30)), // until a person has looked at it
///     }
/// }
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// The event is handled.
    Ack,
    /// The attempt failed: the event is handled again.
    Retry {
        /// The wait before the next attempt; `None` for the group's back-off.
        after: Option<Duration>,
        /// The error, for the log and the dead letter.
        error: Option<Error>,
    },
    /// The event can never be handled: it becomes a dead letter.
    Reject {
        /// The reason, for the dead letter.
        reason: SmallStr,
    },
}

impl Outcome {
    /// The event is handled.
    pub const fn ack() -> Self {
        Self::Ack
    }

    /// The attempt failed: the event is handled again after the group's back-off.
    pub const fn retry() -> Self {
        Self::Retry {
            after: None,
            error: None,
        }
    }

    /// The attempt failed: the event is handled again after `after`.
    pub const fn retry_after(after: Duration) -> Self {
        Self::Retry {
            after: Some(after),
            error: None,
        }
    }

    /// Adds the error that made the attempt fail, for the log and the dead letter. Only a retry has
    /// one; other outcomes are returned as they are.
    ///
    /// ```
    /// use std::time::Duration;
    /// use aqueduct::Outcome;
    ///
    /// let busy = std::io::Error::other("the gateway is busy");
    /// let outcome = Outcome::retry_after(Duration::from_secs(5)).with_error(busy);
    /// assert!(matches!(outcome, Outcome::Retry { error: Some(_), .. }));
    /// ```
    #[must_use]
    pub fn with_error(self, error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        let Self::Retry { after, .. } = self else {
            return self;
        };
        let error = match transient(error.into()) {
            Ok(Self::Retry { error, .. }) => error,
            Err(error) => Some(error),
            Ok(_) => None,
        };
        Self::Retry { after, error }
    }

    /// The event can never be handled: it becomes a dead letter with `reason`.
    pub fn reject(reason: impl Into<SmallStr>) -> Self {
        Self::Reject {
            reason: reason.into(),
        }
    }

    /// Returns whether the event is handled.
    pub fn is_ack(&self) -> bool {
        matches!(self, Self::Ack)
    }

    /// Returns the outcome as one lower case word, as in metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Retry { .. } => "retry",
            Self::Reject { .. } => "reject",
        }
    }

    pub(crate) fn failed(message: String) -> Self {
        Self::Retry {
            after: None,
            error: Some(Error::new(ErrorKind::Handler, message)),
        }
    }

    pub(crate) fn into_settlement(self) -> Settlement {
        match self {
            Self::Ack => Settlement::Ack,
            Self::Retry { after, error } => Settlement::Nack {
                delay: after,
                error,
            },
            Self::Reject { reason } => Settlement::Reject { reason },
        }
    }
}

/// The return type of a handler: `()`, [`Outcome`], or a `Result` of either.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "returned by a handler",
    note = "a handler returns `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`",
    note = "where `E` implements `std::error::Error`, or is a `String`, `&str`, `Permanent` or `Outcome`"
)]
pub trait IntoOutcome {
    /// Converts it to the outcome.
    fn into_outcome(self) -> Outcome;
}

impl IntoOutcome for () {
    fn into_outcome(self) -> Outcome {
        Outcome::Ack
    }
}

impl IntoOutcome for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

impl<T: IntoOutcome, E: HandlerError> IntoOutcome for Result<T, E> {
    fn into_outcome(self) -> Outcome {
        match self {
            Ok(done) => done.into_outcome(),
            Err(error) => error.into_outcome(),
        }
    }
}

/// The error type of a handler: decides whether another attempt can help.
///
/// Every error is transient by default, since a wrong retry costs time and a wrong rejection costs
/// the event. Wrap one error in [`Permanent`], or implement `From` for [`Outcome`] to decide for a
/// whole type. An [`Error`] of kind `Corrupt` is permanent: the data will not decode the next time
/// either.
#[diagnostic::on_unimplemented(
    message = "a handler cannot fail with `{Self}`",
    label = "the error of a handler",
    note = "implement `std::error::Error` for it, with `Send + Sync + 'static`: a transient error",
    note = "or return `Result<_, Permanent>`, or `Result<_, Outcome>` with `From<{Self}> for Outcome`"
)]
pub trait HandlerError {
    /// Returns the outcome of failing with it.
    fn into_outcome(self) -> Outcome;
}

impl<E> HandlerError for E
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn into_outcome(self) -> Outcome {
        let boxed: Box<dyn StdError + Send + Sync> = self.into();
        match permanent_reason(&*boxed) {
            Some(reason) => Outcome::reject(reason),
            None => transient(boxed).unwrap_or_else(|corrupt| undecodable(&corrupt)),
        }
    }
}

impl HandlerError for Outcome {
    fn into_outcome(self) -> Outcome {
        self
    }
}

/// An error that no further attempt can help: the event is rejected.
///
/// It works in a `Result` of its own type and inside any other error, at any depth of its causes.
///
/// ```
/// use aqueduct::{Outcome, Permanent, worker::HandlerError};
///
/// let outcome = Permanent::new("the card is expired").into_outcome();
/// assert!(matches!(outcome, Outcome::Reject { reason } if reason == "the card is expired"));
///
/// async fn charge(cents: i64) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
///     if cents < 0 {
///         return Err(Permanent::new("negative amount").into()); // rejected
///     }
///     std::fs::write("charged", cents.to_string())?; // retried
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Permanent(Cause);

/// The error inside a [`Permanent`], found by its type if another error wraps it.
#[derive(Debug)]
struct Cause(Box<dyn StdError + Send + Sync>);

impl Permanent {
    /// Makes `error` permanent.
    pub fn new(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Cause(error.into()))
    }
}

impl fmt::Display for Permanent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("permanent error")
    }
}

impl StdError for Permanent {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for Cause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

/// Returns the reason of the rejection if `error` is, or was caused by, a [`Permanent`].
fn permanent_reason(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut said: Vec<String> = Vec::new();
    let mut is_permanent = false;
    let mut next = Some(error);
    while let Some(error) = next {
        next = error.source();
        if next.is_some_and(|cause| cause.is::<Cause>()) {
            is_permanent = true;
            continue;
        }
        let text = error.to_string();
        if !said.iter().any(|known| known.contains(&text)) {
            said.push(text);
        }
    }
    is_permanent.then(|| said.join(": "))
}

/// Returns the retry for `error`, or the error itself if it says that the data is corrupt.
fn transient(error: Box<dyn StdError + Send + Sync>) -> Result<Outcome, Error> {
    let error = match error.downcast::<Error>() {
        Ok(error) if error.is(ErrorKind::Corrupt) => return Err(*error),
        Ok(error) => *error,
        Err(other) => Error::new(ErrorKind::Handler, error_chain(&*other)).with_source(other),
    };
    Ok(Outcome::Retry {
        after: None,
        error: Some(error),
    })
}

/// Returns the rejection of an event whose data does not decode.
pub(crate) fn undecodable(error: &Error) -> Outcome {
    Outcome::reject(format!(
        "{}: {}",
        DeadLetters::UNDECODABLE,
        error_chain(error)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    enum Charge {
        Busy,
        Expired,
    }

    impl From<Charge> for Outcome {
        fn from(error: Charge) -> Self {
            match error {
                Charge::Busy => Self::retry_after(Duration::from_secs(1)),
                Charge::Expired => Self::reject("expired"),
            }
        }
    }

    #[test]
    fn errors_are_transient_unless_something_says_otherwise() {
        let io: Result<(), _> = Err(std::io::Error::other("no route"));
        let outcome = io.into_outcome();
        let Outcome::Retry {
            after: None,
            error: Some(error),
        } = outcome
        else {
            panic!("{outcome:?}")
        };
        assert_eq!(
            (error.kind(), error.message()),
            (ErrorKind::Handler, "no route")
        );

        let text: Result<(), _> = Err("no");
        assert_eq!(text.into_outcome().as_str(), "retry");
        let corrupt: Result<(), _> = Err(Error::new(ErrorKind::Corrupt, "not JSON"));
        assert_eq!(corrupt.into_outcome().as_str(), "reject");
        let throttled: Result<(), _> = Err(Error::new(ErrorKind::Throttled, "slow down"));
        assert_eq!(throttled.into_outcome().as_str(), "retry");
    }

    #[test]
    fn an_error_type_decides_by_its_conversion() {
        let fail = |error: Charge| -> Result<(), Outcome> { Err(error)? };
        assert!(matches!(
            fail(Charge::Busy).into_outcome(),
            Outcome::Retry { after: Some(after), .. } if after == Duration::from_secs(1)
        ));
        assert_eq!(fail(Charge::Expired).into_outcome().as_str(), "reject");
        let permanent = || Err::<(), _>(Permanent::new(std::io::Error::other("gone")));
        assert_eq!(permanent().into_outcome().as_str(), "reject");
    }

    /// As the error types of applications wrap others: their own text, and a cause.
    #[derive(Debug)]
    struct Wrapped(Box<dyn StdError + Send + Sync>);

    impl fmt::Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("charging order 7")
        }
    }

    impl StdError for Wrapped {
        fn source(&self) -> Option<&(dyn StdError + 'static)> {
            Some(&*self.0)
        }
    }

    #[test]
    fn a_permanent_error_is_found_inside_of_any_other() {
        let reason = |outcome| match outcome {
            Outcome::Reject { reason } => reason.to_string(),
            other => panic!("{other:?}"),
        };
        let gone = || Permanent::new(std::io::Error::other("the card is gone"));
        let boxed: Box<dyn StdError + Send + Sync> = gone().into();
        assert_eq!(reason(boxed.into_outcome()), "the card is gone");
        let wrapped = Wrapped(gone().into());
        assert_eq!(
            reason(wrapped.into_outcome()),
            "charging order 7: the card is gone"
        );
        let ours = Error::new(ErrorKind::Handler, "in the transaction").with_source(gone());
        assert_eq!(
            reason(ours.into_outcome()),
            "in the transaction: the card is gone"
        );
    }

    #[test]
    fn a_retry_keeps_the_text_of_its_error() {
        let busy = Wrapped("the gateway is busy".into());
        let outcome = Outcome::retry_after(Duration::from_secs(1)).with_error(busy);
        let Outcome::Retry { after, error } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(after, Some(Duration::from_secs(1)));
        assert_eq!(
            error.unwrap().message(),
            "charging order 7: the gateway is busy"
        );
        assert!(Outcome::ack().with_error("unused").is_ack());
    }
}
