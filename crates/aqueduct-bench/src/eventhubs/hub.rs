use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aqueduct_core::{
    Backend as _, BatchProducer, Error, ErrorKind, Event, Options, Resource, Result, SmallStr, Url,
};
use aqueduct_emulators::{EventHubs, EventHubsOptions};
use aqueduct_eventhubs::EventHubsBackend;
use aqueduct_producer::{Producer as Engine, ProducerOptions};

use super::{FULL, PARTITIONS};
use crate::aws::server::{Kind, Server};
use crate::payload::Reading;
use crate::sqlite::invalid_url;

/// The round trip of the slow hub.
const ROUND_TRIP: Duration = Duration::from_millis(5);

/// Starts the namespace that the server's process serves.
pub(crate) async fn namespace(slow: bool) -> std::io::Result<EventHubs> {
    let options = EventHubsOptions::new()
        .with_hub("bench", PARTITIONS)
        .with_consumer_group("bench", "bench");
    EventHubs::start(match slow {
        true => options.with_latency(ROUND_TRIP),
        false => options,
    })
    .await
}

/// Stores that many events, in the process that serves them: its work is not the contestants'.
pub(crate) async fn fill(hubs: &EventHubs, events: u64) -> Result<()> {
    let producer = producer(&hubs.connection_string(), "cloudevents").await?;
    for first in (0..events).step_by(FULL) {
        let some = first..events.min(first + FULL as u64);
        let batch = some.map(event).collect::<Result<Vec<_>>>()?;
        producer.send_batch(&batch).await.into_result()?;
    }
    producer.close().await
}

async fn producer(connection_string: &str, encoding: &str) -> Result<Arc<dyn BatchProducer>> {
    resource(connection_string, encoding)?
        .producer(&aqueduct_runtime::tokio())
        .await
}

fn resource(connection_string: &str, encoding: &str) -> Result<Arc<dyn Resource>> {
    let url = Url::parse("eventhubs:bench").map_err(invalid_url)?;
    let options = Options::new("streams.bench")
        .with("connection_string", connection_string)
        .with("encoding", encoding);
    EventHubsBackend::new().parse("bench", &url, options)
}

/// Returns the event of that number, with one of 1,000 keys.
pub(super) fn event(number: u64) -> Result<Event> {
    let reading = Reading::new(number);
    let event = Event::json("reading.taken", &reading)?;
    Ok(event.with_source("/bench").with_key(reading.key()))
}

/// A hub in a process of its own.
pub(super) struct Hub {
    server: Server,
    filled: u64,
    slow: bool,
}

impl Hub {
    pub(super) fn start(slow: bool) -> Result<Self> {
        Self::with(slow, 0)
    }

    fn with(slow: bool, filled: u64) -> Result<Self> {
        let kind = match slow {
            true => Kind::EventHubsSlow,
            false => Kind::EventHubs,
        };
        let server = Server::start_filled(kind, filled)?;
        Ok(Self {
            server,
            filled,
            slow,
        })
    }

    /// Returns a hub that is filled once and read by every contestant in every round.
    pub(super) fn filled(events: u64, slow: bool) -> Result<Arc<Self>> {
        static FILLED: OnceLock<Mutex<Vec<Arc<Hub>>>> = OnceLock::new();
        let mut all = FILLED
            .get_or_init(Mutex::default)
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let known = |it: &&Arc<Self>| it.filled == events && it.slow == slow;
        if let Some(filled) = all.iter().find(known) {
            return Ok(filled.clone());
        }
        let filled = Arc::new(Self::with(slow, events)?);
        all.push(filled.clone());
        Ok(filled)
    }

    fn connection_string(&self) -> &str {
        &self.server.endpoint
    }

    /// Returns its host and port.
    pub(super) fn address(&self) -> Result<&str> {
        let endpoint = self.connection_string().split(';').next();
        let address = endpoint.and_then(|it| it.strip_prefix("Endpoint=sb://"));
        address.ok_or_else(|| Error::new(ErrorKind::Internal, "the hub printed no endpoint"))
    }

    pub(super) fn resource(&self, encoding: &str) -> Result<Arc<dyn Resource>> {
        resource(self.connection_string(), encoding)
    }

    /// Returns a producer as an application has it.
    pub(super) async fn engine(&self, encoding: &str) -> Result<Engine> {
        let options = ProducerOptions {
            source: Some(SmallStr::literal("/bench")),
            ..ProducerOptions::default()
        };
        let producer = producer(self.connection_string(), encoding).await?;
        Ok(Engine::new(producer, options, &aqueduct_runtime::tokio()))
    }
}
