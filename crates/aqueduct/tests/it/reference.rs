//! The option tables of the READMEs are generated from what documents the options, and that has every
//! option that is read, and no other. `UPDATE_REFERENCE=1 cargo test -p aqueduct reference` writes them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use aqueduct::backend::{Backend, MemoryBackend, Options, Url};
use aqueduct::core::{OptionRecorder, OptionTable};
use aqueduct::{Client, Environment, config};

/// The keys that an error lists as valid.
async fn valid(toml: &str) -> BTreeSet<String> {
    let builder = Client::builder()
        .toml(toml)
        .environment(Environment::empty());
    let error = builder.build().await.unwrap_err().to_string();
    let (_, names) = error.split_once("valid: ").unwrap();
    names.split(", ").map(String::from).collect()
}

/// The keys that a table documents; `redelivery.first` stands for `redelivery`.
fn documented(title: &str) -> BTreeSet<String> {
    let tables = config::reference();
    let table = tables.iter().find(|table| table.title == title).unwrap();
    let first = |name: &str| name.split('.').next().map(String::from);
    table.names().filter_map(first).collect()
}

fn readme(package: &str) -> PathBuf {
    let crates = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    crates.join("..").join(package).join("README.md")
}

/// Compares the tables between markers with the generated ones.
fn assert_generated(package: &str, tables: &[OptionTable]) {
    let path = readme(package);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut generated = text.clone();
    for table in tables {
        let start = format!("<!-- options: {} -->\n", table.title);
        let (before, rest) = generated
            .split_once(&start)
            .unwrap_or_else(|| panic!("{}: no table {}", path.display(), table.title));
        let (_, after) = rest.split_once("<!-- end -->").unwrap();
        generated = format!("{before}{start}{}<!-- end -->{after}", table.markdown());
    }
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::write(&path, generated).unwrap();
    } else {
        assert_eq!(text, generated, "{}: see {}", path.display(), file!());
    }
}

#[tokio::test]
async fn every_key_of_the_configuration_is_documented() {
    let group = "[streams.a]\nurl = \"memory:\"\n[groups.b]\nstream = \"a\"\nnope = 1";
    let producer = "[streams.a]\nurl = \"memory:\"\nproducer = { nope = 1 }";
    let pipeline = "[streams.a]\nurl = \"memory:\"\n[groups.g]\nstream = \"a\"\non_reject = \"stop\"\n\
                    [pipelines.p]\ngroup = \"g\"\nto = \"a\"\nnope = 1";
    let rule = "[streams.a]\nurl = \"memory:\"\n[routes.r]\ndefault = \"refuse\"\n\
                [[routes.r.rules]]\nto = \"a\"\nnope = 1";
    for (title, toml) in [
        ("client", "[client]\nnope = 1"),
        ("streams.NAME.producer", producer),
        ("groups.NAME", group),
        ("layers.NAME", "[layers.nope]"),
        ("routes.NAME", "[routes.r]\ndefault = \"refuse\"\nnope = 1"),
        ("routes.NAME.rules", rule),
        ("pipelines.NAME", pipeline),
    ] {
        assert_eq!(documented(title), valid(toml).await, "{title}");
    }
    for layer in ["timeout", "tracing"] {
        let tables = config::reference();
        let layers = tables
            .iter()
            .find(|table| table.title == "layers.NAME")
            .unwrap();
        let own = |name: &str| name.strip_prefix(&format!("{layer}.")).map(String::from);
        let documented: BTreeSet<_> = layers.names().filter_map(own).collect();
        assert_eq!(
            documented,
            valid(&format!("[layers.{layer}]\nnope = 1")).await
        );
    }
    assert_generated("aqueduct", &config::reference());
}

#[test]
fn every_option_of_a_backend_is_documented() {
    let backends: Vec<(&str, Box<dyn Backend>)> = vec![
        ("memory:x", Box::new(MemoryBackend::new())),
        #[cfg(feature = "sqlite")]
        ("sqlite:x.db", Box::new(aqueduct::SqliteBackend::new())),
        #[cfg(feature = "eventhubs")]
        (
            "eventhubs://xxx/hub",
            Box::new(aqueduct::backend::EventHubsBackend::new()),
        ),
        #[cfg(feature = "kinesis")]
        (
            "kinesis://xxx",
            Box::new(aqueduct::backend::KinesisBackend::new()),
        ),
        #[cfg(feature = "dynamodb")]
        (
            "dynamodb://xxx",
            Box::new(aqueduct::backend::DynamoDbBackend::new()),
        ),
        #[cfg(feature = "object-store")]
        (
            "az://xxx/xxx",
            Box::new(aqueduct::backend::ObjectStoreBackend::new()),
        ),
        #[cfg(feature = "pubsub")]
        (
            "pubsub://shop/xxx",
            Box::new(aqueduct::backend::PubSubBackend::new()),
        ),
        #[cfg(feature = "sqs")]
        ("sqs://xxx", Box::new(aqueduct::backend::SqsBackend::new())),
    ];
    for (url, backend) in backends {
        let url = Url::parse(url).unwrap();
        let recorder = OptionRecorder::default();
        let options = Options::new("streams.x").recorded(&recorder);
        backend.parse("x", &url, options).unwrap();
        let tables = backend.options();
        let documented: BTreeSet<_> = tables.iter().flat_map(OptionTable::names).collect();
        assert_eq!(recorder.names(), documented, "{}", url.scheme());
        let (aws, own): (Vec<_>, Vec<_>) = tables.iter().partition(|table| table.title == "aws");
        let name = match url.scheme() {
            "az" => "object-store",
            scheme => scheme,
        };
        assert_generated(&format!("aqueduct-{name}"), &own);
        if !aws.is_empty() {
            assert_generated("aqueduct-aws", &aws);
        }
    }
}
