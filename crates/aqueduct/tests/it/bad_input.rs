//! Every wrong configuration is a typed error that names the key, the text as written and the valid
//! choices, and never a secret.

use aqueduct::{Client, Environment, ErrorKind, Event};

const SECRET: &str = "hunter2";

/// A good configuration, with a line more.
fn with(more: &str) -> String {
    format!("[streams.orders]\nurl = \"memory:\"\n[streams.orders-dlq]\nurl = \"memory:\"\n{more}")
}

fn billing(more: &str) -> String {
    with(&format!("[groups.billing]\nstream = \"orders\"\n{more}"))
}

fn environment() -> Environment {
    Environment::from_iter([
        ("SAS_KEY", SECRET),
        ("BASE", "k://me:hunter2@host/x?a=hunter2"),
    ])
}

async fn load(toml: &str, environment: Environment) -> aqueduct::Result<Client> {
    let builder = Client::builder().toml(toml).environment(environment);
    let client = builder.build().await?;
    client.check()?;
    Ok(client)
}

async fn refusal(toml: &str) -> String {
    let error = match load(toml, environment()).await {
        Ok(_) => panic!("accepted:\n{toml}"),
        Err(error) => error,
    };
    assert!(
        matches!(error.kind(), ErrorKind::Config | ErrorKind::Unsupported),
        "{error:?}"
    );
    let said = format!("{error} {error:?}");
    assert!(!said.contains(SECRET), "{said}");
    error.to_string()
}

#[tokio::test]
async fn the_base_of_these_tests_is_good() {
    load(&billing("on_reject = \"stop\""), environment())
        .await
        .unwrap();
}

