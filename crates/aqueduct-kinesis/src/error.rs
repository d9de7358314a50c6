use std::error::Error as StdError;
use std::fmt::Display;

use aqueduct_aws::SdkError;
use aqueduct_core::{Error, ErrorKind};
use aws_sdk_kinesis::error::ProvideErrorMetadata;

/// The error of a request that failed as a whole.
pub(crate) fn request<E>(what: impl Display, failed: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    aqueduct_aws::error_with(what, failed, kind_of)
}

/// The error of a request that could not be put together.
pub(crate) fn malformed(
    what: impl Display,
    failed: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: not sent")).with_source(failed)
}

/// The error of one record in an answer that succeeded as a whole: the service says of it that it
/// was not added to the stream.
pub(crate) fn record(what: impl Display, code: &str, message: Option<&str>) -> Error {
    let kind = kind_of(code).unwrap_or(ErrorKind::Unavailable);
    let message = message.unwrap_or("no reason given");
    Error::new(kind, format!("{what}: {code}: {message}"))
}

/// The code of a record that its shard does not take now.
pub(crate) const OVER_LIMIT: &str = "ProvisionedThroughputExceededException";

/// What Kinesis means by its own codes.
fn kind_of(code: &str) -> Option<ErrorKind> {
    Some(match code {
        OVER_LIMIT | "KMSThrottlingException" => ErrorKind::Throttled,
        "InternalFailure" | "ServiceUnavailable" => ErrorKind::Unavailable,
        // A key that is being restored comes back; the others need somebody's hand.
        "KMSInvalidStateException" => ErrorKind::Unavailable,
        "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => ErrorKind::Denied,
        // Being created, updated or deleted, or there already.
        "ResourceInUseException" => ErrorKind::Conflict,
        "ExpiredIteratorException" => ErrorKind::PositionExpired,
        _ => return None,
    })
}
