//! References of a group are compared by identity before anything is opened.

use aqueduct::{Client, Environment, ErrorKind};

async fn check(toml: &str) -> Result<(), String> {
    let builder = Client::builder().toml(toml);
    let client = builder.environment(Environment::empty()).build().await;
    client.unwrap().check().map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        error.to_string()
    })
}

async fn refused(toml: &str, parts: &[&str]) {
    let said = check(toml).await.expect_err(toml);
    for part in parts {
        assert!(said.contains(part), "`{part}` is not in: {said}");
    }
}

#[cfg(feature = "sqs")]
#[tokio::test]
async fn dead_letters_to_the_groups_own_queue_are_refused() {
    let own = &[
        "groups.g.dead_letters",
        "the group's own stream",
        "name another",
    ];
    for (stream, dead_letters) in [
        ("sqs://q?region=us-east-1", "q"),
        ("sqs://q?region=us-east-1", "sqs://q?region=us-east-1"),
        (
            "sqs://q?region=us-east-1",
            "sqs:arn:aws:sqs:us-east-1:123456789012:q",
        ),
        // The default region may be that one.
        ("sqs://q", "sqs://q?region=us-east-1"),
        ("sqs:", "sqs://q"),
        ("sqs://x.fifo", "sqs://x?fifo=true"),
    ] {
        let toml = format!(
            "[streams.q]\nurl = \"{stream}\"\n[groups.g]\nstream = \"q\"\ndead_letters = \"{dead_letters}\""
        );
        refused(&toml, own).await;
    }
    for dead_letters in [
        "sqs://q-dead?region=us-east-1",
        "sqs://q?region=eu-west-1",
        "sqs://q?region=us-east-1&role=arn:aws:iam::210987654321:role/x",
    ] {
        let toml = format!(
            "[streams.q]\nurl = \"sqs://q?region=us-east-1\"\n[groups.g]\nstream = \"q\"\n\
             dead_letters = \"{dead_letters}\""
        );
        check(&toml).await.unwrap();
    }
}

#[cfg(all(feature = "sqs", feature = "kinesis"))]
#[tokio::test]
async fn dead_letters_in_a_circle_are_refused() {
    let streams = "[streams.a]\nurl = \"sqs://a\"\n[streams.b]\nurl = \"kinesis://b\"\n\
                   [streams.c]\nurl = \"sqs://c\"\n[stores.leases]\nurl = \"dynamodb://leases?layout=shared\"\n";
    let groups = "[groups.a]\nstream = \"a\"\ndead_letters = \"b\"\n\
                  [groups.b]\nstream = \"b\"\nleases = \"leases\"\ndead_letters = \"c\"\n";
    let line = format!("{streams}{groups}[groups.c]\nstream = \"c\"\non_reject = \"stop\"");
    check(&line).await.unwrap();
    let circle = format!("{streams}{groups}[groups.c]\nstream = \"c\"\ndead_letters = \"a\"");
    let parts = [
        "groups.a.dead_letters",
        "groups.b.dead_letters",
        "group c reads it",
        "circle",
    ];
    refused(&circle, &parts).await;
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn dead_letters_that_are_stored_beside_the_events_may_be_in_the_same_file() {
    let toml =
        "[streams.a]\nurl = \"sqlite:a.db\"\n[groups.g]\nstream = \"a\"\ndead_letters = \"a\"";
    check(toml).await.unwrap();
    let memory = toml.replace("sqlite:a.db", "memory:");
    check(&memory).await.unwrap();
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn the_memory_of_one_process_cannot_serve_a_file() {
    for (key, so) in [
        ("leases", "a restart would start over"),
        ("idempotency", "handle an event again"),
        ("dead_letters", "lost when the process ends"),
    ] {
        let toml = format!(
            "[streams.a]\nurl = \"sqlite:a.db\"\n[groups.g]\nstream = \"a\"\n{key} = \"memory:\"\n"
        );
        let toml = match key {
            "dead_letters" => toml,
            _ => toml + "on_reject = \"stop\"",
        };
        let place = format!("groups.g.{key}");
        refused(&toml, &[&place, "belongs to one process", "stream a", so]).await;
        check(&toml.replace("sqlite:a.db", "memory:"))
            .await
            .unwrap();
    }
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn one_file_has_one_set_of_settings() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let path = folder.path().join("data");
    let path = path.to_str().unwrap();
    for (one, other, parts) in [
        (
            "",
            "sync=normal",
            &[
                "streams.b.sync",
                "normal here and full in streams.a",
                "a.db",
                "the same in both",
            ][..],
        ),
        ("wal_limit=2MiB", "", &["streams.b.wal_limit"]),
        ("", "busy_timeout=1s", &["streams.b.busy_timeout"]),
        (
            "",
            "dead_letter_retention=1d",
            &["streams.b.dead_letter_retention", "for ever in streams.a"],
        ),
    ] {
        let toml = format!(
            "[streams.a]\nurl = \"sqlite:{path}/a.db?{one}\"\n\
             [streams.b]\nurl = \"sqlite:{path}/../data/./a.db?{other}\""
        );
        refused(&toml, parts).await;
        check(&toml.replace("./a.db", "./b.db")).await.unwrap();
    }
}

#[cfg(all(feature = "kinesis", feature = "dynamodb"))]
#[tokio::test]
async fn a_lease_table_of_one_application_serves_one_group() {
    let toml = "[streams.a]\nurl = \"kinesis://a\"\n[streams.b]\nurl = \"kinesis://b\"\n\
                [groups.g]\nstream = \"a\"\nleases = \"dynamodb://leases\"\non_reject = \"stop\"\n\
                [groups.h]\nstream = \"b\"\nleases = \"dynamodb://leases\"\non_reject = \"stop\"\n";
    refused(
        toml,
        &["groups.g.leases", "group h names it too", "groups.h.leases"],
    )
    .await;
    check(&toml.replace("://leases\"", "://leases?layout=shared\""))
        .await
        .unwrap();
    let several = toml.replace(
        "\"dynamodb://leases\"\non_reject = \"stop\"\n[groups.h]",
        "\"dynamodb://other\"\non_reject = \"stop\"\n[groups.h]",
    );
    check(&several).await.unwrap();
    refused(
        &several.replace("stream = \"a\"", "stream = [\"a\", \"b\"]"),
        &["groups.g.leases", "reads 2"],
    )
    .await;
}

#[tokio::test]
async fn a_group_without_a_place_for_rejected_events_is_refused() {
    let toml = "[streams.a]\nurl = \"memory:\"\n[groups.g]\nstream = \"a\"";
    refused(
        toml,
        &["groups.g.on_reject", "dead_letters", "\"stop\" or \"drop\""],
    )
    .await;
}

#[tokio::test]
async fn a_source_that_identifies_nothing_is_refused() {
    for source in ["  ", "\\t", "my shop", "/shop\\n"] {
        for toml in [
            format!("[client]\nsource = \"{source}\""),
            format!("[streams.a]\nurl = \"memory:\"\nproducer = {{ source = \"{source}\" }}"),
        ] {
            let builder = Client::builder()
                .toml(&toml)
                .environment(Environment::empty());
            let error = builder.build().await.expect_err(&toml);
            assert_eq!(error.kind(), ErrorKind::Config);
            let said = error.to_string();
            assert!(
                said.contains("source = ") && said.contains("URI reference"),
                "{said}"
            );
        }
    }
}
