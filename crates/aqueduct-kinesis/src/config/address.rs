use aqueduct_aws::Arn;
use aqueduct_core::{Error, Result, SmallStr, StreamName, Url, percent_decode};

/// The stream named by a URL.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) stream: StreamName,
    pub(super) arn: Option<SmallStr>,
    /// The ARN's region.
    pub(super) region: Option<SmallStr>,
}

impl Address {
    /// Parses `kinesis://STREAM` or `kinesis:arn:…`; a URL without a stream means the stream
    /// `name`.
    pub(super) fn parse(name: &str, url: &Url, place: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::config(format!("{place}.url: {why}")));
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return refuse("a stream has no user, password or port: write kinesis://STREAM");
        }
        if url.fragment().is_some() {
            return refuse("it has a fragment (`#`), which means nothing here");
        }
        if url.path().starts_with("arn:") {
            return Self::from_arn(url.path(), place);
        }
        if !matches!(url.path(), "" | "/") {
            return refuse("write kinesis://STREAM, or kinesis: and the stream's ARN");
        }
        let stream = match url.host_str() {
            None | Some("") => name.to_owned(),
            Some(host) => match percent_decode(host) {
                Some(host) => host,
                None => return refuse("its `%` are not followed by two hexadecimal digits"),
            },
        };
        check_name(&stream, place)?;
        Ok(Self {
            stream: StreamName::new(stream),
            arn: None,
            region: None,
        })
    }

    fn from_arn(text: &str, place: &str) -> Result<Self> {
        let named = Arn::parse(text, "kinesis")
            .and_then(|arn| Some((arn, arn.resource.strip_prefix("stream/")?)));
        let Some((arn, stream)) = named else {
            return Err(Error::config(format!(
                "{place}.url: `{text}` is not the ARN of a stream (expected, for example, \
                 arn:aws:kinesis:eu-west-1:123456789012:stream/orders)"
            )));
        };
        check_name(stream, place)?;
        Ok(Self {
            stream: StreamName::new(stream),
            arn: Some(text.into()),
            region: Some(arn.region.into()),
        })
    }
}

/// Checks a stream name by the service's rules.
fn check_name(name: &str, place: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{place}.url: invalid stream name `{name}` (expected 1 to 128 letters, digits, `_`, `.` or `-`)"
    )))
}
