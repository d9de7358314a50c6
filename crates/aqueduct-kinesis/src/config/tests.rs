use aqueduct_core::ErrorKind;

use super::*;

fn parse(url: &str) -> Result<Config> {
    let url = Url::parse(url).unwrap();
    Config::parse("orders", &url, Options::new("streams.orders"))
}

#[test]
fn a_url_names_the_stream_by_its_name_or_its_arn() {
    let plain = parse("kinesis://Orders_1.eu-a?region=eu-west-1").unwrap();
    assert_eq!(plain.stream.as_str(), "Orders_1.eu-a");
    assert_eq!(plain.arn, None);
    assert_eq!(plain.aws.region.as_deref(), Some("eu-west-1"));
    assert_eq!(plain.create, None);
    assert_eq!(plain.encoding, Encoding::CloudEventsJson);
    assert_eq!(plain.publishing, Publishing::default());
    assert_eq!(parse("kinesis://").unwrap().stream.as_str(), "orders");
    assert_eq!(parse("kinesis:").unwrap().stream.as_str(), "orders");
    assert_eq!(parse("kinesis://a%2Db").unwrap().stream.as_str(), "a-b");

    let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/paid";
    let named = parse(&format!("kinesis:{arn}")).unwrap();
    assert_eq!(named.stream.as_str(), "paid");
    assert_eq!(named.arn.as_deref(), Some(arn));
    assert_eq!(named.aws.region.as_deref(), Some("cn-north-1"));
    let elsewhere = parse(&format!("kinesis:{arn}?region=cn-northwest-1")).unwrap();
    assert_eq!(elsewhere.aws.region.as_deref(), Some("cn-northwest-1"));
}

#[test]
fn options_are_read() {
    let config = parse(
        "kinesis://orders?create=missing&partitions=3&retention=48h&encoding=raw&aggregation=on\
         &aggregation_bytes=64KiB&request_bytes=10MiB&max_record_bytes=10MiB&rate_limit=off\
         &shards_refresh=5m",
    )
    .unwrap();
    let creation = Creation {
        partitions: Some(3),
        retention: Some(Duration::from_secs(48 * 3600)),
    };
    assert_eq!(config.create, Some(creation));
    assert_eq!(config.encoding, Encoding::Raw);
    let publishing = Publishing {
        aggregation: Aggregation::On,
        aggregation_bytes: 64 << 10,
        request_bytes: 10 << 20,
        max_record_bytes: Some(10 << 20),
        rate_limit: false,
        shards_refresh: Duration::from_secs(300),
    };
    assert_eq!(config.publishing, publishing);
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    for (url, expected) in [
        ("kinesis://user@orders", "no user"),
        ("kinesis://orders:80", "port"),
        ("kinesis://orders/other", "kinesis://STREAM"),
        ("kinesis://orders#x", "fragment"),
        ("kinesis://or%20ders", "invalid stream name"),
        (
            "kinesis:arn:aws:sqs:eu-west-1:123456789012:orders",
            "not the ARN of a stream",
        ),
        (
            "kinesis:arn:aws:kinesis:eu-west-1:12:stream/orders",
            "not the ARN of a stream",
        ),
        (
            "kinesis:arn:aws:kinesis::123456789012:stream/orders",
            "not the ARN of a stream",
        ),
        (
            "kinesis:arn:aws:kinesis:eu-west-1:123456789012:table/orders",
            "not the ARN of a stream",
        ),
        (
            "kinesis:arn:aws:kinesis:eu-west-1:123456789012:stream/o*",
            "invalid stream name",
        ),
        ("kinesis://orders?create=always", "missing, never"),
        ("kinesis://orders?partitions=3", "create = \"missing\""),
        ("kinesis://orders?retention=48h", "create = \"missing\""),
        ("kinesis://orders?create=missing&partitions=0", "from 1"),
        ("kinesis://orders?create=missing&retention=1h", "from 24h"),
        ("kinesis://orders?encoding=json", "cloudevents-json"),
        ("kinesis://orders?aggregation=yes", "auto, on, off"),
        (
            "kinesis://orders?aggregation_bytes=1KiB",
            "from 4KiB to 10MiB",
        ),
        (
            "kinesis://orders?request_bytes=11MiB",
            "from 64KiB to 10MiB",
        ),
        ("kinesis://orders?max_record_bytes=0", "from 4KiB to 10MiB"),
        ("kinesis://orders?rate_limit=fast", "auto, off"),
        ("kinesis://orders?shards_refresh=1ms", "at least 1s"),
        ("kinesis://orders?region=Europe", "eu-west-1"),
        (
            "kinesis://orders?colour=red",
            "valid: aggregation, aggregation_bytes",
        ),
    ] {
        let error = parse(url).expect_err(url);
        assert_eq!(error.kind(), ErrorKind::Config, "{url}");
        let said = error.to_string();
        assert!(
            said.contains("streams.orders") && said.contains(expected),
            "{url}: {said}"
        );
    }
    let long = format!("kinesis://{}", "a".repeat(129));
    assert!(parse(&long).is_err());
}
