use std::error::Error as StdError;
use std::fmt::Display;
use std::io;

use aqueduct_core::{Effect, Error, ErrorKind, Retry};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::codes::{hint, kind_of};

/// What a client of AWS answers where a call fails.
pub type SdkError<E> = aws_smithy_runtime_api::client::result::SdkError<E, HttpResponse>;

/// The error of a call that failed; `what` names the call and its object, such as
/// `PutRecords on stream orders`.
pub fn error<E>(what: impl Display, failed: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    error_with(what, failed, |_| None)
}

/// Like [`error`], where `specific` knows what a service's own codes mean.
pub fn error_with<E>(
    what: impl Display,
    failed: SdkError<E>,
    specific: impl FnOnce(&str) -> Option<ErrorKind>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let status = failed.raw_response().map(|raw| raw.status().as_u16());
    let error = match &failed {
        SdkError::ConstructionFailure(_) => {
            let why = deepest(&failed);
            Error::new(ErrorKind::Invalid, format!("{what}: not sent: {why}"))
        }
        SdkError::TimeoutError(_) => {
            Error::new(ErrorKind::TimedOut, format!("{what}: no answer in time"))
                .with_effect(Effect::Unknown)
        }
        SdkError::DispatchFailure(failure) => {
            let why = deepest(&failed);
            let kind = match () {
                () if failure.is_timeout() => ErrorKind::TimedOut,
                // No credentials were found, or the chain failed: nothing went out.
                () if !failure.is_io() && !failure.is_user() => ErrorKind::Denied,
                () => ErrorKind::Unavailable,
            };
            let effect = match kind == ErrorKind::Denied || never_connected(&failed) {
                true => Effect::None,
                false => Effect::Unknown,
            };
            Error::new(kind, format!("{what}: {why}")).with_effect(effect)
        }
        SdkError::ResponseError(_) => Error::new(
            ErrorKind::Unavailable,
            format!(
                "{what}: the endpoint's answer{} is none of this service: {}; is `endpoint` right?",
                status.map_or_else(String::new, |status| format!(" (HTTP {status})")),
                deepest(&failed)
            ),
        )
        .with_effect(Effect::Unknown),
        SdkError::ServiceError(failure) => {
            let code = failure.err().code();
            let kind = code
                .and_then(specific)
                .or_else(|| code.and_then(kind_of))
                .unwrap_or_else(|| kind_of_status(status, code));
            let said = match (code, failure.err().message()) {
                (Some(code), Some(message)) => format!("{code}: {message}"),
                (Some(code), None) => code.to_owned(),
                (None, _) => format!(
                    "HTTP {} without an error code; is `endpoint` right?",
                    status.unwrap_or_default()
                ),
            };
            let hint = code.and_then(hint).unwrap_or_default();
            let error = Error::new(kind, format!("{what}: {said}{hint}"));
            match status {
                Some(500..) if kind != ErrorKind::Throttled => error.with_effect(Effect::Unknown),
                _ => error,
            }
        }
        _ => Error::new(ErrorKind::Internal, format!("{what}: {}", deepest(&failed)))
            .with_effect(Effect::Unknown)
            .with_retry(Retry::Never),
    };
    // The raw answer stays behind: it may hold payloads.
    match failed.into_source() {
        Ok(source) => error.with_source(source),
        Err(_) => error,
    }
}

fn kind_of_status(status: Option<u16>, code: Option<&str>) -> ErrorKind {
    match (status, code) {
        (Some(429), _) => ErrorKind::Throttled,
        (Some(500..), _) => ErrorKind::Unavailable,
        (Some(401 | 403), _) => ErrorKind::Denied,
        (Some(404), Some(_)) => ErrorKind::NotFound,
        (_, None) => ErrorKind::Unavailable,
        _ => ErrorKind::Invalid,
    }
}

/// The last cause says what happened; those around it say that something did.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

fn never_connected(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<io::Error>()
            && matches!(
                io.kind(),
                io::ErrorKind::ConnectionRefused
                    | io::ErrorKind::HostUnreachable
                    | io::ErrorKind::NetworkUnreachable
            )
        {
            return true;
        }
        next = error.source();
    }
    false
}
