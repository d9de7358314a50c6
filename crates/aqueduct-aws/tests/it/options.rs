use std::time::Duration;

use aqueduct_aws::AwsOptions;
use aqueduct_core::{ErrorKind, Options};

use crate::scripted::options;

#[test]
fn every_option_is_read() {
    let read = options(&[
        ("region", "eu-west-1"),
        ("profile", "shop"),
        (
            "endpoint",
            "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com",
        ),
        ("role", "arn:aws:iam::123456789012:role/streams"),
        ("role_session", "billing@host-1"),
        ("external_id", "42"),
        ("dual_stack", "false"),
        ("connect_timeout", "1s"),
        ("request_timeout", "30s"),
    ]);
    assert_eq!(read.region.as_deref(), Some("eu-west-1"));
    assert_eq!(read.role_session, "billing@host-1");
    assert_eq!(read.external_id.as_deref(), Some("42"));
    assert_eq!(read.dual_stack, Some(false));
    assert_eq!(read.connect_timeout, Duration::from_secs(1));
    assert_eq!(read.request_timeout, Duration::from_secs(30));
    assert_eq!(options(&[]), AwsOptions::default());
}

#[test]
fn what_cannot_be_is_refused_with_what_was_expected() {
    let role = ("role", "arn:aws:iam::123456789012:role/streams");
    for (given, says) in [
        (vec![("region", "Europe")], "eu-west-1"),
        (vec![("region", "")], "eu-west-1"),
        (vec![("endpoint", "localhost:4566")], "http"),
        (
            vec![("endpoint", "http://user:pw@localhost")],
            "without user",
        ),
        (vec![("endpoint", "ftp://localhost")], "http"),
        (vec![("role", "streams")], "arn:aws:iam"),
        (vec![("role_session", "x")], "2 to 64"),
        (vec![("role_session", "billing")], "needs `role`"),
        (vec![("external_id", "42")], "needs `role`"),
        (vec![role, ("role_session", "a b")], "2 to 64"),
        (vec![("fips", "yes")], "true or false"),
        (vec![("request_timeout", "0s")], "more than 0"),
        (vec![("connect_timeout", "soon")], "200ms"),
        (
            vec![("fips", "true"), ("endpoint", "http://127.0.0.1:1")],
            "endpoint",
        ),
    ] {
        let mut written = Options::new("streams.orders");
        for (name, value) in &given {
            written = written.with(*name, *value);
        }
        let error = AwsOptions::read(&mut written).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        let message = error.message();
        assert!(message.starts_with("streams.orders."), "{message}");
        assert!(message.contains(says), "{given:?}: {message}");
    }
}
