/// The ARN of a resource, possibly in another region or account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Arn<'a> {
    /// The region.
    pub region: &'a str,
    /// The account, 12 digits.
    pub account: &'a str,
    /// The resource, in the format of the service.
    pub resource: &'a str,
}

impl<'a> Arn<'a> {
    /// Parses `arn:PARTITION:SERVICE:REGION:ACCOUNT:RESOURCE`; returns `None` if it is malformed or
    /// of another service.
    ///
    /// ```
    /// use aqueduct_aws::Arn;
    ///
    /// let text = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    /// let arn = Arn::parse(text, "kinesis").ok_or("no ARN")?;
    /// assert_eq!((arn.region, arn.resource), ("eu-west-1", "stream/orders"));
    /// assert_eq!(Arn::parse(text, "sqs"), None);
    /// # Ok::<(), &str>(())
    /// ```
    pub fn parse(text: &'a str, service: &str) -> Option<Self> {
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, of, region, account, resource] = parts[..] else {
            return None;
        };
        let is_account = account.len() == 12 && account.bytes().all(|it| it.is_ascii_digit());
        let is_whole = partition.starts_with("aws") && !region.is_empty() && is_account;
        (of == service && is_whole).then_some(Self {
            region,
            account,
            resource,
        })
    }
}
