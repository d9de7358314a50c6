use aqueduct_core::ErrorKind;

/// What the codes that all services of AWS share mean.
pub(crate) fn kind_of(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "TooManyRequestsException"
        | "RequestLimitExceeded"
        | "LimitExceededException"
        | "ProvisionedThroughputExceededException"
        | "PriorRequestNotComplete"
        | "SlowDown" => ErrorKind::Throttled,
        "AccessDenied"
        | "AccessDeniedException"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "RequestExpired"
        | "RequestInTheFuture"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => ErrorKind::Denied,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "ValidationError"
        | "ValidationException"
        | "InvalidArgumentException"
        | "SerializationException"
        | "InvalidParameterValue" => ErrorKind::Invalid,
        "InternalFailure"
        | "InternalServerError"
        | "InternalFailureException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => ErrorKind::Unavailable,
        "RequestTimeout" | "RequestTimeoutException" => ErrorKind::TimedOut,
        _ => return None,
    })
}

/// What to do about a code, where its own message does not say it.
pub(crate) fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "; the credentials are too old: renew them (aws sso login), the client reads them again"
        }
        "InvalidSignatureException" | "SignatureDoesNotMatch" => {
            "; the secret key is wrong, or this machine's clock is off by more than 5 minutes"
        }
        "RequestTimeTooSkewed" | "RequestExpired" | "RequestInTheFuture" => {
            "; this machine's clock is off: set it (NTP)"
        }
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
            "; the access key is unknown here: see AWS_PROFILE, AWS_ACCESS_KEY_ID and the region"
        }
        _ => return None,
    })
}
