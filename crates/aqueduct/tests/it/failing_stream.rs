//! A stream that does not open, and one that fails: the worker ends when it is asked to, waits as
//! long as it is told, and goes on with its other streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aqueduct::core::{
    Options, Queue, QueueMessage, QueueSettings, ReceiveRequest, Resource, SmallStr, Source,
    Subscription, Url,
};
use aqueduct::testing::ManualClock;
use aqueduct::{
    Backend, BatchOptions, Client, Environment, Error, ErrorKind, Event, GroupName, MemoryBackend,
    Result, Retry, Runtime, StreamName, async_trait,
    config::{Capabilities, Claims},
};

/// The retry delay that the failing stream asks for.
const HINT: Duration = Duration::from_secs(3600);

/// `broken:opening` never opens, `broken:failing` opens and fails.
#[derive(Clone, Default)]
struct Broken(Arc<AtomicU32>);

struct BrokenStream {
    name: StreamName,
    opens: bool,
    asked: Arc<AtomicU32>,
}

#[derive(Clone)]
struct BrokenQueue {
    name: StreamName,
    asked: Arc<AtomicU32>,
}

impl Backend for Broken {
    fn schemes(&self) -> &[&'static str] {
        &["broken"]
    }

    fn parse(&self, name: &str, url: &Url, _: Options) -> Result<Arc<dyn Resource>> {
        Ok(Arc::new(BrokenStream {
            name: StreamName::new(name),
            opens: url.path() == "failing",
            asked: self.0.clone(),
        }))
    }
}

#[async_trait]
impl Resource for BrokenStream {
    fn describe(&self) -> String {
        format!("broken:{}", self.name)
    }

    fn stream(&self) -> &StreamName {
        &self.name
    }

    fn claims(&self) -> Claims {
        Claims::none()
    }

    async fn source(&self, _: &Runtime) -> Result<Source> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        match self.opens {
            true => Ok(Source::Queue(Arc::new(BrokenQueue {
                name: self.name.clone(),
                asked: self.asked.clone(),
            }))),
            false => futures::future::pending().await,
        }
    }
}

#[async_trait]
impl Queue for BrokenQueue {
    fn stream(&self) -> &StreamName {
        &self.name
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Default::default(),
        }
    }

    fn settings(&self) -> QueueSettings {
        QueueSettings::new(false)
    }

    async fn subscribe(&self, _: &GroupName) -> Result<Arc<dyn Subscription>> {
        self.asked.store(0, Ordering::SeqCst);
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
impl Subscription for BrokenQueue {
    async fn receive(&self, _: ReceiveRequest) -> Result<Vec<QueueMessage>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        Err(Error::new(ErrorKind::Throttled, "slow down").with_retry(Retry::After(HINT)))
    }

    async fn ack(&self, receipts: &[SmallStr]) -> Vec<Result<()>> {
        receipts.iter().map(|_| Ok(())).collect()
    }

    async fn release(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        messages.iter().map(|_| Ok(())).collect()
    }

    async fn extend(&self, messages: &[(SmallStr, Duration)]) -> Vec<Result<()>> {
        messages.iter().map(|_| Ok(())).collect()
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

async fn client(broken: &Broken, clock: &ManualClock, streams: &str) -> Client {
    let toml = format!(
        "[client]\nsource = \"/s\"\n[streams.broken]\nurl = \"broken:failing\"\n\
         [streams.closed]\nurl = \"broken:opening\"\n[streams.good]\nurl = \"memory:\"\n\
         [groups.g]\nstream = {streams}\non_reject = \"stop\""
    );
    let builder = Client::builder().toml(toml).runtime(clock.runtime());
    let builder = builder.environment(Environment::empty());
    let builder = builder.backend("broken", broken.clone());
    let builder = builder.backend("memory", MemoryBackend::new());
    builder.build().await.unwrap()
}

async fn turns() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_worker_waits_as_long_as_the_stream_says() {
    let (broken, clock) = (Broken::default(), ManualClock::new());
    let client = client(&broken, &clock, "\"broken\"").await;
    let worker = client.worker("g").await.unwrap().on("*", || async {});
    let handle = worker.control();
    let running = client.runtime().spawn(worker.run_to_end());
    turns().await;
    for asked in 1..4 {
        assert_eq!(broken.0.load(Ordering::SeqCst), asked);
        clock.advance(HINT - Duration::from_secs(1));
        turns().await;
        assert_eq!(broken.0.load(Ordering::SeqCst), asked, "before the hint");
        clock.advance(Duration::from_secs(1));
        turns().await;
    }
    handle.stop();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_that_fails_does_not_stop_the_others() {
    let (broken, clock) = (Broken::default(), ManualClock::new());
    let client = client(&broken, &clock, "[\"broken\", \"good\"]").await;
    let good = client.producer("good").await.unwrap();
    let handled = Arc::new(AtomicU32::new(0));
    let count = handled.clone();
    let worker = client.worker("g").await.unwrap();
    // No batch is too large to ask for.
    let options = BatchOptions::new(usize::MAX, Duration::from_millis(10));
    let worker = worker.on_batch("*", options, move |events: aqueduct::Batch<Event>| {
        count.fetch_add(events.len() as u32, Ordering::SeqCst);
        async {}
    });
    let handle = worker.control();
    let running = client.runtime().spawn(worker.run_to_end());
    let started = clock.now();
    for expected in 1..=20 {
        let producer = good.clone();
        let sending = client
            .runtime()
            .spawn(async move { producer.send(Event::new("n")).await });
        while handled.load(Ordering::SeqCst) < expected {
            turns().await;
            clock.advance(Duration::from_millis(10));
            assert!(
                clock.now().since(started) < HINT / 10,
                "event {expected} waits"
            );
        }
        sending.await.unwrap().unwrap();
    }
    assert_eq!(broken.0.load(Ordering::SeqCst), 1, "left alone meanwhile");
    handle.stop();
    while !handle
        .health()
        .problems
        .contains(&aqueduct::worker::Problem::NotRunning)
    {
        turns().await;
        clock.advance(Duration::from_millis(10));
    }
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_worker_that_is_still_opening_stops_when_it_is_asked_to() {
    let (broken, clock) = (Broken::default(), ManualClock::new());
    let client = client(&broken, &clock, "\"closed\"").await;
    let worker = client.worker("g").await.unwrap().on("*", || async {});
    let handle = worker.control();
    let running = client.runtime().spawn(worker.run_to_end());
    while broken.0.load(Ordering::SeqCst) == 0 {
        turns().await;
    }
    handle.stop();
    turns().await;
    assert!(!handle.health().live);
    running.await.unwrap().unwrap();
}
