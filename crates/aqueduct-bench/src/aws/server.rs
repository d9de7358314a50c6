use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};

use aqueduct_core::{Error, ErrorKind, Result};
use aqueduct_emulators::{KinesisServer, PubSub, PubSubOptions, Sqs, StoreOptions};

use crate::eventhubs;

/// A server of this program, in a separate process: its CPU time does not count for the contestants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Kinesis,
    /// With the limits of a shard.
    KinesisLimited,
    PubSub,
    Sqs,
    EventHubs,
    /// With a round trip.
    EventHubsSlow,
}

const KINDS: [Kind; 6] = [
    Kind::Kinesis,
    Kind::KinesisLimited,
    Kind::PubSub,
    Kind::Sqs,
    Kind::EventHubs,
    Kind::EventHubsSlow,
];

impl Kind {
    fn argument(self) -> &'static str {
        match self {
            Self::Kinesis => "serve-kinesis",
            Self::KinesisLimited => "serve-kinesis-limited",
            Self::PubSub => "serve-pubsub",
            Self::Sqs => "serve-sqs",
            Self::EventHubs => "serve-eventhubs",
            Self::EventHubsSlow => "serve-eventhubs-slow",
        }
    }

    /// Serves until standard input ends, that is, until the parent process ends. An event hub has `filled` events.
    pub(crate) fn serve(self, filled: u64) -> Result<()> {
        let runtime = tokio::runtime::Runtime::new().map_err(|e| failed("no runtime", e))?;
        // Kept until this process ends.
        let (mut kinesis, mut sqs, mut hubs, mut pubsub) = (None, None, None, None);
        let endpoint = runtime.block_on(async {
            Ok::<String, Error>(match self {
                Self::PubSub => {
                    let served = PubSub::start(PubSubOptions::default()).await;
                    let served = served.map_err(|e| failed("the server did not start", e))?;
                    pubsub.insert(served).endpoint()
                }
                Self::Sqs => {
                    let served = Sqs::new(&aqueduct_runtime::tokio()).serve_on(0).await;
                    let served = served.map_err(|e| failed("the server did not start", e))?;
                    sqs.insert(served).endpoint().to_owned()
                }
                Self::Kinesis | Self::KinesisLimited => {
                    let options = StoreOptions {
                        enforce_limits: self == Self::KinesisLimited,
                        ..KinesisServer::quick()
                    };
                    let served = KinesisServer::start(options).await;
                    let served = served.map_err(|e| failed("the server did not start", e))?;
                    kinesis.insert(served).endpoint().to_owned()
                }
                Self::EventHubs | Self::EventHubsSlow => {
                    let served = eventhubs::namespace(self == Self::EventHubsSlow).await;
                    let served = served.map_err(|e| failed("the server did not start", e))?;
                    eventhubs::fill(&served, filled).await?;
                    hubs.insert(served).connection_string()
                }
            })
        });
        let endpoint = endpoint?;
        let mut out = std::io::stdout();
        writeln!(out, "{endpoint}")
            .and_then(|()| out.flush())
            .map_err(|e| {
                failed(
                    "the endpoint could not be printed for the parent process",
                    e,
                )
            })?;
        let mut rest = Vec::new();
        std::io::stdin()
            .read_to_end(&mut rest)
            .map_err(|e| failed("standard input", e))?;
        Ok(())
    }
}

/// Returns the server that this process was started as, and how many events it begins with.
pub(crate) fn asked_for() -> Option<(Kind, u64)> {
    let first = std::env::args().nth(1)?;
    let kind = KINDS.into_iter().find(|kind| kind.argument() == first)?;
    let filled = std::env::args().nth(2).and_then(|it| it.parse().ok());
    Some((kind, filled.unwrap_or_default()))
}

/// A running server; dropping it ends the process.
pub(crate) struct Server {
    pub(crate) endpoint: String,
    child: Child,
}

impl Server {
    pub(crate) fn start(kind: Kind) -> Result<Self> {
        Self::start_filled(kind, 0)
    }

    /// Starts a server that begins with that many events.
    pub(crate) fn start_filled(kind: Kind, events: u64) -> Result<Self> {
        let myself = std::env::current_exe().map_err(|e| failed("this program", e))?;
        let mut child = Command::new(myself)
            .arg(kind.argument())
            .arg(events.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| failed("the server's process did not start", e))?;
        let mut endpoint = String::new();
        if let Some(said) = child.stdout.take() {
            BufReader::new(said)
                .read_line(&mut endpoint)
                .map_err(|e| failed("the server did not print its endpoint", e))?;
        }
        let endpoint = endpoint.trim().to_owned();
        let server = Self { endpoint, child };
        if server.endpoint.is_empty() {
            return Err(Error::new(ErrorKind::Unavailable, "the server has ended"));
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn failed(what: &'static str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, what).with_source(error)
}
