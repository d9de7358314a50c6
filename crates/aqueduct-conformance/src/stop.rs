use std::fmt::Display;

use aqueduct_core::{Error, SettleError};

/// Why a case ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    Failed(String),
    NotClaimed(String),
    Lacking(String),
}

/// The result of a step of a case.
pub(crate) type Outcome<T = ()> = Result<T, Stop>;

impl Stop {
    pub(crate) fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(format!("{}: {error}", error.kind()))
    }
}

impl From<SettleError> for Stop {
    fn from(failed: SettleError) -> Self {
        let id = failed.delivery.event().id().clone();
        Self::Failed(format!("settling {id}: {}", failed.error))
    }
}

/// Adds the purpose of a step to its failure.
pub(crate) trait During<T> {
    fn during(self, what: impl Display) -> Outcome<T>;
}

impl<T, E: Into<Stop>> During<T> for Result<T, E> {
    fn during(self, what: impl Display) -> Outcome<T> {
        self.map_err(|error| match error.into() {
            Stop::Failed(why) => Stop::Failed(format!("{what}: {why}")),
            other => other,
        })
    }
}

/// Ends the case as failed unless the condition holds.
macro_rules! check {
    ($condition:expr, $($said:tt)+) => {
        if !$condition {
            return Err($crate::stop::Stop::failed(format!($($said)+)));
        }
    };
}

/// Ends the case as failed unless both are equal.
macro_rules! check_eq {
    ($left:expr, $right:expr, $($said:tt)+) => {
        match (&$left, &$right) {
            (left, right) => if left != right {
                let said = format!($($said)+);
                return Err($crate::stop::Stop::failed(format!("{said}: {left:?} is not {right:?}")));
            }
        }
    };
}

pub(crate) use {check, check_eq};
