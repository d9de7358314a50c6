use aqueduct_core::{OptionDoc, OptionTable};

use crate::AwsOptions;

impl AwsOptions {
    /// The documentation of these options.
    pub const TABLE: OptionTable = OptionTable::new("aws", ROWS);
}

/// The rows of the table, as the README has them.
const ROWS: &[OptionDoc] = &[
    OptionDoc::new(
        &["region"],
        "`AWS_REGION`, the profile's, the instance's",
        "the region, such as `eu-west-1`",
    ),
    OptionDoc::new(
        &["profile"],
        "`AWS_PROFILE`, else `default`",
        "the profile of `~/.aws/config` and `~/.aws/credentials`",
    ),
    OptionDoc::new(
        &["endpoint"],
        "`AWS_ENDPOINT_URL_KINESIS` (`_SQS`, `_DYNAMODB`), `AWS_ENDPOINT_URL`, the profile's, the region's",
        "the URL of the service: an emulator, a private endpoint",
    ),
    OptionDoc::new(&["role"], "none", "the ARN of a role to assume"),
    OptionDoc::new(
        &["role_session"],
        "`aqueduct`",
        "the name of its session, as CloudTrail shows it",
    ),
    OptionDoc::new(
        &["external_id"],
        "none",
        "what the role's trust policy asks for",
    ),
    OptionDoc::new(
        &["fips"],
        "`AWS_USE_FIPS_ENDPOINT`, the profile's",
        "endpoints with validated cryptography; not with `endpoint`",
    ),
    OptionDoc::new(
        &["dual_stack"],
        "`AWS_USE_DUALSTACK_ENDPOINT`, the profile's",
        "endpoints that are reachable over IPv6 too",
    ),
    OptionDoc::new(
        &["connect_timeout"],
        "3.1 s: one lost packet and its repetition",
        "how long a connection may take",
    ),
    OptionDoc::new(
        &["request_timeout"],
        "10 s: 10 MiB take 1 s at 80 Mbit/s",
        "how long one request may take",
    ),
    OptionDoc::new(
        &["read_timeout"],
        "half of `request_timeout`",
        "how long a connection may be silent while a request waits on it; it is then given up",
    ),
    OptionDoc::new(
        &["ca_file"],
        "`AWS_CA_BUNDLE`, else the system's",
        "a PEM file of the certificates to trust: a private endpoint, a proxy that inspects TLS",
    ),
];
