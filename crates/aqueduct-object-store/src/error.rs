use std::error::Error as StdError;
use std::fmt;

use aqueduct_core::{Effect, Error, ErrorKind, Retry};
use object_store::client::{HttpError, HttpErrorKind};

use crate::transport::Overloaded;

/// An operation on an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Get,
    Head,
    List,
    Put,
    Delete,
}

impl Operation {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Head => "head",
            Self::List => "list",
            Self::Put => "put",
            Self::Delete => "delete",
        }
    }

    fn writes(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// Returns the error of a failed operation on `what`, an object or a folder.
pub(crate) fn failed(
    operation: Operation,
    what: impl fmt::Display,
    error: object_store::Error,
) -> Error {
    let (kind, reached, why) = classify(&error);
    let retry = match find::<Overloaded>(&error).and_then(|it| it.retry_after) {
        Some(wait) => Retry::After(wait),
        None => kind.usual_retry(),
    };
    let effect = match operation.writes() && reached {
        true => Effect::Unknown,
        false => Effect::None,
    };
    let message = format!("{} {what}: {why}", operation.as_str());
    Error::new(kind, message)
        .with_retry(retry)
        .with_effect(effect)
        .with_source(error)
}

/// Whether the error says that the container or bucket itself is missing.
pub(crate) fn is_missing_container(error: &object_store::Error) -> bool {
    let said = error.to_string();
    ["ContainerNotFound", "NoSuchBucket", "ContainerBeingDeleted"]
        .iter()
        .any(|code| said.contains(code))
}

/// Returns the kind, whether the request may have been carried out all the same, and the reason.
fn classify(error: &object_store::Error) -> (ErrorKind, bool, String) {
    use object_store::Error as E;

    let plain = |kind, why: &str| (kind, false, why.to_owned());
    match error {
        _ if is_missing_container(error) => plain(
            ErrorKind::NotFound,
            "the container or bucket does not exist: create it, or correct its name",
        ),
        E::NotFound { .. } => plain(ErrorKind::NotFound, "it does not exist"),
        E::AlreadyExists { .. } => plain(ErrorKind::Conflict, "it exists already"),
        E::Precondition { .. } | E::NotModified { .. } => {
            plain(ErrorKind::Conflict, "another writer changed it first")
        }
        E::PermissionDenied { .. } => plain(
            ErrorKind::Denied,
            "the credentials lack a permission: reading, writing, deleting and listing are needed",
        ),
        E::Unauthenticated { .. } => plain(
            ErrorKind::Denied,
            "the credentials are missing, wrong or expired",
        ),
        E::NotImplemented { .. } | E::NotSupported { .. } => {
            plain(ErrorKind::Unsupported, "the store does not offer it")
        }
        E::InvalidPath { .. } => plain(ErrorKind::Invalid, "the name is invalid"),
        E::UnknownConfigurationKey { .. } => plain(ErrorKind::Config, "unknown setting"),
        other => on_the_way(other),
    }
}

fn on_the_way(error: &object_store::Error) -> (ErrorKind, bool, String) {
    if let Some(overloaded) = find::<Overloaded>(error) {
        let kind = match overloaded.status {
            429 => ErrorKind::Throttled,
            _ => ErrorKind::Unavailable,
        };
        let why = format!("the service is overloaded or failing ({overloaded})");
        // 429 is decided before anything is done; a failing server may have written.
        return (kind, overloaded.status != 429, why);
    }
    match find::<HttpError>(error).map(HttpError::kind) {
        Some(HttpErrorKind::Connect) => (
            ErrorKind::Unavailable,
            false,
            "the service cannot be reached".to_owned(),
        ),
        Some(HttpErrorKind::Timeout) => {
            (ErrorKind::TimedOut, true, "no response in time".to_owned())
        }
        Some(_) => (
            ErrorKind::Unavailable,
            true,
            "the connection failed".to_owned(),
        ),
        // The client shows other statuses only as text.
        None if error.to_string().contains("status code: 4") => (
            ErrorKind::Invalid,
            false,
            "the service refused the request".to_owned(),
        ),
        None => (ErrorKind::Unavailable, true, "it failed".to_owned()),
    }
}

/// Returns the cause of that type.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn generic(source: impl StdError + Send + Sync + 'static) -> object_store::Error {
        object_store::Error::Generic {
            store: "test",
            source: Box::new(source),
        }
    }

    #[test]
    fn what_a_caller_should_do_is_known_from_the_cause() {
        let busy = Overloaded {
            status: 429,
            retry_after: Some(Duration::from_secs(7)),
            said: String::new(),
        };
        let busy = generic(HttpError::new(HttpErrorKind::Unknown, busy));
        let error = failed(Operation::Put, "x", busy);
        assert_eq!(error.kind(), ErrorKind::Throttled);
        assert_eq!(error.retry(), Retry::After(Duration::from_secs(7)));
        assert_eq!(error.effect(), Effect::None);
        for (kind, expected, effect) in [
            (HttpErrorKind::Connect, ErrorKind::Unavailable, Effect::None),
            (HttpErrorKind::Timeout, ErrorKind::TimedOut, Effect::Unknown),
            (
                HttpErrorKind::Interrupted,
                ErrorKind::Unavailable,
                Effect::Unknown,
            ),
        ] {
            let cut = || generic(HttpError::new(kind, std::io::Error::other("cut")));
            let error = failed(Operation::Put, "x", cut());
            assert_eq!((error.kind(), error.effect()), (expected, effect));
            let read = failed(Operation::Get, "x", cut());
            assert_eq!(read.effect(), Effect::None);
        }
    }

    #[test]
    fn a_missing_container_is_not_a_missing_object() {
        let missing = object_store::Error::NotFound {
            path: "a".to_owned(),
            source: "status code: 404: <Code>ContainerNotFound</Code>".into(),
        };
        let error = failed(Operation::Put, "az://a/b", missing);
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("create it"), "{error}");
    }
}
