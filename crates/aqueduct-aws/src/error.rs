use std::error::Error as StdError;
use std::fmt::Display;

use aqueduct_core::{Effect, Error, ErrorKind, Retry};
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

use crate::clock::is_of_another_time;
use crate::codes::{hint, is_renewed, kind_of, may_be_the_clock, repeats_the_request};
use crate::connector::{NotAnswered, WebPage};
use crate::http::{BadCertificate, DialError};

/// The error of a failed call of an AWS client.
pub type SdkError<E> = aws_smithy_runtime_api::client::result::SdkError<E, HttpResponse>;

/// Converts the error of a call; `what` names the call and its object, such as
/// `PutRecords on stream orders`.
pub fn error<E>(what: impl Display, failed: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    error_with(what, failed, |_| None)
}

/// Like [`error`]; `specific` maps the codes of one service.
pub fn error_with<E>(
    what: impl Display,
    failed: SdkError<E>,
    specific: impl FnOnce(&str) -> Option<ErrorKind>,
) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let status = failed.raw_response().map(|raw| raw.status().as_u16());
    let another_time = failed.raw_response().is_some_and(is_of_another_time);
    let error = match &failed {
        SdkError::ConstructionFailure(_) => {
            let why = deepest(&failed);
            Error::new(ErrorKind::Invalid, format!("{what}: not sent: {why}"))
        }
        SdkError::TimeoutError(_) => {
            Error::new(ErrorKind::TimedOut, format!("{what}: no response in time"))
                .with_effect(Effect::Unknown)
        }
        SdkError::DispatchFailure(failure) => {
            if let Some(none) = find::<CredentialsError>(&failed) {
                unsigned(&what, none)
            } else if let Some(page) = find::<WebPage>(&failed) {
                // A page of 200 or 5xx may come after a proxy has let the request pass.
                let effect = match page.status {
                    300..500 => Effect::None,
                    _ => Effect::Unknown,
                };
                Error::new(ErrorKind::Unavailable, format!("{what}: {page}")).with_effect(effect)
            } else if let Some(gone) = find::<NotAnswered>(&failed) {
                unanswered(&what, gone, failure.is_timeout(), &failed)
            } else {
                let why = deepest(&failed);
                Error::new(ErrorKind::Unavailable, format!("{what}: {why}"))
                    .with_effect(Effect::Unknown)
            }
        }
        SdkError::ResponseError(_) => Error::new(
            ErrorKind::Unavailable,
            format!(
                "{what}: the endpoint did not return a valid response of this service{}: {}; is `endpoint` right?",
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
                (Some(code), Some(message)) if !repeats_the_request(code) => {
                    format!("{code}: {message}")
                }
                (Some(code), _) => code.to_owned(),
                (None, _) => format!(
                    "HTTP {} without an error code; is `endpoint` right?",
                    status.unwrap_or_default()
                ),
            };
            let clock = another_time && code.is_some_and(may_be_the_clock);
            let hint = match clock {
                true => "; this machine's clock is off: later requests are signed by the service's time",
                false => code.and_then(hint).unwrap_or_default(),
            };
            let error = Error::new(kind, format!("{what}: {said}{hint}"));
            let error = match clock || code.is_some_and(is_renewed) {
                true => error.with_retry(Retry::Now),
                false => error,
            };
            if code.is_some_and(repeats_the_request) {
                return error;
            }
            match status {
                Some(400..500) | None => error,
                Some(_) if kind == ErrorKind::Throttled => error,
                Some(_) => error.with_effect(Effect::Unknown),
            }
        }
        _ => Error::new(ErrorKind::Internal, format!("{what}: {}", deepest(&failed)))
            .with_effect(Effect::Unknown)
            .with_retry(Retry::Never),
    };
    // The raw response is dropped: it may hold payloads.
    match failed.into_source() {
        Ok(source) => error.with_source(source),
        Err(_) => error,
    }
}

/// Returns whether the call was denied and its next request is signed anew: by the service's time, or with
/// newer credentials.
pub fn is_signed_anew(error: &Error) -> bool {
    error.is(ErrorKind::Denied) && error.is_retryable()
}

/// Makes the first call of a client, whose error is not retried elsewhere: once more if the next request is
/// [signed anew](is_signed_anew).
///
/// # Errors
/// Those of the last call.
pub async fn first_call<T, F>(call: impl Fn() -> F) -> aqueduct_core::Result<T>
where
    F: Future<Output = aqueduct_core::Result<T>>,
{
    match call().await {
        Err(error) if is_signed_anew(&error) => call().await,
        called => called,
    }
}

/// Converts the error of a request without a response.
fn unanswered(
    what: impl Display,
    gone: &NotAnswered,
    is_timeout: bool,
    failed: &(dyn StdError + 'static),
) -> Error {
    if let Some(why) = find::<BadCertificate>(failed) {
        let endpoint = &gone.endpoint;
        let message = format!("{what}: the certificate of {endpoint} is refused: {why}");
        return Error::new(ErrorKind::Denied, message);
    }
    if let Some(DialError::Roots(why)) = find::<DialError>(failed) {
        return Error::config(format!("{what}: no certificates to trust: {why}"));
    }
    let kind = match is_timeout {
        true => ErrorKind::TimedOut,
        false => ErrorKind::Unavailable,
    };
    let (effect, hint) = match gone.connected {
        true => (Effect::Unknown, ""),
        false => (
            Effect::None,
            "; are region and `endpoint` right, and does the region have the service?",
        ),
    };
    let why = deepest(failed);
    Error::new(kind, format!("{what}: {gone}: {why}{hint}")).with_effect(effect)
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

/// Returns the last cause, which says what happened.
fn deepest(error: &(dyn StdError + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Converts the error of a request that was not sent, for lack of credentials.
fn unsigned(what: impl Display, none: &CredentialsError) -> Error {
    let why = deepest(none);
    let unreachable = find::<NotAnswered>(none);
    let (kind, said) = match none {
        CredentialsError::CredentialsNotLoaded(_) => (
            ErrorKind::Denied,
            format!(
                "no AWS credentials: {why}; set AWS_PROFILE or `profile`, or AWS_ACCESS_KEY_ID and \
                 AWS_SECRET_ACCESS_KEY, or run where a role is given (a container, an instance)"
            ),
        ),
        CredentialsError::ProviderTimedOut(_) => (
            ErrorKind::TimedOut,
            format!("no AWS credentials in time: {why}"),
        ),
        CredentialsError::InvalidConfiguration(_) => (
            ErrorKind::Config,
            format!("the configuration of AWS credentials is wrong: {why}"),
        ),
        _ => match unreachable {
            Some(gone) => (
                ErrorKind::Unavailable,
                format!("no AWS credentials: {gone}: {why}"),
            ),
            None => (ErrorKind::Denied, format!("no AWS credentials: {why}")),
        },
    };
    Error::new(kind, format!("{what}: {said}"))
}

/// Returns the first cause of a type.
pub(crate) fn find<'a, T: StdError + 'static>(
    error: &'a (dyn StdError + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
