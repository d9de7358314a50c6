//! A secret in any place of a URL is in no error, whichever backend makes it.

use aqueduct::{Client, Environment, Error};

const SECRET: &str = "Hunter2-value";
const LINE: &str = "Line-End-Secret";

/// Each place of a URL, with text that a backend may refuse there.
fn places(scheme: &str, secret: &str) -> Vec<String> {
    vec![
        format!("{scheme}://user:{secret}@host/x.db"),
        format!("{scheme}://{secret}@host/x.db"),
        format!("{scheme}://{secret}:pass@host"),
        format!("{scheme}://{secret}"),
        format!("{scheme}://{secret}/x/y"),
        format!("{scheme}://host:{secret}/x"),
        format!("{scheme}:{secret}"),
        format!("{scheme}:{secret}/"),
        format!("{scheme}:/{secret}/:memory:"),
        format!("{scheme}://host/{secret}?colour=red"),
        format!("{scheme}://host?sync={secret}"),
        format!("{scheme}://host?region={secret}&partitions={secret}&create={secret}"),
        format!("{scheme}:x?endpoint=http://user:{secret}@host/"),
        format!("{scheme}:x?retention={secret}"),
        format!("{scheme}:x#{secret}"),
        format!("{scheme}:arn:aws:{scheme}:{secret}:1:x"),
        format!("{scheme}:%zz{secret}"),
    ]
}

async fn errors(toml: &str, environment: &Environment) -> Option<Error> {
    let folder = tempfile::tempdir().unwrap();
    let builder = Client::builder()
        .toml(toml)
        .environment(environment.clone());
    let client = match builder.folder(folder.path()).build().await {
        Ok(client) => client,
        Err(error) => return Some(error),
    };
    client.check().err()
}

#[tokio::test]
async fn no_backend_prints_a_secret_that_came_from_a_variable() {
    let environment = Environment::from_iter([
        ("TOKEN", SECRET.to_owned()),
        ("ENCODED", "Hunter2-value".replace('-', "%2D")),
        ("NEWLINE", format!("{LINE}\n")),
    ]);
    let mut refused = 0;
    for scheme in [
        "memory",
        "sqlite",
        "kinesis",
        "sqs",
        "pubsub",
        "dynamodb",
        "az",
        "s3",
        "file",
        "kafka",
        "eventhubs",
        "k",
    ] {
        for reference in [
            "${TOKEN}",
            "x${TOKEN}y",
            "${ENCODED}",
            "${NEWLINE}",
            "a%20${TOKEN}",
        ] {
            for url in places(scheme, reference) {
                for toml in [
                    format!("[streams.a]\nurl = \"{url}\""),
                    format!(
                        "[streams.b]\nurl = \"memory:\"\n[groups.g]\nstream = \"b\"\ndead_letters = \"{url}\""
                    ),
                ] {
                    let Some(error) = errors(&toml, &environment).await else {
                        continue;
                    };
                    refused += 1;
                    let said = format!("{error} {error:?} {error:#?}").to_ascii_lowercase();
                    for secret in ["hunter2", "line-end"] {
                        assert!(!said.contains(secret), "{url}: {said}");
                    }
                }
            }
        }
    }
    assert!(refused > 500, "only {refused} of them were refused");
}

#[tokio::test]
async fn no_backend_prints_user_info_or_a_fragment_that_was_written_out() {
    let none = Environment::empty();
    for scheme in [
        "memory",
        "sqlite",
        "kinesis",
        "sqs",
        "pubsub",
        "dynamodb",
        "az",
        "s3",
        "file",
        "kafka",
        "eventhubs",
    ] {
        for url in [
            format!("{scheme}://user:hunter2@host/x.db"),
            format!("{scheme}://hunter2@host/x.db"),
            format!("{scheme}://user:hunter2@host:99999/x"),
            format!("{scheme}://user:hunter2@host?colour=red"),
            format!("{scheme}:x#sas=hunter2"),
            format!("{scheme}://host/;SharedAccessKey=hunter2"),
        ] {
            let toml = format!("[streams.a]\nurl = \"{url}\"");
            let error = errors(&toml, &none).await.expect(&url);
            let said = format!("{error} {error:?}");
            assert!(!said.contains("hunter2"), "{url}: {said}");
        }
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_text_of_the_configuration_is_printed_instead() {
    let environment = Environment::from_iter([("TOK", SECRET)]);
    let toml = "[streams.a]\nurl = \"sqlite://${USER_NAME}:${TOK}@host/x.db\"";
    let error = errors(toml, &environment).await.unwrap().to_string();
    assert!(error.contains("no variable USER_NAME"), "{error}");
    let toml = "[streams.a]\nurl = \"sqlite://${TOK}:${TOK}@host/x.db\"";
    let error = errors(toml, &environment).await.unwrap().to_string();
    assert!(
        error.contains(
            "line 2: streams.a.url = \"sqlite://${TOK}:${TOK}@host/x.db\": a file has no host"
        ),
        "{error}"
    );
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn what_follows_a_number_sign_is_not_cut_off() {
    let none = Environment::empty();
    for url in [
        "sqlite:data/orders#1.db",
        "sqlite:my#data/x.db",
        "sqlite:/tmp/a#b.db",
    ] {
        let toml = format!("[streams.a]\nurl = \"{url}\"");
        let error = errors(&toml, &none).await.expect(url).to_string();
        assert!(
            error.contains("streams.a.url") && error.contains("%23"),
            "{error}"
        );
    }
    let error = errors("[streams.a]\nurl = \"sqlite::memory:\"", &none)
        .await
        .unwrap();
    assert!(error.to_string().contains("write memory:"), "{error}");
}

#[tokio::test]
async fn a_line_end_behind_a_variable_is_dropped_everywhere_and_refused_within() {
    let environment = Environment::from_iter([
        ("URL", "memory:a\n"),
        ("REGION", "eu-west-1\r\n"),
        ("SOURCE", "/shop\n"),
        ("AQUEDUCT__STREAMS__B__PARTITIONS", "2\n"),
    ]);
    let toml = "[client]\nsource = \"${SOURCE}\"\n[streams.a]\nurl = \"${URL}\"\n[streams.b]\nurl = \"memory:\"\n\
                [stores.c]\nurl = \"dynamodb://leases?region=${REGION}\"";
    let builder = Client::builder()
        .toml(toml)
        .environment(environment.clone());
    builder.build().await.unwrap();
    let environment = Environment::from_iter([("WITHIN", "or\nders")]);
    let toml = "[streams.a]\nurl = \"memory:${WITHIN}\"";
    let error = errors(toml, &environment).await.unwrap();
    assert!(error.to_string().contains("control character"), "{error}");
}
