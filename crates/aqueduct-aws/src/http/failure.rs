use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::time::Duration;

use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_types::retry::ErrorKind;
use hyper_util::client::legacy;

use crate::error::find;

/// The reason why a connection could not be opened.
#[derive(Debug)]
pub(crate) enum DialError {
    /// It took too long.
    TimedOut(Duration),
    /// The root certificates cannot be read.
    Roots(String),
    /// The server's certificate was refused.
    Certificate(BadCertificate),
    /// TLS failed otherwise.
    Tls(io::Error),
    /// The host is not a name that a certificate can be for.
    Host(String),
}

/// A certificate that does not fit the host, or that no trusted authority signed.
#[derive(Debug)]
pub(crate) struct BadCertificate(rustls::CertificateError);

impl DialError {
    /// Creates the error of a failed handshake.
    pub(super) fn handshake(error: io::Error) -> Self {
        let refused = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match refused {
            Some(rustls::Error::InvalidCertificate(why)) => {
                Self::Certificate(BadCertificate(why.clone()))
            }
            _ => Self::Tls(error),
        }
    }
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut(limit) => write!(f, "not connected within {limit:?}"),
            Self::Roots(why) => f.write_str(why),
            Self::Certificate(why) => why.fmt(f),
            Self::Tls(error) => write!(f, "TLS failed: {error}"),
            Self::Host(host) => write!(f, "`{host}` is not a valid TLS name"),
        }
    }
}

impl StdError for DialError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Certificate(why) => Some(why),
            _ => None,
        }
    }
}

impl fmt::Display for BadCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use rustls::CertificateError::{
            BadSignature, Expired, ExpiredContext, NotValidForName, NotValidForNameContext,
            NotValidYet, NotValidYetContext, UnknownIssuer,
        };
        match &self.0 {
            // An issuer of the same name with another key.
            UnknownIssuer | BadSignature => f.write_str(
                "its issuer is not trusted; if a proxy inspects TLS here, set `ca_file` or AWS_CA_BUNDLE to \
                 its certificate",
            ),
            NotValidForName | NotValidForNameContext { .. } => f.write_str(
                "it is for another host; does `endpoint` name the host of the certificate?",
            ),
            Expired | ExpiredContext { .. } => {
                f.write_str("it has expired, or this machine's clock is ahead")
            }
            NotValidYet | NotValidYetContext { .. } => {
                f.write_str("it is not valid yet, or this machine's clock is behind")
            }
            other => write!(f, "{other:?}"),
        }
    }
}

impl StdError for BadCertificate {}

/// A connection that gave no sign of life while a request was waiting on it.
#[derive(Debug)]
pub(super) struct Silent(pub(super) Duration);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no sign of life for {:?}", self.0)
    }
}

impl StdError for Silent {}

/// Converts the error of the HTTP client, with the kinds of the SDK's own client.
pub(super) fn convert(error: legacy::Error) -> ConnectorError {
    let inner = find::<hyper::Error>(&error);
    let is_dial_timeout = matches!(find::<DialError>(&error), Some(DialError::TimedOut(_)));
    let is_io = error.is_connect() || find::<io::Error>(&error).is_some();
    let (mut is_user, mut is_gone, mut is_cut, mut is_timeout) =
        (false, is_io, false, is_dial_timeout);
    if let Some(inner) = inner {
        is_user = inner.is_user();
        is_gone |= inner.is_closed() || inner.is_canceled();
        is_cut = inner.is_incomplete_message();
        is_timeout |= inner.is_timeout();
    }
    match () {
        () if is_timeout => ConnectorError::timeout(error.into()),
        () if is_user => ConnectorError::user(error.into()),
        () if is_gone => ConnectorError::io(error.into()),
        () if is_cut => ConnectorError::other(error.into(), Some(ErrorKind::TransientError)),
        // A stream that the server refused or reset, a GOAWAY.
        () => ConnectorError::io(error.into()),
    }
}
