//! Worker, layers and backend together, with one and two attempts: only a failure of its own handler
//! makes an event a dead letter, whatever the backend makes of the settlements.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::backend::{KinesisBackend, SqsBackend};
use aqueduct::{Client, DeadLetterQuery, Environment, Event, Json, SqliteBackend, State, within};
use aqueduct_aws::Aws;
use aqueduct_emulators::{KinesisServer, Sqs, SqsLimits, test_credentials};

/// The most time for one run on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// The URL of the stream, and where the dead letters and idempotency records are.
const BACKENDS: [[&str; 3]; 5] = [
    ["memory:", "memory:orders-dlq", "memory:records"],
    ["sqlite:shop.db", "sqlite:shop.db", "sqlite:shop.db"],
    [
        "kinesis://orders?region=eu-west-1&create=missing&poll_interval=50ms",
        "sqlite:dlq.db",
        "sqlite:records.db",
    ],
    [
        "sqs://orders?region=eu-west-1&create=missing&visibility=2s",
        "sqs://orders-dlq?region=eu-west-1&create=missing",
        "sqlite:records.db",
    ],
    [
        "sqs://orders.fifo?region=eu-west-1&create=missing&visibility=2s",
        "sqs://orders-dlq.fifo?region=eu-west-1&create=missing",
        "sqlite:records.db",
    ],
];

async fn client(
    [stream, dead_letters, records]: [&str; 3],
    kinesis: &KinesisServer,
    attempts: u32,
    folder: &Path,
) -> Client {
    let runtime = aqueduct_runtime::tokio();
    let (stream, leases) = match stream.starts_with("kinesis:") {
        true => (
            format!("{stream}&endpoint={}", kinesis.endpoint()),
            "leases = \"sqlite:leases.db\"",
        ),
        false => (stream.to_owned(), ""),
    };
    let mut limits = SqsLimits::default();
    limits.deleted_name = Duration::ZERO;
    let sqs = Sqs::with_limits(&runtime, limits);
    let aws = Aws::new()
        .with_http_client(sqs.client())
        .with_credentials(test_credentials());
    let remote = Aws::new().with_credentials(test_credentials());
    let toml = format!(
        r#"
[client]
source = "/shop"
[streams.orders]
url = "{stream}"
[groups.billing]
stream = "orders"
{leases}
dead_letters = "{dead_letters}"
idempotency = "{records}"
redelivery = {{ attempts = {attempts}, first = "20ms", max = "50ms" }}
"#
    );
    let builder = Client::builder()
        .toml(&toml)
        .folder(folder)
        .environment(Environment::empty())
        .backend("sqlite", SqliteBackend::new())
        .backend("kinesis", KinesisBackend::with(remote))
        .backend("sqs", SqsBackend::with(aws));
    let client = builder.build().await.unwrap();
    client.check().unwrap();
    client
}

/// The runs of the handler: the number of the event.
type Ran = Arc<Mutex<Vec<u32>>>;

/// Sends six events of one key, of which the first fails `how`, and waits until all are handled and
/// the first is a dead letter.
async fn fails(backend: [&str; 3], attempts: u32, how: &'static str) {
    let place = format!("{} with {attempts} attempts, {how}", backend[0]);
    let folder = tempfile::tempdir().unwrap();
    let kinesis = KinesisServer::start(KinesisServer::quick()).await.unwrap();
    let client = client(backend, &kinesis, attempts, folder.path()).await;
    let ran = Ran::default();
    let handler = move |Json(n): Json<u32>, State(ran): State<Ran>| async move {
        ran.lock().unwrap().push(n);
        match (n, how) {
            (0, "error") => Err("poison"),
            (0, "panic") => panic!("poison"),
            (0, _) => futures::future::pending().await,
            _ => Ok(()),
        }
    };
    let worker = client.worker("billing").await.unwrap();
    let worker = worker
        .state(ran.clone())
        .on("*", within(Duration::from_millis(200), handler));
    let control = worker.control();
    let running = client.runtime().spawn(worker.run());
    let orders = client.producer("orders").await.unwrap();
    let events = (0..6).map(|n| Event::json("t", &n).unwrap().with_key("a"));
    orders.send_all(events.collect()).await.unwrap();
    let store = client.dead_letters("billing").await.unwrap();
    let mut expected = vec![0; attempts as usize];
    expected.extend(1..6);
    let listed = async {
        loop {
            let handled = ran.lock().unwrap().len() >= expected.len();
            let listed = store.list(&DeadLetterQuery::default()).await.unwrap();
            if handled && !listed.is_empty() {
                return listed;
            }
            client.runtime().sleep(Duration::from_millis(20)).await;
        }
    };
    let listed = tokio::time::timeout(DEADLINE, listed).await;
    let listed = listed.unwrap_or_else(|_| panic!("{place}: ran {:?}", ran.lock().unwrap()));
    control.stop();
    running.await.unwrap().unwrap();
    let mut ran = std::mem::take(&mut *ran.lock().unwrap());
    if backend[0].starts_with("sqs://orders?") {
        // A standard queue has no order.
        ran.sort_unstable();
    }
    assert_eq!(ran, expected, "{place}");
    let dead: Vec<u32> = listed
        .iter()
        .map(|it| it.dead_letter.event.decode_json().unwrap())
        .collect();
    assert_eq!(dead, [0], "{place}");
    assert_eq!(listed[0].dead_letter.attempts, attempts, "{place}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_failed_event_is_a_dead_letter_on_every_backend() {
    for backend in BACKENDS {
        for attempts in [1, 2] {
            for how in ["error", "panic", "time-out"] {
                fails(backend, attempts, how).await;
            }
        }
    }
}
