//! Where a configuration comes from, and what overrides what.

use aqueduct::{Capability, Client, Environment, Event, StreamSpec};

async fn partitions(client: &Client, stream: &str) -> usize {
    let admin = client.admin(stream).await.unwrap();
    admin.create(&StreamSpec::default()).await.unwrap();
    admin.describe().await.unwrap().partitions.len()
}

#[tokio::test]
async fn the_environment_overrides_code_and_code_the_text() {
    let toml = "[streams.\"big.orders\"]\nurl = \"memory:\"\npartitions = 2";
    let key = "streams.\"big.orders\".partitions";
    let text = Client::builder()
        .toml(toml)
        .environment(Environment::empty());
    assert_eq!(
        partitions(&text.build().await.unwrap(), "big.orders").await,
        2
    );
    let code = Client::builder()
        .toml(toml)
        .set(key, "3")
        .environment(Environment::empty());
    assert_eq!(
        partitions(&code.build().await.unwrap(), "big.orders").await,
        3
    );
    let variables = [("AQUEDUCT__STREAMS__BIG_ORDERS__PARTITIONS", "5")];
    let all = Client::builder()
        .toml(toml)
        .set(key, "3")
        .environment(Environment::from_iter(variables));
    assert_eq!(
        partitions(&all.build().await.unwrap(), "big.orders").await,
        5
    );
}

#[tokio::test]
async fn query_and_table_are_one_set_and_text_is_a_number() {
    for toml in [
        "url = \"memory:?partitions=3\"",
        "url = \"memory:\"\npartitions = 3",
        "url = \"memory:\"\npartitions = \"3\"",
        "url = \"memory:?partitions=3\"\npartitions = \"3\"",
        "url = \"memory:?partitions=${THREE}\"",
        "url = \"${URL}\"",
    ] {
        let environment = Environment::from_iter([("THREE", "3"), ("URL", "memory:?partitions=3")]);
        let builder = Client::builder().toml(format!("[streams.a]\n{toml}"));
        let client = builder.environment(environment).build().await.unwrap();
        assert_eq!(partitions(&client, "a").await, 3, "{toml}");
    }
}

#[tokio::test]
async fn names_in_the_environment_ignore_case_and_punctuation() {
    let toml = "[streams.a]\nurl = \"memory:\"\n[groups.my__group-1]\nstream = \"a\"\nrequires = \"key_order\"";
    let variables = [
        ("AQUEDUCT__GROUPS__MY__GROUP_1__REQUIRES", "replay, durable"),
        ("AQUEDUCT__GROUPS__MY__GROUP_1__REDELIVERY__ATTEMPTS", "2"),
        ("AQUEDUCT__CLIENT__SOURCE", "/shop"),
    ];
    let builder = Client::builder()
        .toml(toml)
        .environment(Environment::from_iter(variables));
    let client = builder.build().await.unwrap();
    let error = client.check().unwrap_err().to_string();
    assert!(
        error.contains("durable") && !error.contains("replay\""),
        "{error}"
    );
    let producer = client.producer("a").await.unwrap();
    producer.send(Event::new("x")).await.unwrap();
    assert!(producer.capabilities().claims.has(Capability::KeyOrder));
}

#[tokio::test]
async fn references_are_expanded_and_escapes_are_not() {
    let toml = "[client]\nsource = \"/${SHOP}/$${web}\"\n[streams.a]\nurl = \"memory:\"";
    let environment = Environment::from_iter([("SHOP", "${X}")]);
    let builder = Client::builder().toml(toml).environment(environment);
    let client = builder.build().await.unwrap();
    client
        .producer("a")
        .await
        .unwrap()
        .send(Event::new("x"))
        .await
        .unwrap();
    let mut reader = client.reader("a", aqueduct::Start::Earliest).await.unwrap();
    let read = reader.next().await.unwrap().unwrap();
    assert_eq!(read.event.source(), "/${X}/${web}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn relative_paths_start_at_the_configuration_file() {
    let folder = tempfile::tempdir().unwrap();
    let odd = folder.path().join("a #1? 100%");
    std::fs::create_dir(&odd).unwrap();
    let file = odd.join("shop.toml");
    std::fs::write(
        &file,
        "[streams.a]\nurl = \"sqlite:data/a.db\"\n[client]\nsource = \"/s\"",
    )
    .unwrap();
    let client = Client::from_file(&file).await.unwrap();
    client
        .producer("a")
        .await
        .unwrap()
        .send(Event::new("x"))
        .await
        .unwrap();
    client.close().await.unwrap();
    assert!(odd.join("data/a.db").is_file());
}

#[tokio::test]
async fn a_streams_handle_is_opened_once_and_shared() {
    let toml = "[client]\nsource = \"/s\"\n[streams.a]\nurl = \"memory:\"";
    let builder = Client::builder()
        .toml(toml)
        .environment(Environment::empty());
    let client = builder.build().await.unwrap();
    let (one, other) = (
        client.producer("a").await.unwrap(),
        client.producer("a").await.unwrap(),
    );
    one.send(Event::new("x")).await.unwrap();
    client.close().await.unwrap();
    client.close().await.unwrap();
    assert!(
        other.send(Event::new("x")).await.is_err(),
        "both are the one that was closed"
    );
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn whether_what_is_missing_is_made_reaches_the_urls_of_groups() {
    let folder = tempfile::tempdir().unwrap();
    for (create, url, made) in [
        ("never", "sqlite:a.db", false),
        ("never", "sqlite:b.db?create=missing", true),
        ("missing", "sqlite:c.db", true),
        ("missing", "sqlite:d.db?create=never", false),
    ] {
        let toml = format!(
            "[client]\ncreate = \"{create}\"\n[streams.orders]\nurl = \"memory:\"\n\
             [groups.billing]\nstream = \"orders\"\ndead_letters = \"{url}\""
        );
        let client = Client::builder()
            .toml(toml)
            .folder(folder.path())
            .environment(Environment::empty())
            .build()
            .await
            .unwrap();
        let opened = client.dead_letters("billing").await.map(drop);
        match made {
            true => opened.unwrap(),
            false => {
                let error = opened.unwrap_err();
                assert_eq!(
                    error.kind(),
                    aqueduct::ErrorKind::NotFound,
                    "{url}: {error}"
                );
            }
        }
    }
}
