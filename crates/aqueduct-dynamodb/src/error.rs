use aqueduct_aws::SdkError;
use aqueduct_core::{Effect, Error, ErrorKind};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;

/// Returns the error of a failed call on a table.
pub(crate) fn failed<E>(operation: &str, table: &str, error: SdkError<E>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let said = error
        .as_service_error()
        .and_then(ProvideErrorMetadata::message)
        .unwrap_or_default();
    // DynamoDB reports this as a generic ValidationException.
    let too_large = said.contains("Item size") && said.contains("exceeded");
    aqueduct_aws::error_with(
        format_args!("{operation} on table {table}"),
        error,
        |code| {
            Some(match code {
                "ValidationException" if too_large => ErrorKind::TooLarge,
                "TransactionConflictException"
                | "TransactionInProgressException"
                | "ReplicatedWriteConflictException" => ErrorKind::Unavailable,
                "ResourceInUseException" => ErrorKind::Conflict,
                "TableNotFoundException" => ErrorKind::NotFound,
                "ItemCollectionSizeLimitExceededException" => ErrorKind::Full,
                _ => return None,
            })
        },
    )
}

/// Returns whether a failed call may have written, so that its outcome has to be read back.
pub(crate) fn is_unknown(error: &Error) -> bool {
    error.effect() == Effect::Unknown
}
