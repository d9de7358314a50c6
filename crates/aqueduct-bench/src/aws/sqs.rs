use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use aqueduct_core::{Backend as _, Error, ErrorKind, GroupName, Resource, Result, Source, Url};
use aqueduct_producer::{Producer, ProducerOptions};
use aqueduct_queue::QueueOptions;
use aqueduct_sqs::SqsBackend;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry};

use super::client::{Side, joined, sdk, source};
use super::kinesis_publish::{IN_FLIGHT, Measured, Numbers, finish, send_all};
use super::server::{Kind, Server};
use crate::Contestant;
use crate::aims::{Aim, Bound, Round};
use crate::measure::Figures;
use crate::memory::{bad_json, block_on};
use crate::payload::Reading;
use crate::sqlite::invalid_url;

/// The service's limit of messages per request.
const FULL: usize = 10;

/// 100 B of JSON into a standard queue and out of it, 10 in each request, 4 requests at a time.
///
/// `sdk`: SendMessageBatch with only the data; ReceiveMessage and DeleteMessageBatch. `aqueduct`: the
/// producer engine with `send_all`; the consumer with its 4 receivers, each event acknowledged.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("sdk", "in", sdk_in),
    contestant("aqueduct", "in", aqueduct_in),
    contestant("sdk", "out", sdk_out),
    contestant("aqueduct", "out", aqueduct_out),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate in, to the SDK",
        bound: Bound::None,
        value: |round| ratio(round, "in", Figures::events_per_second),
    },
    Aim {
        what: "rate out, to the SDK",
        bound: Bound::None,
        value: |round| ratio(round, "out", Figures::events_per_second),
    },
    Aim {
        what: "CPU of an event in, to the SDK",
        bound: Bound::None,
        value: |round| ratio(round, "in", Figures::cpu_per_event),
    },
    Aim {
        what: "CPU of an event out, to the SDK",
        bound: Bound::None,
        value: |round| ratio(round, "out", Figures::cpu_per_event),
    },
];

const fn contestant(
    name: &'static str,
    direction: &'static str,
    run: fn(u64, usize) -> Result<Figures>,
) -> Contestant {
    Contestant {
        name,
        direction: Some(direction),
        batch: FULL,
        run,
    }
}

fn ratio(round: &Round<'_>, direction: &str, of: fn(&Figures) -> f64) -> Option<f64> {
    let ours = round.directed("aqueduct", Some(direction))?;
    Some(of(ours) / of(round.directed("sdk", Some(direction))?))
}

/// A separate queue, in a separate server unless the environment names one.
struct Queue {
    side: Side,
    client: Client,
    name: String,
    url: String,
    _server: Option<Server>,
}

impl Queue {
    async fn create() -> Result<Self> {
        let (server, endpoint) = match std::env::var("AQUEDUCT_BENCH_SQS") {
            Ok(endpoint) => (None, endpoint),
            Err(_) => {
                let server = Server::start(Kind::Sqs)?;
                let endpoint = server.endpoint.clone();
                (Some(server), endpoint)
            }
        };
        let side = Side::new(&endpoint);
        let client = Client::new(&side.config().await?);
        let now = std::time::SystemTime::UNIX_EPOCH
            .elapsed()
            .unwrap_or_default();
        let name = format!("bench-{}-{}", std::process::id(), now.as_nanos());
        let made = client.create_queue().queue_name(&name).send().await;
        let url = made.map_err(|e| sdk("CreateQueue", e))?.queue_url;
        Ok(Self {
            side,
            client,
            name,
            url: url.unwrap_or_default(),
            _server: server,
        })
    }

    fn resource(&self) -> Result<Arc<dyn Resource>> {
        let url = Url::parse(&format!("sqs://{}", self.name)).map_err(invalid_url)?;
        let options = self.side.options("streams.bench");
        SqsBackend::with(self.side.aws.clone()).parse("bench", &url, options)
    }

    async fn engine(&self) -> Result<Producer> {
        let runtime = aqueduct_runtime::tokio();
        let options = ProducerOptions {
            source: Some(source()),
            ..ProducerOptions::default()
        };
        let producer = self.resource()?.producer(&runtime).await?;
        Ok(Producer::new(producer, options, &runtime))
    }

    async fn fill(&self, numbers: Arc<Numbers>) -> Result<()> {
        let tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (client, url, numbers) =
                    (self.client.clone(), self.url.clone(), numbers.clone());
                tokio::spawn(async move {
                    while let Some(some) = numbers.take() {
                        send(&client, &url, some).await?;
                    }
                    Ok(())
                })
            })
            .collect();
        finish(tasks).await
    }

    /// Deletes the queue if it is on a server of the environment; otherwise it ends with its server.
    async fn delete(self) -> Result<()> {
        if self._server.is_none() {
            let gone = self.client.delete_queue().queue_url(self.url).send().await;
            gone.map_err(|e| sdk("DeleteQueue", e))?;
        }
        Ok(())
    }
}