#[tokio::test]
async fn errors_name_the_key_the_text_and_the_choices() {
    let cases: &[(String, &[&str])] = &[
        // Schemes and URLs.
        (
            "[streams.a]\nurl = \"kafka://a\"".into(),
            &["line 2", "streams.a.url = \"kafka://a\"", "no backend has the scheme `kafka`", "compiled in: "],
        ),
        (
            "[streams.a]\nurl = \"orders\"".into(),
            &["streams.a.url = \"orders\"", "not a URL", "sqlite:data/orders.db"],
        ),
        ("[streams.a]\nurl = 5".into(), &["streams.a.url = \"5\"", "not a URL"]),
        ("[streams.a]".into(), &["streams.a.url: it is missing"]),
        (
            "[streams.a]\nurl = \"memory://x/y\"".into(),
            &["streams.a.url", "memory:STREAM"],
        ),
        // Secrets.
        (
            "[streams.a]\nurl = \"kafka://me:hunter2@host/x?sas=hunter2\"".into(),
            &["kafka://***@host/x?sas=***"],
        ),
        (
            "[streams.a]\nurl = \"kafka://host/x?sas=${SAS_KEY}\"".into(),
            &["kafka://host/x?sas=${SAS_KEY}"],
        ),
        ("[streams.a]\nurl = \"${BASE}\"".into(), &["streams.a.url = \"${BASE}\"", "`k`"]),
        (
            "[streams.a]\nurl = \"memory:\"\npartitions = \"${SAS_KEY}\"".into(),
            &["streams.a.partitions = \"${SAS_KEY}\"", "a whole number from 1"],
        ),
        (
            "[streams.a]\nurl = \"memory:\"\nsas_key = \"hunter2\"".into(),
            &["streams.a.sas_key: no such option"],
        ),
        (
            "[streams.a]\nurl = \"Endpoint=sb://ns/;SharedAccessKey=hunter2\"".into(),
            &["streams.a.url = \"Endpoint=sb://ns/;SharedAccessKey=***\"", "not a URL"],
        ),
        (
            "[streams.a]\nurl = \"kafka://host/x;SharedAccessKey=hunter2#sas=hunter2\"".into(),
            &["kafka://host/x;SharedAccessKey=***"],
        ),
        (
            billing("dead_letters = \"Endpoint=sb://ns/;SharedAccessKey=hunter2\""),
            &["groups.billing.dead_letters", "SharedAccessKey=***"],
        ),
        ("[streams.a]\nurl = \"hunter2@host\"".into(), &["***@host"]),
        ("[streams.a\nurl = \"hunter2\"".into(), &["line 1", "not TOML"]),
        // References.
        (
            "[streams.a]\nurl = \"memory:${NOPE}\"".into(),
            &["streams.a.url = \"memory:${NOPE}\"", "no variable NOPE"],
        ),
        ("[streams.a]\nurl = \"memory:${NOPE\"".into(), &["streams.a.url", "written ${NAME}"]),
        (
            billing("handlers = \"${NOPE}\""),
            &["groups.billing.handlers = \"${NOPE}\"", "no variable NOPE"],
        ),
        // Unknown tables and keys.
        ("[stream.a]\nurl = \"memory:\"".into(), &["stream: no such table", "client, groups, layers, pipelines, routes, stores, streams"]),
        ("streams = 5".into(), &["streams: expected a table"]),
        ("[streams]\norders = \"memory:\"".into(), &["streams.orders: expected a table, found a single value"]),
        ("[client]\ncolour = \"red\"".into(), &["client.colour: no such option", "valid: create, layers, receive_bytes, source"]),
        (
            "[streams.a]\nurl = \"memory:\"\ncolour = \"red\"".into(),
            &["streams.a.colour: no such option", "partitions", "producer", "url"],
        ),
        (
            "[streams.a]\nurl = \"memory:?colour=red\"".into(),
            &["streams.a.colour: no such option"],
        ),
        (
            "[streams.a]\nurl = \"memory:\"\nproducer = { lingr = \"1ms\" }".into(),
            &["streams.a.producer.lingr: no such option", "linger"],
        ),
        (billing("colour = \"red\""), &["groups.billing.colour: no such option", "concurrency", "requires"]),
        (billing("colour = [\"red\"]"), &["groups.billing.colour: no such option", "concurrency"]),
        (
            billing("redelivery = { tries = 5 }"),
            &["groups.billing.redelivery.tries: no such option", "attempts, first, max"],
        ),
        // Types.
        (billing("concurrency = \"many\""), &["groups.billing.concurrency = \"many\"", "a whole number from 1 to 65536"]),
        (billing("concurrency = -1"), &["groups.billing.concurrency = \"-1\""]),
        (billing("concurrency = 1.5"), &["groups.billing.concurrency = \"1.5\""]),
        (billing("concurrency = [1]"), &["groups.billing.concurrency: expected a single value, found a list"]),
        (billing("concurrency = { a = 1 }"), &["groups.billing.concurrency: expected a single value, found a table"]),
        (billing("unhandled = \"perhaps\""), &["groups.billing.unhandled = \"perhaps\"", "ack, reject"]),
        (billing("redelivery = 5"), &["groups.billing.redelivery: expected a table"]),
        (billing("timeout = \"5 weeks\""), &["groups.billing.timeout = \"5 weeks\"", "200ms, 30s"]),
        (billing("requires = [[\"a\"]]"), &["requires: a list holds single values"]),
        (billing("on_gap = \"skip\""), &["groups.billing.on_gap = \"skip\"", "fail, earliest, latest"]),
        (billing("start = \"yesterday\""), &["groups.billing.start = \"yesterday\"", "earliest, latest"]),
        // Zero and contradictory limits.
        (billing("concurrency = 0"), &["groups.billing.concurrency = \"0\"", "from 1 to"]),
        (billing("redelivery = { attempts = 0 }"), &["groups.billing.redelivery.attempts = \"0\"", "from 1 to"]),
        (billing("timeout = \"0s\""), &["groups.billing.timeout = \"0s\"", "greater than zero"]),
        (billing("max_unsettled_bytes = 0"), &["groups.billing.max_unsettled_bytes = \"0\"", "at least 1"]),
        ("[client]\nreceive_bytes = 0".into(), &["client.receive_bytes = \"0\"", "at least 1"]),
        ("[client]\nsource = \"\"".into(), &["client.source = \"\""]),
        (
            billing("redelivery = { first = \"60s\", max = \"1s\" }"),
            &["groups.billing.redelivery.first = \"60s\"", "longer than max, 1s"],
        ),
        (
            billing("lease_ttl = \"10s\"\nrenew_every = \"9s\""),
            &["groups.billing", "lease_ttl", "10s", "9s"],
        ),
        (
            billing("commit_interval = \"5s\"\ncommit_min = \"6s\""),
            &["groups.billing", "commit_min", "6s", "5s"],
        ),
        (
            "[streams.a]\nurl = \"memory:\"\nproducer = { max_buffered_events = 1, max_batch_events = 2 }".into(),
            &["streams.a.producer", "max_buffered_events = 1", "max_batch_events = 2"],
        ),
        (
            "[streams.a]\nurl = \"memory:\"\nproducer = { in_flight = 0 }".into(),
            &["streams.a.producer.in_flight = \"0\""],
        ),
        (
            "[streams.a]\nurl = \"memory:?partitions=4\"\npartitions = 8".into(),
            &["streams.a.partitions", "\"8\"", "\"4\"", "set it only once"],
        ),
        (
            "[streams.a]\nurl = \"memory:?partitions=4&partitions=8\"".into(),
            &["streams.a.partitions", "twice"],
        ),
        // Groups.
        ("[groups.billing]\nstream = \"orders\"".into(), &["groups.billing.stream = \"orders\"", "unknown stream `orders`", "declared: none"]),
        (with("[groups.b]\nstream = \"orderz\""), &["groups.b.stream", "unknown stream `orderz`", "declared: orders, orders-dlq"]),
        (with("[groups.b]"), &["groups.b.stream", "it names no stream"]),
        (with("[groups.b]\nstream = []"), &["groups.b.stream", "it names no stream"]),
        (with("[groups.b]\nstream = [\"orders\", \"orders\"]"), &["groups.b.stream", "twice"]),
        (
            billing("dead_letters = \"dlq\""),
            &["groups.billing.dead_letters = \"dlq\"", "declared: orders, orders-dlq", "or write a URL"],
        ),
        (billing("dead_letters = \"kafka://dlq\""), &["groups.billing.dead_letters = \"kafka://dlq\"", "no backend"]),
        (billing("leases = \"nowhere\""), &["groups.billing.leases = \"nowhere\"", "declared"]),
        (billing("idempotency = \"nowhere\""), &["groups.billing.idempotency = \"nowhere\"", "declared"]),
        (
            billing("on_exhausted = \"dead_letter\""),
            &["groups.billing.on_exhausted = \"dead_letter\"", "dead_letters"],
        ),
        (billing("on_exhausted = \"drop\""), &["groups.billing.on_exhausted = \"drop\"", "dead_letter, divert_key, block"]),
        (
            billing("on_reject = \"stop\"\ndead_letters = \"orders-dlq\""),
            &["groups.billing.on_reject = \"stop\"", "dead_letters"],
        ),
        (
            with("[stores.orders]\nurl = \"memory:\""),
            &["stores.orders", "a stream has that name already"],
        ),
        // Requirements.
        (
            billing("requires = [\"key_order\", \"magic\"]"),
            &["groups.billing.requires = \"key_order, magic\"", "unknown capability `magic`", "key_order, replay"],
        ),
        (
            billing("requires = \"durable\""),
            &["groups.billing.requires", "durable", "stream orders cannot", "gone with its process"],
        ),
        (
            billing("on_reject = \"stop\"\nrequires = [\"durable\", \"shared\"]"),
            &["2 problems", "durable", "shared"],
        ),
        (billing("requires = \"idempotency\""), &["groups.billing.idempotency is not set"]),
    ];
    for (toml, parts) in cases {
        let said = refusal(toml).await;
        for part in *parts {
            assert!(said.contains(part), "`{part}` is not in: {said}\n{toml}");
        }
    }
}

