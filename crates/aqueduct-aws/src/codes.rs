use aqueduct_core::ErrorKind;

/// Maps the error codes that all AWS services share.
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
        | "TokenRefreshRequired"
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

/// The codes of services that refuse the credentials but may accept newer ones.
const NEWER_CREDENTIALS: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Returns whether the body of a refusal says that newer credentials may be accepted.
pub(crate) fn wants_new_credentials(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    NEWER_CREDENTIALS.iter().any(|code| text.contains(code))
}

/// Returns whether a retry may help although the kind usually fails again: the next request
/// is signed with newly resolved credentials.
pub(crate) fn is_renewed(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"
    )
}

/// The codes of services that refuse a signature which another time would make valid, perhaps.
const ANOTHER_TIME: [&str; 7] = [
    "AuthFailure",
    "InvalidSignatureException",
    "RequestExpired",
    "RequestInTheFuture",
    "RequestTimeTooSkewed",
    "SignatureDoesNotMatch",
    "AccessDeniedException",
];

/// Returns whether a signature by another clock may be accepted.
pub(crate) fn may_be_the_clock(code: &str) -> bool {
    ANOTHER_TIME.contains(&code)
}

/// Returns whether the body of a refusal has such a code.
pub(crate) fn tells_of_the_clock(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    ANOTHER_TIME.iter().any(|code| text.contains(code))
}

/// Returns whether the message repeats the request including its session token.
pub(crate) fn repeats_the_request(code: &str) -> bool {
    matches!(
        code,
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature"
    )
}

/// Returns advice for a code whose own message gives none.
pub(crate) fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "; the credentials have expired: renew them (aws sso login), they are then read again"
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
