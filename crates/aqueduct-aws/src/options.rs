use std::time::Duration;

use aqueduct_core::{Identity, Options, Result, SmallStr, Url};

/// The endpoint, identity and time-outs of an AWS client.
///
/// Credentials come from the chain of the AWS SDKs: the environment, the profile, SSO, a web
/// identity, the container, the instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct AwsOptions {
    /// The region. Default: the environment's or the profile's.
    pub region: Option<SmallStr>,
    /// The profile of the shared configuration files. Default: `AWS_PROFILE`, else `default`.
    pub profile: Option<SmallStr>,
    /// The URL of the service, for an emulator or a private endpoint. Default: the region's.
    pub endpoint: Option<SmallStr>,
    /// The role to assume, an ARN. Default: none.
    pub role: Option<SmallStr>,
    /// The name of the role's session, as CloudTrail shows it. Default: `aqueduct`.
    pub role_session: SmallStr,
    /// The external id that the role's trust policy requires. Default: none.
    pub external_id: Option<SmallStr>,
    /// Endpoints with validated cryptography. Default: the environment's or the profile's.
    pub fips: Option<bool>,
    /// Endpoints that are also reachable over IPv6. Default: the environment's or the profile's.
    pub dual_stack: Option<bool>,
    /// The time-out of a connection attempt. Default: 3.1 s, one lost packet and its retransmission.
    pub connect_timeout: Duration,
    /// The time-out of one request. Default: 10 s; a full request of 10 MiB takes 1 s at
    /// 80 Mbit/s.
    pub request_timeout: Duration,
    /// How long a connection may be silent while a request waits on it. Default: half of `request_timeout`.
    pub read_timeout: Option<Duration>,
    /// A file of the certificates to trust, PEM, instead of the system's. Default: `AWS_CA_BUNDLE`, else the
    /// system's.
    pub ca_file: Option<SmallStr>,
}

impl Default for AwsOptions {
    fn default() -> Self {
        Self {
            region: None,
            profile: None,
            endpoint: None,
            role: None,
            role_session: SmallStr::literal("aqueduct"),
            external_id: None,
            fips: None,
            dual_stack: None,
            connect_timeout: Duration::from_millis(3100),
            request_timeout: Duration::from_secs(10),
            read_timeout: None,
            ca_file: None,
        }
    }
}

impl AwsOptions {
    /// Reads `region`, `profile`, `endpoint`, `role`, `role_session`, `external_id`, `fips`,
    /// `dual_stack`, `connect_timeout`, `request_timeout`, `read_timeout` and `ca_file`, and leaves others
    /// to the caller.
    ///
    /// # Errors
    /// `Config`, naming the option, the text as written and what was expected.
    pub fn read(options: &mut Options) -> Result<Self> {
        let mut read = Self {
            region: options.text("region")?,
            profile: options.text("profile")?,
            endpoint: options.text("endpoint")?,
            role: options.text("role")?,
            external_id: options.text("external_id")?,
            fips: options.boolean("fips")?,
            dual_stack: options.boolean("dual_stack")?,
            ca_file: options.text("ca_file")?,
            ..Self::default()
        };
        if let Some(region) = &read.region
            && !is_region(region)
        {
            return Err(options.refuse("region", "expected a region such as eu-west-1"));
        }
        if let Some(endpoint) = &read.endpoint
            && !is_endpoint(endpoint)
        {
            return Err(options.refuse(
                "endpoint",
                "expected an http or https URL without user, query or fragment, such as \
                 http://127.0.0.1:4566",
            ));
        }
        if read.fips == Some(true) && read.endpoint.is_some() {
            return Err(options.refuse(
                "fips",
                "it has no effect together with `endpoint`: set one of the two",
            ));
        }
        if let Some(role) = &read.role
            && !(role.starts_with("arn:") && role.contains(":role/"))
        {
            return Err(options.refuse(
                "role",
                "expected the ARN of a role, such as arn:aws:iam::123456789012:role/streams",
            ));
        }
        if let Some(session) = options.text("role_session")? {
            if !is_session(&session) {
                return Err(options.refuse(
                    "role_session",
                    "expected 2 to 64 letters, digits or any of =,.@-_",
                ));
            }
            read.role_session = session;
        }
        for needs_role in ["role_session", "external_id"] {
            if read.role.is_none() && options.contains(needs_role) {
                return Err(options.refuse(needs_role, "it needs `role`, which is not set"));
            }
        }
        for (name, target) in [
            ("connect_timeout", &mut read.connect_timeout),
            ("request_timeout", &mut read.request_timeout),
        ] {
            match options.duration(name)? {
                Some(Duration::ZERO) => return Err(options.refuse(name, "expected more than 0")),
                Some(duration) => *target = duration,
                None => {}
            }
        }
        read.read_timeout = options.duration("read_timeout")?;
        if let Some(silence) = read.read_timeout
            && (silence.is_zero() || silence >= read.request_timeout)
        {
            return Err(options.refuse(
                "read_timeout",
                "expected more than 0 and less than `request_timeout`",
            ));
        }
        Ok(read)
    }
}

impl AwsOptions {
    /// Returns how long a connection may be silent while a request waits on it.
    pub fn silence(&self) -> Duration {
        self.read_timeout.unwrap_or(self.request_timeout / 2)
    }

    /// Adds to the identity of a resource what tells it from one of the same name: account, region and
    /// endpoint, as far as they are said, and as whom it is opened.
    pub fn identify(&self, named: Identity, account: Option<SmallStr>) -> Identity {
        // Another role or profile usually is another account, so an absent one is not equal to it.
        let whose = |text: &Option<SmallStr>| Some(text.clone().unwrap_or_default());
        named
            .with("account", account)
            .with("region", self.region.clone())
            .with("endpoint", self.endpoint.clone())
            .with("role", whose(&self.role))
            .with("profile", whose(&self.profile))
    }
}

fn is_region(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

fn is_endpoint(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

fn is_session(text: &str) -> bool {
    (2..=64).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"=,.@-_".contains(&byte))
}