#[tokio::test]
async fn variables_that_match_nothing_are_refused() {
    for (variable, parts) in [
        (
            "AQUEDUCT__STREAM__ORDERS__URL",
            &["no such table", "streams"][..],
        ),
        (
            "AQUEDUCT__STREAMS__ORDERZ__URL",
            &["none of the streams", "orders, orders-dlq"],
        ),
        (
            "AQUEDUCT__STREAMS__ORDERS",
            &["names the table streams.orders"],
        ),
        (
            "AQUEDUCT__STREAMS__ORDERS__COLOUR",
            &[
                "the environment variable AQUEDUCT__STREAMS__ORDERS__COLOUR",
                "streams.orders.colour: no such option",
            ],
        ),
        (
            "AQUEDUCT__GROUPS__BILLING__COLOUR",
            &["groups.billing.colour: no such option", "concurrency"],
        ),
        (
            "AQUEDUCT__GROUPS__BILLING__CONCURRENCY",
            &[
                "AQUEDUCT__GROUPS__BILLING__CONCURRENCY",
                "groups.billing.concurrency = \"x\"",
            ],
        ),
        (
            "AQUEDUCT__GROUPS__BILLING__REDELIVERY__TRIES",
            &["groups.billing.redelivery.tries: no such option"],
        ),
        ("AQUEDUCT__CLIENT__", &["names no key"]),
        ("AQUEDUCT__", &["no such table"]),
    ] {
        let environment = Environment::from_iter([(variable, "x")]);
        let error = load(&billing("on_reject = \"stop\""), environment)
            .await
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        for part in parts {
            assert!(error.to_string().contains(part), "{variable}: {error}");
        }
    }
    let twins = "[streams.a-b]\nurl = \"memory:\"\n[streams.a_b]\nurl = \"memory:\"";
    let environment = Environment::from_iter([("AQUEDUCT__STREAMS__A_B__URL", "memory:")]);
    let error = load(twins, environment).await.unwrap_err().to_string();
    assert!(
        error.contains("streams.a-b") && error.contains("streams.a_b"),
        "{error}"
    );
}

