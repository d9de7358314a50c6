use std::error::Error as StdError;
use std::fmt::Display;
use std::time::Duration;

use aqueduct_aws::{SdkError, error_with};
use aqueduct_core::{Effect, Error, ErrorKind, Retry};
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::BatchResultErrorEntry;

/// Converts the error of a request that failed as a whole.
pub(crate) fn failed<E>(what: impl Display, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    let deleted = matches!(&error, SdkError::ServiceError(failure)
        if failure.err().code().is_some_and(|code| code.ends_with("QueueDeletedRecently")));
    let error = error_with(what, error, kind_of);
    match deleted {
        // The service refuses the name of a deleted queue for 60 s.
        true => error.with_retry(Retry::After(Duration::from_secs(60))),
        false => error,
    }
}

/// Converts the error of one entry of a batch.
pub(crate) fn entry_failed(what: impl Display, entry: &BatchResultErrorEntry) -> Error {
    let code = entry.code();
    let kind = kind_of(code).unwrap_or(match entry.sender_fault() {
        true => ErrorKind::Invalid,
        false => ErrorKind::Unavailable,
    });
    let said = entry.message().unwrap_or("no message");
    let error = Error::new(kind, format!("{what}: {code}: {said}"));
    match kind {
        ErrorKind::Unavailable | ErrorKind::TimedOut => error.with_effect(Effect::Unknown),
        _ => error,
    }
}

/// Returns the error of an entry that is missing from the response.
pub(crate) fn unanswered(what: impl Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("{what}: the response has no result for this entry"),
    )
    .with_effect(Effect::Unknown)
}

/// Returns the error of a message whose MD5 is not the one that the service computed. A received one is
/// asked for again.
pub(crate) fn changed(what: impl Display) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!(
            "{what}: the MD5 of a message is not the one that the service states: the message was \
             changed on its way, by a proxy or a service that is only similar"
        ),
    )
    .with_effect(Effect::Unknown)
}

/// Maps the service's error codes.
fn kind_of(code: &str) -> Option<ErrorKind> {
    let code = code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code);
    Some(match code {
        "NonExistentQueue" | "QueueDoesNotExist" | "ResourceNotFoundException" => {
            ErrorKind::NotFound
        }
        "OverLimit"
        | "RequestThrottled"
        | "KmsThrottled"
        | "KMS.ThrottlingException"
        | "PurgeQueueInProgress" => ErrorKind::Throttled,
        "InvalidSecurity"
        | "KmsAccessDenied"
        | "KmsDisabled"
        | "KmsInvalidKeyUsage"
        | "KmsInvalidState"
        | "KmsNotFound"
        | "KmsOptInRequired"
        | "KMS.AccessDeniedException"
        | "KMS.DisabledException"
        | "KMS.InvalidKeyUsageException"
        | "KMS.InvalidStateException"
        | "KMS.NotFoundException"
        | "KMS.OptInRequired" => ErrorKind::Denied,
        "MessageNotInflight" | "ReceiptHandleIsInvalid" => ErrorKind::Revoked,
        "BatchRequestTooLong" => ErrorKind::TooLarge,
        "QueueDeletedRecently" => ErrorKind::Unavailable,
        "QueueNameExists" | "QueueAlreadyExists" => ErrorKind::AlreadyExists,
        "UnsupportedOperation" => ErrorKind::Unsupported,
        "InternalError" | "InternalFailure" | "ServiceUnavailable" => ErrorKind::Unavailable,
        "InvalidAddress"
        | "InvalidMessageContents"
        | "InvalidAttributeName"
        | "InvalidAttributeValue"
        | "InvalidIdFormat"
        | "InvalidBatchEntryId"
        | "InvalidParameterValue"
        | "MissingParameter"
        | "EmptyBatchRequest"
        | "BatchEntryIdsNotDistinct"
        | "TooManyEntriesInBatchRequest" => ErrorKind::Invalid,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(code: &str, sender: bool) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder()
            .id("0")
            .code(code)
            .sender_fault(sender)
            .build()
            .unwrap()
    }

    #[test]
    fn an_entry_says_what_to_do_next() {
        for (code, sender, kind, effect) in [
            (
                "InternalError",
                false,
                ErrorKind::Unavailable,
                Effect::Unknown,
            ),
            (
                "SomethingNew",
                false,
                ErrorKind::Unavailable,
                Effect::Unknown,
            ),
            ("SomethingNew", true, ErrorKind::Invalid, Effect::None),
            ("RequestThrottled", true, ErrorKind::Throttled, Effect::None),
            ("KmsAccessDenied", true, ErrorKind::Denied, Effect::None),
            (
                "InvalidMessageContents",
                true,
                ErrorKind::Invalid,
                Effect::None,
            ),
            (
                "ReceiptHandleIsInvalid",
                true,
                ErrorKind::Revoked,
                Effect::None,
            ),
        ] {
            let error = entry_failed("SendMessageBatch", &entry(code, sender));
            assert_eq!((error.kind(), error.effect()), (kind, effect), "{code}");
            assert!(error.to_string().contains(code));
        }
    }
}