async fn send(client: &Client, url: &str, numbers: std::ops::Range<u64>) -> Result<()> {
    let entries = numbers.map(|number| {
        let reading = serde_json::to_string(&Reading::new(number)).map_err(bad_json)?;
        SendMessageBatchRequestEntry::builder()
            .id(number.to_string())
            .message_body(reading)
            .build()
            .map_err(|e| sdk("a message", e))
    });
    let answer = client
        .send_message_batch()
        .queue_url(url)
        .set_entries(Some(entries.collect::<Result<_>>()?))
        .send()
        .await
        .map_err(|e| sdk("SendMessageBatch", e))?;
    match answer.failed().first() {
        Some(failed) => Err(Error::new(ErrorKind::Unavailable, failed.code().to_owned())),
        None => Ok(()),
    }
}

fn sdk_in(events: u64, batch: usize) -> Result<Figures> {
    block_on(async {
        let queue = Queue::create().await?;
        queue.fill(Numbers::new(200, batch)).await?;
        let measured = Measured::begin(&queue.side);
        queue.fill(Numbers::new(events, batch)).await?;
        let figures = measured.end(events);
        queue.delete().await?;
        Ok(figures)
    })
}

fn aqueduct_in(events: u64, _batch: usize) -> Result<Figures> {
    block_on(async {
        let queue = Queue::create().await?;
        let engine = queue.engine().await?;
        send_all(&engine, Numbers::new(200, 100)).await?;
        let measured = Measured::begin(&queue.side);
        send_all(&engine, Numbers::new(events, 100)).await?;
        let figures = measured.end(events);
        engine.close().await?;
        queue.delete().await?;
        Ok(figures)
    })
}

fn sdk_out(events: u64, batch: usize) -> Result<Figures> {
    block_on(async {
        let queue = Queue::create().await?;
        queue.fill(Numbers::new(events, batch)).await?;
        let measured = Measured::begin(&queue.side);
        let left = Arc::new(AtomicI64::new(events as i64));
        let tasks: Vec<_> = (0..IN_FLIGHT)
            .map(|_| {
                let (client, url, left) = (queue.client.clone(), queue.url.clone(), left.clone());
                tokio::spawn(async move { receive(&client, &url, &left).await })
            })
            .collect();
        for task in tasks {
            std::hint::black_box(joined(task.await)?);
        }
        let figures = measured.end(events);
        queue.delete().await?;
        Ok(figures)
    })
}

/// Receives and deletes until all tasks together have received everything; returns the bytes.
async fn receive(client: &Client, url: &str, left: &AtomicI64) -> Result<usize> {
    let mut bytes = 0;
    while left.load(Ordering::Relaxed) > 0 {
        let answer = client
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(FULL as i32)
            .wait_time_seconds(1)
            .send()
            .await
            .map_err(|e| sdk("ReceiveMessage", e))?;
        let messages = answer.messages.unwrap_or_default();
        if messages.is_empty() {
            continue;
        }
        left.fetch_sub(messages.len() as i64, Ordering::Relaxed);
        let entries = messages.into_iter().enumerate().map(|(at, message)| {
            bytes += message.body.map_or(0, |body| body.len());
            DeleteMessageBatchRequestEntry::builder()
                .id(at.to_string())
                .receipt_handle(message.receipt_handle.unwrap_or_default())
                .build()
                .map_err(|e| sdk("a receipt", e))
        });
        let answer = client
            .delete_message_batch()
            .queue_url(url)
            .set_entries(Some(entries.collect::<Result<_>>()?))
            .send()
            .await
            .map_err(|e| sdk("DeleteMessageBatch", e))?;
        std::hint::black_box(answer.successful().len());
    }
    Ok(bytes)
}

fn aqueduct_out(events: u64, _batch: usize) -> Result<Figures> {
    block_on(async {
        let queue = Queue::create().await?;
        let engine = queue.engine().await?;
        send_all(&engine, Numbers::new(events, 100)).await?;
        engine.close().await?;
        let runtime = aqueduct_runtime::tokio();
        let resource = queue.resource()?;
        let Source::Queue(source) = resource.source(&runtime).await? else {
            return Err(resource.does_not_offer("queue"));
        };
        let measured = Measured::begin(&queue.side);
        let options = QueueOptions::new(GroupName::new("bench"));
        let consumer = aqueduct_queue::open(&*source, options, &runtime).await?;
        let mut left = events;
        let mut bytes = 0;
        while left > 0 {
            let deliveries = consumer.receive_batch(100).await?;
            left = left.saturating_sub(deliveries.len() as u64);
            for delivery in deliveries {
                bytes += delivery.event().data().map_or(0, |data| data.len());
                delivery.ack().await?;
            }
        }
        consumer.flush().await?;
        let figures = measured.end(events);
        std::hint::black_box(bytes);
        consumer.close().await?;
        queue.delete().await?;
        Ok(figures)
    })
}
