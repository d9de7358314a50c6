//! Requests and replies: who gets which reply, and what if none comes.

use std::time::Duration;

use aqueduct::{Client, Environment, ErrorKind, Event, Producer, Requester, State};

const STREAMS: &str = r#"
[client]
source = "/shop"
[streams.questions]
url = "memory:"
[streams.answers]
url = "memory:"
[groups.prices]
stream = "questions"
on_reject = "stop"
[groups.replies]
stream = "answers"
on_reject = "stop"
"#;

const LONG: Duration = Duration::from_secs(60);

async fn client() -> Client {
    let builder = Client::builder().toml(STREAMS);
    builder
        .environment(Environment::empty())
        .build()
        .await
        .unwrap()
}

/// Starts a worker that doubles numbers and leaves the number 0 without a reply.
async fn start_doubling(client: &Client) -> aqueduct::WorkerHandle {
    let answers = client.producer("answers").await.unwrap();
    let worker = client.worker("prices").await.unwrap().state(answers).on(
        "*",
        |asked: Event, State(answers): State<Producer>| async move {
            let number: u64 = asked.decode_json()?;
            if number == 0 {
                return Ok(());
            }
            let told = Event::json("told", &(number * 2))?;
            answers.send(told.clone().caused_by(&asked, 0)).await?;
            // A second reply, which nobody waits for.
            answers.send(told.caused_by(&asked, 1)).await.map(drop)
        },
    );
    let control = worker.control();
    client.runtime().spawn(worker.run_to_end()).detach();
    control
}

async fn ask(requester: &Requester, number: u64) -> u64 {
    let asked = Event::json("asked", &number).unwrap();
    requester
        .request(asked, LONG)
        .await
        .unwrap()
        .decode_json()
        .unwrap()
}

#[tokio::test]
async fn every_request_gets_its_own_reply() {
    let client = client().await;
    let control = start_doubling(&client).await;
    let one = client.requester("questions", "answers").await.unwrap();
    let other = client.requester_of("questions", "replies").await.unwrap();
    let mut asked = tokio::task::JoinSet::new();
    for n in 1..=50 {
        let requester = if n % 2 == 0 {
            one.clone()
        } else {
            other.clone()
        };
        asked.spawn(async move { (n, ask(&requester, n).await) });
    }
    // One reads the stream and one is a group on it: both see every reply.
    while let Some(asked) = asked.join_next().await {
        let (n, told) = asked.unwrap();
        assert_eq!(told, 2 * n);
    }
    control.stop();
}

#[tokio::test]
async fn a_reply_that_never_comes_is_a_typed_error_and_leaves_nothing() {
    let client = client().await;
    let control = start_doubling(&client).await;
    let requester = client.requester("questions", "answers").await.unwrap();
    let silent = Event::json("asked", &0).unwrap();
    let waited = requester.request(silent, Duration::from_millis(50)).await;
    let error = waited.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(
        error.to_string().contains("no reply arrived within 50ms"),
        "{error}"
    );
    assert_eq!(format!("{requester:?}"), "Requester { waiting: 0, .. }");
    // One that belongs to a longer process keeps that process's id.
    let asked = Event::json("asked", &4)
        .unwrap()
        .with_correlation_id("order 7");
    let told = requester.request(asked, LONG).await.unwrap();
    assert_eq!(told.correlation_id(), Some("order 7"));
    control.stop();
}

#[tokio::test]
async fn a_request_twice_at_once_and_unknown_streams_are_refused() {
    let client = client().await;
    let requester = client.requester("questions", "answers").await.unwrap();
    let asked = Event::json("asked", &1).unwrap().with_id("A1");
    let first = requester.request(asked.clone(), LONG);
    tokio::select! {
        biased;
        _ = first => panic!("nobody replies"),
        second = requester.request(asked, LONG) => {
            let error = second.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid);
            assert!(error.to_string().contains("A1"), "{error}");
        }
    }
    let unknown = client.requester("nope", "answers").await.unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Config);
}
