//! The pipeline as a process that is killed again and again: nothing is lost, and keys keep their order.
//!
//! `KILLS=100 cargo test -p pipeline` kills it that often.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aqueduct::{Client, Event, Start};

const KEYS: usize = 20;
const LIMIT: Duration = Duration::from_secs(120);

#[derive(serde::Serialize, serde::Deserialize)]
struct Order {
    total: u32,
    number: usize,
}

fn start(folder: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_pipeline"))
        .arg("run")
        .env("DATA", folder)
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

async fn client(folder: &Path) -> Client {
    let stream = |name: &str| {
        format!(
            "[streams.{name}]\nurl = \"sqlite:{}/{name}.db\"\n",
            folder.display()
        )
    };
    let streams: String = ["orders", "archive", "review"].map(stream).concat();
    let toml = format!("[client]\nsource = \"/test\"\n{streams}");
    Client::from_toml(&toml).await.unwrap()
}

/// Follows a target: what arrived, in the order of each key, copies left out.
struct Target {
    reader: aqueduct::Reader,
    arrived: BTreeMap<String, Vec<usize>>,
    ids: BTreeSet<String>,
    copies: usize,
}

impl Target {
    async fn open(client: &Client, stream: &str) -> Self {
        Self {
            reader: client.reader(stream, Start::Earliest).await.unwrap(),
            arrived: BTreeMap::new(),
            ids: BTreeSet::new(),
            copies: 0,
        }
    }

    /// Reads until that many different events have arrived.
    async fn wait_for(&mut self, count: usize) {
        let deadline = Instant::now() + LIMIT;
        while self.ids.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            let read = tokio::time::timeout(left, self.reader.next());
            let read = read.await.unwrap_or_else(|_| {
                panic!(
                    "{} of {count} events arrived within {LIMIT:?}",
                    self.ids.len()
                )
            });
            let event = read.unwrap().expect("the stream goes on").event;
            if !self.ids.insert(event.id().to_string()) {
                self.copies += 1;
                continue;
            }
            let order: Order = event.decode_json().unwrap();
            let key = event.key().unwrap().to_owned();
            self.arrived.entry(key).or_default().push(order.number);
        }
    }

    fn assert_in_order(&self) {
        for (key, numbers) in &self.arrived {
            assert!(numbers.is_sorted(), "{key}: {numbers:?}");
        }
    }
}

#[tokio::test]
async fn killed_anywhere_it_loses_nothing_and_keeps_the_order_of_keys() {
    let kills: usize = match std::env::var("KILLS") {
        Ok(kills) => kills.parse().expect("KILLS is a number"),
        Err(_) => 6,
    };
    let folder = tempfile::tempdir().unwrap();
    let client = client(folder.path()).await;
    let orders = client.producer("orders").await.unwrap();
    let (mut archive, mut review) = (
        Target::open(&client, "archive").await,
        Target::open(&client, "review").await,
    );
    let (mut sent, mut large) = (0, 0);
    for round in 0..=kills {
        let events: Vec<_> = (sent..sent + 120)
            .map(|number| {
                let total = if number % 3 == 0 { 2000 } else { 10 };
                let order = Event::json("order.paid", &Order { total, number }).unwrap();
                order.with_key(format!("k{}", number % KEYS))
            })
            .collect();
        large += (sent..sent + 120).filter(|number| number % 3 == 0).count();
        sent += events.len();
        orders.send_all(events).await.unwrap();
        let mut process = start(folder.path());
        let last = round == kills;
        // Somewhere among those of this round, never at the same place twice.
        let until = if last {
            sent
        } else {
            sent - 119 + (round * 53) % 118
        };
        archive.wait_for(until).await;
        if last {
            review.wait_for(large).await;
        }
        process.kill().unwrap();
        process.wait().unwrap();
    }
    archive.assert_in_order();
    review.assert_in_order();
    println!(
        "{kills} kills, {sent} orders, {} copies",
        archive.copies + review.copies
    );
    client.close().await.unwrap();
}
