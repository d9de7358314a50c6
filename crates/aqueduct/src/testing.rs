//! For tests of applications: a client on memory, a clock to advance, and assertions on published
//! and handled events.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> aqueduct::Result<()> {
//! use aqueduct::testing::TestClient;
//! use aqueduct::{Event, Json};
//!
//! let test = TestClient::new(r#"
//!     [client]
//!     source = "/shop"
//!
//!     [streams.orders]
//!     url = "kinesis://orders"        # memory, all the same
//!
//!     [groups.billing]
//!     stream = "orders"
//!     on_reject = "stop"
//! "#).await?;
//!
//! let worker = test.client().worker("billing").await?
//!     .on("order.placed", |Json(total): Json<u32>| async move { assert_eq!(total, 5) });
//! let running = test.start(worker);
//!
//! let orders = test.client().producer("orders").await?;
//! orders.send(Event::json("order.placed", &5)?).await?;
//!
//! test.wait_until_drained("billing").await?;
//! test.assert_published("orders", |event| event.kind() == "order.placed").await;
//! running.stop().await
//! # }
//! ```

use std::time::Duration;

use aqueduct_core::{Error, ErrorKind, Event, GroupName, Result, Start, Task};
use aqueduct_memory::MemoryBackend;
pub use aqueduct_runtime::ManualClock;

use crate::client::Client;
use crate::config::Environment;
use crate::worker::{Worker, WorkerHandle};

/// A client whose streams and stores are all in memory, on a clock that the test moves.
#[derive(Debug)]
pub struct TestClient {
    client: Client,
    clock: ManualClock,
    backend: MemoryBackend,
}

/// A worker that runs beside the test.
#[must_use = "dropping it ends the worker"]
#[derive(Debug)]
pub struct Running {
    handle: WorkerHandle,
    task: WorkerTask,
}

struct WorkerTask(Task<Result<()>>);

/// The most that the clock moves while waiting for a group: longer than any back-off.
const DRAIN_LIMIT: Duration = Duration::from_secs(24 * 3600);

/// How often the tasks are polled before the clock moves to its next timer.
const TURNS: usize = 64;

impl TestClient {
    /// Creates a client from a configuration in TOML, whose URLs are all read as `memory:`. It
    /// ignores the environment.
    ///
    /// # Errors
    /// `Config`, as for [`Client::from_toml`].
    pub async fn new(toml: &str) -> Result<Self> {
        let clock = ManualClock::new();
        let backend = MemoryBackend::new();
        let client = Client::builder()
            .toml(toml)
            .environment(Environment::empty())
            .runtime(clock.runtime())
            .only_backend(backend.clone())
            .build()
            .await?;
        Ok(Self {
            client,
            clock,
            backend,
        })
    }

    /// Returns the client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns the clock. It stands still unless the test moves it or waits for a group.
    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    /// Returns the backend of the streams, to inject faults.
    pub fn backend(&self) -> &MemoryBackend {
        &self.backend
    }

    /// Runs a worker beside the test.
    pub fn start(&self, worker: Worker) -> Running {
        let handle = worker.control();
        let task = self.client.runtime().spawn(worker.run_to_end());
        Running {
            handle,
            task: WorkerTask(task),
        }
    }

    /// Moves the clock, timer by timer, until the group has settled and committed everything in its
    /// streams.
    ///
    /// # Errors
    /// `TimedOut` when a day has passed on the clock, naming what is left; `Config` for an unknown
    /// group.
    pub async fn wait_until_drained(&self, group: &str) -> Result<()> {
        let name = GroupName::from(group);
        let streams = self.client.streams_of(group)?;
        let deadline = self.clock.now() + DRAIN_LIMIT;
        loop {
            let mut behind = 0;
            for stream in streams {
                let admin = self.client.admin(stream).await?;
                let lag = admin.lag(&name).await?;
                behind += lag.iter().map(|partition| partition.events).sum::<u64>();
            }
            if behind == 0 {
                return Ok(());
            }
            if self.clock.now() >= deadline {
                return Err(Error::new(
                    ErrorKind::TimedOut,
                    format!("group {group}: {behind} events are not settled after a day"),
                ));
            }
            self.step().await;
        }
    }

    /// Returns all events of a stream, oldest first within each key.
    ///
    /// # Errors
    /// `Config` for an unknown stream.
    pub async fn published(&self, stream: &str) -> Result<Vec<Event>> {
        let admin = self.client.admin(stream).await?;
        // A group that never ran is behind by every stored event.
        let unused = GroupName::from("aqueduct-testing-unused");
        let mut reader = self.client.reader(stream, Start::Earliest).await?;
        let lag = admin.lag(&unused).await?;
        let count: u64 = lag.iter().map(|partition| partition.events).sum();
        let mut events = Vec::new();
        while (events.len() as u64) < count {
            match reader.next().await? {
                Some(read) => events.push(read.event),
                None => break,
            }
        }
        Ok(events)
    }

    /// Asserts that a stream holds an event like that, and returns the first one.
    ///
    /// # Panics
    /// If it holds none, listing the types of those that it holds.
    pub async fn assert_published(&self, stream: &str, like: impl Fn(&Event) -> bool) -> Event {
        let events = match self.published(stream).await {
            Ok(events) => events,
            Err(error) => panic!("stream {stream} cannot be read: {error}"),
        };
        let found = events.iter().find(|event| like(event));
        match found {
            Some(event) => event.clone(),
            None => {
                let kinds: Vec<_> = events.iter().map(Event::kind).collect();
                panic!(
                    "stream {stream} holds no such event among {}: {kinds:?}",
                    events.len()
                )
            }
        }
    }

    /// Gives every task its turns, then moves the clock to the next timer.
    async fn step(&self) {
        for _ in 0..TURNS {
            tokio::task::yield_now().await;
        }
        match self.clock.next_timer() {
            Some(next) => self.clock.advance_to(next),
            None => self.clock.advance(Duration::from_millis(10)),
        }
    }
}

impl Running {
    /// Returns the handle to stop, pause and watch the worker.
    pub fn control(&self) -> &WorkerHandle {
        &self.handle
    }

    /// Lets the worker drain, and returns how it ended.
    ///
    /// # Errors
    /// The error that stopped the worker.
    pub async fn stop(self) -> Result<()> {
        self.handle.stop();
        self.task.0.await?
    }

    /// Waits until the worker ends by itself.
    ///
    /// # Errors
    /// The error that stopped the worker.
    pub async fn ended(self) -> Result<()> {
        self.task.0.await?
    }
}

impl std::fmt::Debug for WorkerTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WorkerTask")
    }
}