#[tokio::test]
async fn names_that_are_not_declared_list_those_that_are() {
    let client = load(&billing("on_reject = \"stop\""), Environment::empty())
        .await
        .unwrap();
    let producer = client.producer("orderz").await.unwrap_err();
    assert!(
        producer
            .to_string()
            .contains("declared: orders, orders-dlq"),
        "{producer}"
    );
    let worker = client.worker("shipping").await.unwrap_err();
    assert!(worker.to_string().contains("declared: billing"), "{worker}");
    let dead_letters = client
        .dead_letters("billing")
        .await
        .map(|_| ())
        .unwrap_err();
    assert!(
        dead_letters
            .to_string()
            .contains("groups.billing.dead_letters"),
        "{dead_letters}"
    );
}

#[tokio::test]
async fn files_that_are_not_there_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nowhere.toml");
    let error = Client::from_file(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(error.to_string().contains("nowhere.toml"), "{error}");
    let error = Client::from_file(folder.path()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let builder = Client::builder().set("streams", "memory:").set("a b", "c");
    let error = builder.build().await.unwrap_err().to_string();
    assert!(error.contains("`a b` is not a key"), "{error}");
}

#[tokio::test]
async fn events_over_the_limit_and_empty_batches_are_answered_for_what_they_are() {
    let toml = "[client]\nsource = \"/s\"\n[streams.a]\nurl = \"memory:?max_event_bytes=1KiB\"";
    let client = load(toml, Environment::empty()).await.unwrap();
    let producer = client.producer("a").await.unwrap();
    let large = Event::bytes("x", "text/plain", vec![0; 2048]);
    let error = producer.send(large).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    assert!(
        error.to_string().contains("2048") && error.to_string().contains("1024"),
        "{error}"
    );
    assert!(producer.send_all(Vec::new()).await.unwrap().is_empty());

    let client = load(&billing("on_reject = \"stop\""), Environment::empty())
        .await
        .unwrap();
    let worker = client.worker("billing").await.unwrap().on("*", || async {});
    assert!(worker.handle(Vec::new()).await.unwrap().is_empty());
}

#[tokio::test]
async fn events_without_a_source_are_refused_where_the_client_has_none() {
    let client = load("[streams.a]\nurl = \"memory:\"", Environment::empty())
        .await
        .unwrap();
    let producer = client.producer("a").await.unwrap();
    let error = producer.send(Event::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(error.to_string().contains("source"), "{error}");
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn paths_that_cannot_be_reached_are_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("file"), "").unwrap();
    std::fs::write(
        folder.path().join("no.db"),
        "this is not a database, but as long as one".repeat(40),
    )
    .unwrap();
    for (path, part) in [("file/shop.db", "file"), ("no.db", "no.db")] {
        let toml = format!("[streams.orders]\nurl = \"sqlite:{path}\"");
        let builder = Client::builder().toml(toml).folder(folder.path());
        let client = builder
            .environment(Environment::empty())
            .build()
            .await
            .unwrap();
        let error = client.producer("orders").await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
        let said = error.to_string();
        assert!(
            said.contains("streams.orders") && said.contains(part),
            "{said}"
        );
    }
}
