use std::error::Error as StdError;
use std::fmt::Display;

use aqueduct_aws::SdkError;
use aqueduct_core::{Error, ErrorKind};
use aws_sdk_kinesis::error::ProvideErrorMetadata;

/// Converts the failure of a whole request.
pub(crate) fn request<E>(what: impl Display, failed: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
{
    aqueduct_aws::error_with(what, failed, kind_of)
}

/// Converts the failure to build a request.
pub(crate) fn malformed(
    what: impl Display,
    failed: impl Into<Box<dyn StdError + Send + Sync>>,
) -> Error {
    Error::new(ErrorKind::Internal, format!("{what}: not sent")).with_source(failed)
}

/// Converts the failure of one record in a response that succeeded as a whole: the service did not
/// add the record to the stream.
pub(crate) fn record(what: impl Display, code: &str, message: Option<&str>) -> Error {
    let kind = kind_of(code).unwrap_or(ErrorKind::Unavailable);
    let message = message.unwrap_or("no reason given");
    Error::new(kind, format!("{what}: {code}: {message}"))
}

/// The code of a record that exceeded the limits of its shard.
pub(crate) const OVER_LIMIT: &str = "ProvisionedThroughputExceededException";

/// Maps the codes that only Kinesis uses.
fn kind_of(code: &str) -> Option<ErrorKind> {
    Some(match code {
        OVER_LIMIT | "KMSThrottlingException" => ErrorKind::Throttled,
        "InternalFailure" | "ServiceUnavailable" => ErrorKind::Unavailable,
        // A key that is being restored comes back; the others need an operator.
        "KMSInvalidStateException" => ErrorKind::Unavailable,
        "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => ErrorKind::Denied,
        // The stream is being created, updated or deleted, or already exists.
        "ResourceInUseException" => ErrorKind::Conflict,
        // A service that does not have the operation: retrying does not help.
        "UnknownOperationException" | "UnsupportedOperationException" => ErrorKind::Unsupported,
        "ExpiredIteratorException" => ErrorKind::PositionExpired,
        _ => return None,
    })
}
