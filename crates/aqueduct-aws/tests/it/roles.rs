use aqueduct_core::{Effect, ErrorKind};

use crate::alone::alone;
use crate::scripted::{Request, Response, Scripted, ask};

const ROLE: &str = "arn:aws:iam::123456789012:role/streams";
const KEYS: [(&str, &str); 2] = [
    ("AWS_ACCESS_KEY_ID", "AKIDENV"),
    ("AWS_SECRET_ACCESS_KEY", "secret-of-env"),
];

/// STS hands out the role, and Kinesis responds.
fn serve(request: &Request) -> Response {
    match request.host().starts_with("sts.") {
        true => Some((
            200,
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\
             <AssumeRoleResult><Credentials><AccessKeyId>ASIAROLE</AccessKeyId>\
             <SecretAccessKey>secret-of-role</SecretAccessKey>\
             <SessionToken>token-of-role</SessionToken>\
             <Expiration>2199-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult>\
             </AssumeRoleResponse>"
                .into(),
        )),
        false => Some((200, r#"{"StreamNames":[],"HasMoreStreams":false}"#.into())),
    }
}

#[test]
fn a_role_is_assumed_once_and_signs_the_requests() {
    alone(
        "roles::a_role_is_assumed_once_and_signs_the_requests",
        &KEYS,
        || async {
            let http = Scripted::new(serve);
            let aws = http.aws();
            let given = [
                ("region", "eu-west-1"),
                ("role", ROLE),
                ("role_session", "billing"),
                ("external_id", "42"),
                // The role's service is not there.
                ("endpoint", "http://127.0.0.1:4566"),
            ];
            ask(&aws, &given).await.unwrap();
            ask(&aws, &given).await.unwrap();
            let [assumed, first, second] = &http.requests()[..] else {
                panic!("{:?}", http.requests());
            };
            assert_eq!(assumed.host(), "sts.eu-west-1.amazonaws.com");
            assert!(assumed.is_signed_by("AKIDENV"));
            for part in [
                "Action=AssumeRole",
                "RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fstreams",
                "RoleSessionName=billing",
                "ExternalId=42",
            ] {
                assert!(assumed.body.contains(part), "{}", assumed.body);
            }
            for request in [first, second] {
                assert_eq!(request.host(), "127.0.0.1:4566");
                assert!(request.is_signed_by("ASIAROLE"), "{request:?}");
                assert_eq!(request.token, "token-of-role");
            }
        },
    );
}

#[test]
fn a_role_that_may_not_be_assumed_is_denied_and_named() {
    alone(
        "roles::a_role_that_may_not_be_assumed_is_denied_and_named",
        &KEYS,
        || async {
            let http = Scripted::new(|_| {
                Some((
                    403,
                    "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code>\
                     <Message>not authorized to perform: sts:AssumeRole on that role</Message>\
                     </Error></ErrorResponse>"
                        .into(),
                ))
            });
            let given = [("region", "eu-west-1"), ("role", ROLE)];
            let error = ask(&http.aws(), &given).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Denied, "{error}");
            assert_eq!(error.effect(), Effect::None);
            let message = error.message();
            assert!(message.contains("sts:AssumeRole"), "{message}");
        },
    );
}

#[test]
fn a_token_service_that_is_away_is_unavailable_and_nothing_was_sent() {
    alone(
        "roles::a_token_service_that_is_away_is_unavailable_and_nothing_was_sent",
        &KEYS,
        || async {
            let http = Scripted::new(|_| None);
            let given = [("region", "eu-west-1"), ("role", ROLE)];
            let error = ask(&http.aws(), &given).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            assert_eq!(error.effect(), Effect::None);
            assert!(
                error
                    .message()
                    .contains("https://sts.eu-west-1.amazonaws.com"),
                "{error}"
            );
        },
    );
}
