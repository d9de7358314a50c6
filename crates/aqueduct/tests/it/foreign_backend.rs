//! A third-party backend: its claims are combined before connecting and verified when opened.

use std::sync::Arc;

use aqueduct::core::{LeaseStore, Options, Resource, Source, Url};
use aqueduct::{
    Backend, Capability, Client, Environment, ErrorKind, MemoryBackend, Result, Runtime,
    StreamName, async_trait,
    config::{Claim, Claims},
};

/// Memory that can only be told to be durable when it is opened, and then is not.
struct Undecided(MemoryBackend);

/// Stores leases only if its URL says so.
struct UndecidedResource(Arc<dyn Resource>, bool);

impl Backend for Undecided {
    fn schemes(&self) -> &[&'static str] {
        &["undecided"]
    }

    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        let inner = self
            .0
            .parse(name, &Url::parse("memory:").unwrap(), options)?;
        Ok(Arc::new(UndecidedResource(inner, url.path() == "leases")))
    }
}

#[async_trait]
impl Resource for UndecidedResource {
    fn describe(&self) -> String {
        format!("undecided:{}", self.stream())
    }

    fn stream(&self) -> &StreamName {
        self.0.stream()
    }

    fn claims(&self) -> Claims {
        let claims = self.0.claims().with(Capability::Durable, Claim::WhenOpened);
        match self.1 {
            true => claims,
            false => claims.with(Capability::Leases, Claim::No("leases are elsewhere".into())),
        }
    }

    async fn leases(&self, runtime: &Runtime) -> Result<Arc<dyn LeaseStore>> {
        self.0.leases(runtime).await
    }

    async fn source(&self, runtime: &Runtime) -> Result<Source> {
        self.0.source(runtime).await
    }
}

async fn client(group: &str) -> Client {
    let toml = format!(
        "[streams.a]\nurl = \"undecided:\"\n[stores.leases]\nurl = \"memory:\"\n\
         [groups.g]\nstream = \"a\"\non_reject = \"stop\"\n{group}"
    );
    let builder = Client::builder()
        .toml(toml)
        .environment(Environment::empty());
    let builder = builder.backend("undecided", Undecided(MemoryBackend::new()));
    builder.build().await.unwrap()
}

#[tokio::test]
async fn a_stream_without_leases_needs_a_store_for_them() {
    let error = client("").await.check().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let said = error.to_string();
    assert!(
        said.contains("groups.g.leases") && said.contains("leases are elsewhere"),
        "{said}"
    );
    let client = client("leases = \"leases\"\nrequires = \"leases\"").await;
    client.check().unwrap();
    let consumer = client.consumer("g").await.unwrap();
    consumer.close().await.unwrap();
}

#[tokio::test]
async fn what_only_the_service_can_tell_is_verified_when_opened() {
    let client = client("leases = \"undecided:leases\"\nrequires = \"durable\"").await;
    client.check().unwrap();
    let error = client.consumer("g").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let said = error.to_string();
    assert!(
        said.contains("groups.g.requires = \"durable\"") && said.contains("gone with its process"),
        "{said}"
    );
}

#[tokio::test]
async fn what_a_backend_does_not_offer_is_unsupported_by_name() {
    let client = client("leases = \"leases\"").await;
    let error = client.producer("a").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(
        error.to_string().contains("undecided:a offers no producer"),
        "{error}"
    );
    let error = client.worker("nobody").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}
