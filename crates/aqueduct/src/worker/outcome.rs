use std::error::Error as StdError;
use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Settlement, SmallStr};
use aqueduct_layers::DeadLetters;

/// What a handler makes of an event.
///
/// As the error type of a handler's `Result` it lets `?` decide: implement `From<YourError>` for it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// It is done.
    Ack,
    /// This attempt failed: again after `after`, or after the group's back-off.
    Retry {
        /// How long to wait first.
        after: Option<Duration>,
        /// What went wrong, for the dead letter.
        error: Option<Error>,
    },
    /// It never can be handled: to the dead letters.
    Reject {
        /// Why, for the dead letter.
        reason: SmallStr,
    },
}

impl Outcome {
    /// It is done.
    pub const fn ack() -> Self {
        Self::Ack
    }

    /// This attempt failed: again after the group's back-off.
    pub const fn retry() -> Self {
        Self::Retry {
            after: None,
            error: None,
        }
    }

    /// This attempt failed: again after that long.
    pub const fn retry_after(after: Duration) -> Self {
        Self::Retry {
            after: Some(after),
            error: None,
        }
    }

    /// It never can be handled: to the dead letters, with `reason`.
    pub fn reject(reason: impl Into<SmallStr>) -> Self {
        Self::Reject {
            reason: reason.into(),
        }
    }

    /// Whether it is done.
    pub fn is_ack(&self) -> bool {
        matches!(self, Self::Ack)
    }

    /// The outcome in one lower case word, as metrics carry it.
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

/// What a handler may return: `()`, [`Outcome`], or a `Result` of either.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "returned by a handler",
    note = "a handler returns `()`, `Outcome`, `Result<(), E>` or `Result<Outcome, E>`",
    note = "where `E` is an error of the standard library's kind, `Permanent<_>` or `Outcome`"
)]
pub trait IntoOutcome {
    /// The outcome that it stands for.
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

/// What a handler may fail with, and whether another attempt can help.
///
/// Every error is transient unless something says otherwise, since a wrong retry costs time and a
/// wrong rejection costs the event. [`Permanent`] says otherwise for one error, an [`Outcome`] made
/// of your error by `From` for a whole type. An [`Error`] of kind `Corrupt` is permanent: the data
/// will not decode the next time either.
#[diagnostic::on_unimplemented(
    message = "a handler cannot fail with `{Self}`",
    label = "the error of a handler",
    note = "implement `std::error::Error` for it, with `Send + Sync + 'static`: a transient error",
    note = "or return `Result<_, Permanent<_>>`, or `Result<_, Outcome>` with `From<{Self}> for Outcome`"
)]
pub trait HandlerError {
    /// The outcome of failing with it.
    fn into_outcome(self) -> Outcome;
}

impl<E> HandlerError for E
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn into_outcome(self) -> Outcome {
        let boxed: Box<dyn StdError + Send + Sync> = self.into();
        let error = match boxed.downcast::<Error>() {
            Ok(error) if error.is(ErrorKind::Corrupt) => return undecodable(&error),
            Ok(error) => *error,
            Err(other) => Error::new(ErrorKind::Handler, chain(&*other)).with_source(other),
        };
        Outcome::Retry {
            after: None,
            error: Some(error),
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
/// ```
/// use aqueduct::{Outcome, Permanent, worker::HandlerError};
///
/// let outcome = Permanent("the card is expired").into_outcome();
/// assert!(matches!(outcome, Outcome::Reject { reason } if reason == "the card is expired"));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permanent<E>(pub E);

impl<E> HandlerError for Permanent<E>
where
    E: Into<Box<dyn StdError + Send + Sync>>,
{
    fn into_outcome(self) -> Outcome {
        let boxed: Box<dyn StdError + Send + Sync> = self.0.into();
        Outcome::reject(chain(&*boxed))
    }
}

impl<E> From<E> for Permanent<E> {
    fn from(error: E) -> Self {
        Self(error)
    }
}

/// The rejection of an event whose data does not decode.
pub(crate) fn undecodable(error: &Error) -> Outcome {
    Outcome::reject(format!("{}: {}", DeadLetters::UNDECODABLE, chain(error)))
}

/// An error and its causes in one line, for dead letters.
pub(crate) fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
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
        let permanent =
            || -> Result<(), Permanent<std::io::Error>> { Err(std::io::Error::other("gone"))? };
        assert_eq!(permanent().into_outcome().as_str(), "reject");
    }
}
