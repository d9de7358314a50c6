use std::fmt::Display;
use std::time::Duration;

use aqueduct_core::{Effect, Error, ErrorKind, Retry};
use fe2o3_amqp::connection::{ConnectionStopReason, OpenError};
use fe2o3_amqp::link::{
    DetachError, LinkStateError, ReceiverAttachError, RecvError, SendError, SenderAttachError,
    SessionStopReason,
};
use fe2o3_amqp::session::BeginError;
use fe2o3_amqp::types::definitions::{Error as AmqpError, ErrorCondition};
use fe2o3_amqp::types::primitives::Symbol;

/// The wait that a busy server is given: throttling units are counted each second.
const BUSY: Duration = Duration::from_secs(1);

/// Converts an error that the service sent.
pub(crate) fn service(what: impl Display, error: &AmqpError) -> Error {
    let condition = condition(&error.condition);
    let text = error.description.as_deref().unwrap_or("no reason given");
    by_condition(what, &condition, text)
}

/// Creates the error of a condition, as the service names it.
pub(crate) fn by_condition(what: impl Display, condition: &str, text: &str) -> Error {
    let kind = kind_of(condition, text);
    let error = Error::new(kind, format!("{what}: {condition}: {}", shorten(text)));
    match kind {
        ErrorKind::Throttled => error.with_retry(Retry::After(BUSY)),
        _ => error,
    }
}

/// Converts a status of `$cbs` or `$management`.
pub(crate) fn status(what: impl Display, code: i64, text: &str) -> Error {
    let kind = match code {
        400 => ErrorKind::Invalid,
        401 | 403 => ErrorKind::Denied,
        404 => ErrorKind::NotFound,
        408 => ErrorKind::TimedOut,
        429 | 503 => ErrorKind::Throttled,
        _ => ErrorKind::Unavailable,
    };
    let error = Error::new(kind, format!("{what}: status {code}: {}", shorten(text)));
    match kind {
        ErrorKind::Throttled => error.with_retry(Retry::After(BUSY)),
        _ => error,
    }
}

/// Creates the error of a connection that cannot be opened or was lost.
pub(crate) fn unavailable(what: impl Display, why: impl Display) -> Error {
    Error::new(ErrorKind::Unavailable, format!("{what}: {why}"))
}

pub(crate) fn open(what: impl Display, error: OpenError) -> Error {
    match error {
        OpenError::Io(error) => unavailable(what, "the connection failed").with_source(error),
        OpenError::SaslError { code, .. } => Error::new(
            ErrorKind::Denied,
            format!("{what}: SASL refused the connection: {code:?}"),
        ),
        OpenError::RemoteClosedWithError(error) => service(what, &error),
        other => unavailable(what, "the connection cannot be opened").with_source(other),
    }
}

pub(crate) fn begin(what: impl Display, error: BeginError) -> Error {
    match error {
        BeginError::RemoteEndedWithError(error) => service(what, &error),
        BeginError::ConnectionStopped(reason) => connection_stopped(what, &reason),
        other => unavailable(what, "the session cannot begin").with_source(other),
    }
}

pub(crate) fn attach_sender(what: impl Display, error: SenderAttachError) -> Error {
    match error {
        SenderAttachError::RemoteClosedWithError(error) => service(what, &error),
        SenderAttachError::SessionStopped(reason) => session_stopped(what, &reason),
        other => unavailable(what, "the link cannot be attached").with_source(other),
    }
}

pub(crate) fn attach_receiver(what: impl Display, error: ReceiverAttachError) -> Error {
    match error {
        ReceiverAttachError::RemoteClosedWithError(error) => service(what, &error),
        ReceiverAttachError::SessionStopped(reason) => session_stopped(what, &reason),
        other => unavailable(what, "the link cannot be attached").with_source(other),
    }
}

/// Converts the failure of a send. Once the transfer may have left, its effect is unknown.
pub(crate) fn send(what: impl Display, error: SendError) -> Error {
    match error {
        SendError::MessageSizeExceeded(size) => Error::new(
            ErrorKind::TooLarge,
            format!(
                "{what}: a batch of {} bytes, and the link takes {}",
                size.size, size.max_size
            ),
        ),
        SendError::LinkStateError(error) => link(what, error).with_effect(Effect::Unknown),
        SendError::Detached(error) => detached(what, error).with_effect(Effect::Unknown),
        SendError::MessageEncodeError => Error::new(
            ErrorKind::Internal,
            format!("{what}: the batch cannot be encoded"),
        ),
        other => unavailable(what, "the service settled the batch in an unexpected way")
            .with_source(other)
            .with_effect(Effect::Unknown),
    }
}

pub(crate) fn receive(what: impl Display, error: RecvError) -> Error {
    match error {
        RecvError::LinkStateError(error) => link(what, error),
        other => unavailable(what, "the link failed").with_source(other),
    }
}

