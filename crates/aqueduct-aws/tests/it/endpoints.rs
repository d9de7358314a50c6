use crate::alone::{alone, write_profile};
use crate::scripted::{Scripted, ask};

const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENV"),
    ("AWS_SECRET_ACCESS_KEY", "secret-of-env"),
];

fn with_keys<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    KEYS.iter().chain(more).copied().collect()
}

async fn host(given: &[(&'static str, &str)]) -> String {
    let http = Scripted::ok();
    ask(&http.aws(), given).await.unwrap();
    http.last().host().to_owned()
}

#[test]
fn each_option_names_its_endpoint() {
    alone(
        "endpoints::each_option_names_its_endpoint",
        &KEYS,
        || async {
            let region = ("region", "eu-west-1");
            for (given, expected) in [
                (vec![region], "kinesis.eu-west-1.amazonaws.com"),
                (
                    vec![("region", "us-east-1"), ("fips", "true")],
                    "kinesis-fips.us-east-1.amazonaws.com",
                ),
                (
                    vec![region, ("dual_stack", "true")],
                    "kinesis.eu-west-1.api.aws",
                ),
                (
                    vec![region, ("endpoint", "http://127.0.0.1:4566")],
                    "127.0.0.1:4566",
                ),
                (
                    vec![("region", "cn-north-1")],
                    "kinesis.cn-north-1.amazonaws.com.cn",
                ),
            ] {
                assert_eq!(host(&given).await, expected, "{given:?}");
            }
        },
    );
}

#[test]
fn the_environment_names_region_and_endpoint() {
    let variables = with_keys(&[
        ("AWS_REGION", "eu-north-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
    ]);
    alone(
        "endpoints::the_environment_names_region_and_endpoint",
        &variables,
        || async {
            let http = Scripted::ok();
            ask(&http.aws(), &[]).await.unwrap();
            assert_eq!(http.last().host(), "127.0.0.1:1");
            let signed = http.last().authorization;
            assert!(signed.contains("/eu-north-1/kinesis/"), "{signed}");
        },
    );
}

#[test]
fn a_service_has_an_endpoint_of_its_own_and_the_option_goes_first() {
    let variables = with_keys(&[
        ("AWS_REGION", "eu-north-1"),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_KINESIS", "http://127.0.0.1:2"),
    ]);
    alone(
        "endpoints::a_service_has_an_endpoint_of_its_own_and_the_option_goes_first",
        &variables,
        || async {
            assert_eq!(host(&[]).await, "127.0.0.1:2");
            let endpoint = ("endpoint", "http://127.0.0.1:3");
            assert_eq!(host(&[endpoint]).await, "127.0.0.1:3");
        },
    );
}

#[test]
fn a_profile_gives_region_credentials_and_endpoint() {
    alone(
        "endpoints::a_profile_gives_region_credentials_and_endpoint",
        &[],
        || async {
            write_profile(
                "config",
                "[default]\nregion = eu-west-1\n\
                 [profile shop]\nregion = eu-central-1\nuse_dualstack_endpoint = true\n",
            );
            write_profile(
                "credentials",
                "[default]\naws_access_key_id = AKIDDEFAULT\naws_secret_access_key = x\n\
                 [shop]\naws_access_key_id = AKIDSHOP\naws_secret_access_key = y\n",
            );
            for (given, expected, key) in [
                (vec![], "kinesis.eu-west-1.amazonaws.com", "AKIDDEFAULT"),
                (
                    vec![("profile", "shop")],
                    "kinesis.eu-central-1.api.aws",
                    "AKIDSHOP",
                ),
                (
                    vec![("profile", "shop"), ("region", "eu-west-3")],
                    "kinesis.eu-west-3.api.aws",
                    "AKIDSHOP",
                ),
            ] {
                let http = Scripted::ok();
                ask(&http.aws(), &given).await.unwrap();
                assert_eq!(http.last().host(), expected, "{given:?}");
                assert!(http.last().is_signed_by(key), "{:?}", http.last());
            }
        },
    );
}

#[test]
fn without_a_region_it_says_where_to_set_one() {
    alone(
        "endpoints::without_a_region_it_says_where_to_set_one",
        &KEYS,
        || async {
            let http = Scripted::ok();
            let error = ask(&http.aws(), &[]).await.unwrap_err();
            assert_eq!(error.kind(), aqueduct_core::ErrorKind::Config);
            assert!(error.message().contains("AWS_REGION"), "{error}");
            assert!(http.requests().is_empty());
        },
    );
}

#[test]
fn clients_of_one_set_of_options_share_one_configuration() {
    alone(
        "endpoints::clients_of_one_set_of_options_share_one_configuration",
        &KEYS,
        || async {
            let aws = Scripted::ok().aws();
            let options = crate::scripted::options(&[("region", "eu-west-1")]);
            let first = aws.config(&options).await.unwrap();
            let second = aws.clone().config(&options).await.unwrap();
            let provider =
                |config: &aqueduct_aws::SdkConfig| format!("{:?}", config.credentials_provider());
            assert_eq!(provider(&first), provider(&second));
            assert_eq!(first.region(), second.region());
            let attempts = first.retry_config().map(|retry| retry.max_attempts());
            assert_eq!(attempts, Some(1));
        },
    );
}
