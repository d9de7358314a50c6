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

/// The codes of services that do not take the credentials, but may take newer ones.
const NEWER_CREDENTIALS: [&str; 6] = [
    "ExpiredToken",
    "ExpiredTokenException",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "TokenRefreshRequired",
    "UnrecognizedClientException",
];

/// Whether a refusal's body says that newer credentials may be taken.
pub(crate) fn wants_new_credentials(body: &[u8]) -> bool {
    let text = String::from_utf8_lossy(body);
    NEWER_CREDENTIALS.iter().any(|code| text.contains(code))
}

/// Whether trying again may help, though the kind is one that usually fails again: the next request
/// is signed with credentials that were looked up anew.
pub(crate) fn is_renewed(code: &str) -> bool {
    matches!(
        code,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired"
    )
}

/// Whether the message repeats the request, its session token included.
pub(crate) fn repeats_the_request(code: &str) -> bool {
    matches!(
        code,
        "InvalidSignatureException" | "SignatureDoesNotMatch" | "IncompleteSignature"
    )
}

/// What to do about a code, where its own message does not say it.
pub(crate) fn hint(code: &str) -> Option<&'static str> {
    Some(match code {
        "ExpiredToken" | "ExpiredTokenException" => {
            "; the credentials are too old: renew them (aws sso login), they are read again"
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
