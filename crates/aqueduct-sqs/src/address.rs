use aqueduct_aws::Arn;
use aqueduct_core::{Error, Result, SmallStr, StreamName, Url, percent_decode};

/// The queue that a URL names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) queue: StreamName,
    /// The account in the ARN, which may be another one; `None` without an ARN.
    pub(crate) account: Option<SmallStr>,
    /// The region in the ARN; `None` without an ARN.
    pub(crate) region: Option<SmallStr>,
}

impl Address {
    /// Parses `sqs://QUEUE` or `sqs:arn:…`; a URL without a queue names the queue `name`.
    /// Appends `.fifo` to the name if `fifo` is `true` and it is missing.
    pub(crate) fn parse(name: &str, url: &Url, fifo: Option<bool>, place: &str) -> Result<Self> {
        let refuse = |why: &str| Err(Error::config(format!("{place}.url: {why}")));
        if !url.username().is_empty() || url.password().is_some() || url.port().is_some() {
            return refuse("a queue URL has no user, password or port: write sqs://QUEUE");
        }
        if url.fragment().is_some() {
            return refuse("a queue URL has no fragment (`#`): remove it");
        }
        let mut address = if url.path().starts_with("arn:") {
            Self::from_arn(url.path(), place)?
        } else if !matches!(url.path(), "" | "/") {
            return refuse("expected sqs://QUEUE, or sqs: followed by the ARN of a queue");
        } else {
            let queue = match url.host_str() {
                None | Some("") => name.to_owned(),
                Some(host) => match percent_decode(host) {
                    Some(host) => host,
                    None => {
                        return refuse(
                            "invalid percent-encoding: `%` needs two hexadecimal digits",
                        );
                    }
                },
            };
            Self {
                queue: StreamName::new(queue),
                account: None,
                region: None,
            }
        };
        let named = address.queue.as_str();
        match (fifo, named.ends_with(".fifo")) {
            (Some(false), true) => {
                return Err(Error::config(format!(
                    "{place}.fifo = \"false\": `{named}` is the name of a FIFO queue"
                )));
            }
            (Some(true), false) if address.account.is_none() => {
                address.queue = StreamName::new(format!("{named}.fifo"));
            }
            (Some(true), false) => {
                return Err(Error::config(format!(
                    "{place}.fifo = \"true\": the ARN names `{named}`, and a FIFO queue's name \
                     ends in .fifo"
                )));
            }
            _ => {}
        }
        check_name(address.queue.as_str(), place)?;
        Ok(address)
    }

    fn from_arn(text: &str, place: &str) -> Result<Self> {
        let arn = Arn::parse(text, "sqs").filter(|arn| !arn.resource.contains(':'));
        let Some(arn) = arn else {
            return Err(Error::config(format!(
                "{place}.url: invalid ARN of a queue `{text}` (expected, for example, \
                 arn:aws:sqs:eu-west-1:123456789012:orders.fifo)"
            )));
        };
        Ok(Self {
            queue: arn.resource.into(),
            account: Some(arn.account.into()),
            region: Some(arn.region.into()),
        })
    }
}

/// Checks a queue name against the service's rules.
fn check_name(name: &str, place: &str) -> Result<()> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    if !stem.is_empty() && name.len() <= 80 && stem.bytes().all(allowed) {
        return Ok(());
    }
    Err(Error::config(format!(
        "{place}.url: invalid queue name `{name}`: expected 1 to 80 letters, digits, `_` or `-`, with \
         .fifo at the end for a FIFO queue"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str, fifo: Option<bool>) -> Result<Address> {
        Address::parse("orders", &Url::parse(url).unwrap(), fifo, "streams.orders")
    }

    #[test]
    fn a_url_names_the_queue() {
        for (url, fifo, queue) in [
            ("sqs:", None, "orders"),
            ("sqs:", Some(true), "orders.fifo"),
            ("sqs://Paid_1", None, "Paid_1"),
            ("sqs://paid.fifo", Some(true), "paid.fifo"),
            ("sqs://p%61id", Some(false), "paid"),
        ] {
            assert_eq!(parse(url, fifo).unwrap().queue.as_str(), queue, "{url}");
        }
        let by_arn = parse("sqs:arn:aws:sqs:eu-west-1:123456789012:o.fifo", None).unwrap();
        assert_eq!(by_arn.queue.as_str(), "o.fifo");
        assert_eq!(by_arn.region.as_deref(), Some("eu-west-1"));
        assert_eq!(by_arn.account.as_deref(), Some("123456789012"));
    }

    #[test]
    fn what_cannot_be_a_queue_is_refused() {
        let long = format!("sqs://{}", "q".repeat(81));
        for (url, fifo, expected) in [
            ("sqs://me@orders", None, "no user"),
            ("sqs://orders:80", None, "port"),
            ("sqs://orders/more", None, "sqs://QUEUE"),
            ("sqs://a.b", None, "1 to 80 letters"),
            ("sqs://.fifo", None, "1 to 80 letters"),
            ("sqs://a%zz", None, "hexadecimal"),
            ("sqs://orders#x", None, "fragment"),
            (
                "sqs:arn:aws:sns:eu-west-1:123456789012:o",
                None,
                "invalid ARN of a queue",
            ),
            (
                "sqs:arn:aws:sqs:eu-west-1:1234:o",
                None,
                "invalid ARN of a queue",
            ),
            ("sqs://orders.fifo", Some(false), "FIFO queue"),
            (
                "sqs:arn:aws:sqs:eu-west-1:123456789012:o",
                Some(true),
                ".fifo",
            ),
            (&long, None, "1 to 80 letters"),
        ] {
            let error = parse(url, fifo).unwrap_err().to_string();
            assert!(error.starts_with("streams.orders"), "{error}");
            assert!(error.contains(expected), "{url}: {error}");
        }
    }
}
