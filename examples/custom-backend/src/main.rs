//! A backend of your own: `lines:PATH` appends each event to a file as a line of CloudEvents JSON.
//!
//! It offers a producer and nothing else; a group on it is refused with the reason. A backend with a
//! log implements `PartitionedLog`, and the group makes a consumer of it; the suite in
//! `aqueduct-conformance` says whether it keeps the contract.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use aqueduct::core::cloudevents::json;
use aqueduct::core::{BatchProducer, Claims, Lane, Limits, Options, Resource, SendReport, Url};
use aqueduct::{
    Backend, Client, Error, Event, Receipt, Result, Runtime, StreamName, async_trait,
    config::Capabilities,
};

struct Lines;

impl Backend for Lines {
    fn schemes(&self) -> &[&'static str] {
        &["lines"]
    }

    /// Reads and checks the URL without I/O. `finish` refuses options that nothing has read.
    fn parse(&self, name: &str, url: &Url, options: Options) -> Result<Arc<dyn Resource>> {
        options.finish()?;
        Ok(Arc::new(File {
            stream: StreamName::new(name),
            path: url.path().into(),
        }))
    }
}

#[derive(Clone)]
struct File {
    stream: StreamName,
    path: PathBuf,
}

#[async_trait]
impl Resource for File {
    fn describe(&self) -> String {
        format!("lines:{}", self.path.display())
    }

    fn stream(&self) -> &StreamName {
        &self.stream
    }

    fn claims(&self) -> Claims {
        Claims::none()
    }

    async fn producer(&self, _runtime: &Runtime) -> Result<Arc<dyn BatchProducer>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl BatchProducer for File {
    /// One attempt, one outcome per index. Retries are the application's producer's business.
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        match self.append(events) {
            Ok(()) => SendReport::new(events.iter().map(|_| Ok(Receipt::default())).collect()),
            Err(error) => SendReport::failed(events.len(), &error),
        }
    }

    fn lane(&self, _event: &Event) -> Lane {
        Lane::default()
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: self.claims(),
            limits: Limits::default(),
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

impl File {
    fn append(&self, events: &[Event]) -> Result<()> {
        let mut lines = Vec::new();
        for event in events {
            json::encode(event, &mut lines);
            lines.push(b'\n');
        }
        let opened = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path);
        opened
            .and_then(|mut file| file.write_all(&lines))
            .map_err(|error| Error::config(format!("{}: {error}", self.path.display())))
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::builder()
        .set("client.source", "/examples/custom-backend")
        .set("streams.audit.url", "lines:custom-backend.jsonl")
        .backend("lines", Lines)
        .build()
        .await?;
    let audit = client.producer("audit").await?;
    audit.send(Event::json("user.logged-in", &"alice")?).await?;
    println!("appended to custom-backend.jsonl");
    client.close().await
}
