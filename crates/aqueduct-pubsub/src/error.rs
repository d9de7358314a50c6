use std::fmt::Display;
use std::sync::Arc;

use aqueduct_core::{Effect, Error, ErrorKind};
use google_cloud_gax::error::rpc::Code;
use google_cloud_pubsub::error::{AckError, PublishError};

/// Converts the error of a call.
pub(crate) fn failed(what: impl Display, error: google_cloud_pubsub::Error) -> Error {
    let (kind, effect) = kind_of(&error);
    let said = said(&error);
    Error::new(kind, format!("{what}: {said}"))
        .with_effect(effect)
        .with_source(error)
}

/// Converts the error of a publish request.
pub(crate) fn not_published(what: impl Display, error: PublishError) -> Error {
    match error {
        PublishError::Rpc(error) => {
            let (kind, effect) = kind_of(&error);
            let text = format!("{what}: {}", said(&error));
            let source: Arc<google_cloud_pubsub::Error> = error;
            Error::new(kind, text)
                .with_effect(effect)
                .with_source(Shared(source))
        }
        PublishError::OrderingKeyPaused => Error::new(
            ErrorKind::Unavailable,
            format!("{what}: an earlier message of the ordering key failed"),
        ),
        error => Error::new(ErrorKind::Unavailable, format!("{what}: {error}"))
            .with_effect(Effect::Unknown),
    }
}

/// Converts the error of a confirmed ack or nack.
pub(crate) fn not_confirmed(what: impl Display, error: AckError) -> Error {
    let gone = |why: &str| Error::new(ErrorKind::Revoked, format!("{what}: {why}"));
    match error {
        AckError::Rpc { source, .. } => {
            let (kind, effect) = kind_of(&source);
            let text = format!("{what}: {}", said(&source));
            match kind {
                // The service no longer knows the acknowledgement id.
                ErrorKind::Invalid | ErrorKind::NotFound => gone(&said(&source)),
                _ => Error::new(kind, text)
                    .with_effect(effect)
                    .with_source(Shared(source)),
            }
        }
        error => gone(&error.to_string()),
    }
}

/// Returns the error of a call without a response in time.
pub(crate) fn timed_out(what: impl Display, limit: std::time::Duration) -> Error {
    Error::new(
        ErrorKind::TimedOut,
        format!("{what}: no response within {limit:?}"),
    )
    .with_effect(Effect::Unknown)
}

/// Returns the service's own message, which names the resource, without the client's framing.
fn said(error: &google_cloud_pubsub::Error) -> String {
    match error.status() {
        Some(status) if !status.message.is_empty() => {
            format!("{}: {}", status.code, status.message)
        }
        _ => error.to_string(),
    }
}

fn kind_of(error: &google_cloud_pubsub::Error) -> (ErrorKind, Effect) {
    if let Some(status) = error.status() {
        return of_code(status.code);
    }
    if error.is_authentication() {
        let kind = match error.is_transient_and_before_rpc() {
            true => ErrorKind::Unavailable,
            false => ErrorKind::Denied,
        };
        return (kind, Effect::None);
    }
    if error.is_connect() {
        return (ErrorKind::Unavailable, Effect::None);
    }
    if error.is_serialization() || error.is_binding() {
        return (ErrorKind::Invalid, Effect::None);
    }
    if error.is_timeout() {
        return (ErrorKind::TimedOut, Effect::Unknown);
    }
    match error.http_status_code() {
        Some(401 | 403) => (ErrorKind::Denied, Effect::None),
        Some(404) => (ErrorKind::NotFound, Effect::None),
        Some(429) => (ErrorKind::Throttled, Effect::None),
        Some(400) => (ErrorKind::Invalid, Effect::None),
        _ => (ErrorKind::Unavailable, Effect::Unknown),
    }
}

/// Maps the codes of <https://cloud.google.com/pubsub/docs/reference/error-codes>.
fn of_code(code: Code) -> (ErrorKind, Effect) {
    match code {
        Code::NotFound => (ErrorKind::NotFound, Effect::None),
        Code::PermissionDenied | Code::Unauthenticated => (ErrorKind::Denied, Effect::None),
        Code::InvalidArgument | Code::OutOfRange | Code::FailedPrecondition => {
            (ErrorKind::Invalid, Effect::None)
        }
        Code::AlreadyExists => (ErrorKind::AlreadyExists, Effect::None),
        Code::ResourceExhausted => (ErrorKind::Throttled, Effect::None),
        Code::Unimplemented => (ErrorKind::Unsupported, Effect::None),
        Code::DeadlineExceeded => (ErrorKind::TimedOut, Effect::Unknown),
        _ => (ErrorKind::Unavailable, Effect::Unknown),
    }
}

/// An error that several outcomes share, as a source.
#[derive(Debug)]
struct Shared(Arc<google_cloud_pubsub::Error>);

impl Display for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Shared {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests {
    use google_cloud_gax::error::rpc::Status;

    use super::*;

    fn service(code: Code, message: &str) -> google_cloud_pubsub::Error {
        let status = Status::default().set_code(code).set_message(message);
        google_cloud_pubsub::Error::service(status)
    }

    #[test]
    fn an_error_says_what_to_do_next() {
        for (code, kind, effect) in [
            (Code::NotFound, ErrorKind::NotFound, Effect::None),
            (Code::PermissionDenied, ErrorKind::Denied, Effect::None),
            (Code::ResourceExhausted, ErrorKind::Throttled, Effect::None),
            (Code::Unavailable, ErrorKind::Unavailable, Effect::Unknown),
            (Code::Internal, ErrorKind::Unavailable, Effect::Unknown),
            (Code::DeadlineExceeded, ErrorKind::TimedOut, Effect::Unknown),
            (Code::InvalidArgument, ErrorKind::Invalid, Effect::None),
        ] {
            let error = failed("publish to paid", service(code, "topic=paid"));
            assert_eq!((error.kind(), error.effect()), (kind, effect), "{code}");
            assert!(error.to_string().contains("topic=paid"), "{error}");
            let shared = PublishError::Rpc(Arc::new(service(code, "topic=paid")));
            let error = not_published("publish to paid", shared);
            assert_eq!((error.kind(), error.effect()), (kind, effect), "{code}");
        }
        assert!(not_confirmed("ack", AckError::LeaseExpired).is(ErrorKind::Revoked));
    }
}
