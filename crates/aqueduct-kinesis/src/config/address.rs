use aqueduct_core::{Error, Result, StreamName, Text, Url};

/// The stream that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) stream: StreamName,
    pub(super) arn: Option<Text>,
    /// The ARN's region.
    pub(super) region: Option<Text>,
}

impl Address {
    /// Reads `kinesis://STREAM` or `kinesis:arn:…`; a URL that names nothing is for the stream
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

    fn from_arn(arn: &str, place: &str) -> Result<Self> {
        let parts: Vec<&str> = arn.splitn(6, ':').collect();
        let [_, partition, "kinesis", region, account, resource] = parts[..] else {
            return Err(bad_arn(arn, place));
        };
        let Some(stream) = resource.strip_prefix("stream/") else {
            return Err(bad_arn(arn, place));
        };
        let is_account = account.len() == 12 && account.bytes().all(|it| it.is_ascii_digit());
        if !partition.starts_with("aws") || region.is_empty() || !is_account {
            return Err(bad_arn(arn, place));
        }
        check_name(stream, place)?;
        Ok(Self {
            stream: StreamName::new(stream),
            arn: Some(arn.into()),
            region: Some(region.into()),
        })
    }
}

fn bad_arn(arn: &str, place: &str) -> Error {
    Error::config(format!(
        "{place}.url: `{arn}` is no ARN of a stream, such as \
         arn:aws:kinesis:eu-west-1:123456789012:stream/orders"
    ))
}

/// The service's rule for names.
fn check_name(name: &str, place: &str) -> Result<()> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if (1..=128).contains(&name.len()) && name.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{place}.url: `{name}` is no name of a stream: 1 to 128 letters, digits, `_`, `.` or `-`"
    )))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push((high * 16 + low) as u8);
    }
    String::from_utf8(bytes).ok()
}