pub(crate) fn link(what: impl Display, error: LinkStateError) -> Error {
    match error {
        LinkStateError::RemoteClosedWithError(error)
        | LinkStateError::RemoteDetachedWithError(error) => service(what, &error),
        LinkStateError::SessionStopped(reason) => session_stopped(what, &reason),
        LinkStateError::RemoteClosed | LinkStateError::RemoteDetached => {
            unavailable(what, "the service closed the link without a reason")
        }
        other => unavailable(what, "the link was lost").with_source(other),
    }
}

pub(crate) fn detached(what: impl Display, error: DetachError) -> Error {
    match error {
        DetachError::RemoteClosedWithError(error) | DetachError::RemoteDetachedWithError(error) => {
            service(what, &error)
        }
        DetachError::SessionStopped(reason) => session_stopped(what, &reason),
        other => unavailable(what, "the link was lost").with_source(other),
    }
}

fn session_stopped(what: impl Display, reason: &SessionStopReason) -> Error {
    match reason {
        SessionStopReason::RemoteEndedWithError(error) => service(what, error),
        SessionStopReason::ConnectionStopped(reason) => connection_stopped(what, reason),
        _ => unavailable(what, "the session ended"),
    }
}

fn connection_stopped(what: impl Display, reason: &ConnectionStopReason) -> Error {
    match reason {
        ConnectionStopReason::RemoteClosedWithError(error) => service(what, error),
        ConnectionStopReason::ClosedWithError(error) => unavailable(
            what,
            format_args!(
                "the connection was lost: {}",
                error.description.as_deref().unwrap_or("no reason given")
            ),
        ),
        _ => unavailable(what, "the connection was lost"),
    }
}

/// Returns the condition as it is written on the wire.
fn condition(condition: &ErrorCondition) -> String {
    match condition {
        ErrorCondition::AmqpError(it) => Symbol::from(it).0,
        ErrorCondition::ConnectionError(it) => Symbol::from(it).0,
        ErrorCondition::SessionError(it) => Symbol::from(it).0,
        ErrorCondition::LinkError(it) => Symbol::from(it).0,
        ErrorCondition::Custom(it) => it.0.clone(),
    }
}

/// Maps the conditions of AMQP 1.0 and of the service.
fn kind_of(condition: &str, text: &str) -> ErrorKind {
    match condition {
        "com.microsoft:server-busy" => ErrorKind::Throttled,
        "com.microsoft:timeout" => ErrorKind::TimedOut,
        "amqp:unauthorized-access"
        | "amqp:not-allowed"
        | "com.microsoft:auth-failed"
        | "com.microsoft:entity-disabled" => ErrorKind::Denied,
        "amqp:not-found" | "com.microsoft:entity-not-found" => ErrorKind::NotFound,
        "amqp:link:stolen" => ErrorKind::Revoked,
        // A reader without an epoch, or of a lower one, beside one that has it.
        "com.microsoft:receiver-disconnected" => ErrorKind::Revoked,
        "amqp:link:message-size-exceeded" => ErrorKind::TooLarge,
        // The service names a partition or a consumer group that does not exist as such an argument.
        "com.microsoft:argument-out-of-range" if text.contains("artition") => ErrorKind::NotFound,
        "com.microsoft:argument-error"
        | "com.microsoft:argument-out-of-range"
        | "amqp:invalid-field"
        | "amqp:decode-error" => ErrorKind::Invalid,
        "amqp:resource-limit-exceeded" => match text.contains("epoch") {
            true => ErrorKind::Revoked,
            false => ErrorKind::Throttled,
        },
        _ => ErrorKind::Unavailable,
    }
}

/// The longest text of the service in an error.
const LONGEST: usize = 400;

/// Bounds a text from outside, without its control characters.
fn shorten(text: &str) -> String {
    let clean = text
        .chars()
        .map(|it| if it.is_control() { ' ' } else { it });
    let mut short: String = clean.take(LONGEST).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_say_what_to_do() {
        let busy = by_condition("hub", "com.microsoft:server-busy", "wait");
        assert_eq!(busy.kind(), ErrorKind::Throttled);
        assert_eq!(busy.retry(), Retry::After(BUSY));
        assert_eq!(busy.to_string(), "hub: com.microsoft:server-busy: wait");
        for (condition, kind) in [
            ("amqp:unauthorized-access", ErrorKind::Denied),
            ("amqp:not-found", ErrorKind::NotFound),
            ("amqp:link:stolen", ErrorKind::Revoked),
            ("amqp:link:detach-forced", ErrorKind::Unavailable),
            ("amqp:internal-error", ErrorKind::Unavailable),
            ("com.microsoft:argument-error", ErrorKind::Invalid),
        ] {
            assert_eq!(
                by_condition("x", condition, "y").kind(),
                kind,
                "{condition}"
            );
        }
        let long = by_condition("x", "amqp:internal-error", &"é\n".repeat(999)).to_string();
        assert!(long.chars().count() < 450 && !long.contains('\n'));
    }
}
