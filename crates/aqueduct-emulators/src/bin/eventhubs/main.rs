//! Event Hubs as a program: `eventhubs --port 5672 --hub orders:4 --group orders:billing`.

mod control;

use std::process::ExitCode;
use std::time::Duration;

use aqueduct_emulators::{EventHubs, EventHubsOptions};
use tokio::sync::mpsc;

const USAGE: &str =
    "usage: eventhubs [--port PORT] [--hub NAME:PARTITIONS]... [--group HUB:GROUP]...
                 [--key NAME:VALUE]... [--opaque-offsets] [--latency MILLISECONDS]
                 [--retained EVENTS] [--certificate FILE --private-key FILE]

Serves Azure Event Hubs over AMQP, with a certificate (PEM) over TLS, on 127.0.0.1 until it is stopped. The first line of its
output is the connection string; what clients do wrong goes to the standard error. Without --port it takes a free port; without --hub it has one hub,
`events`, with 4 partitions.

Each line of its input is a command, with one line of response: `ok`, a number, or `error: ...`.
  inject ADDRESS FAULT   the next operation on $cbs, $management, HUB, HUB/Partitions/N or
                         HUB/ConsumerGroups/GROUP/Partitions/N fails: cut, cut-after-store, cut-mid-delivery,
                         silence, busy, unauthorized, release, modify, lose-settlement, slow-settlement MILLISECONDS,
                         reject|detach|refuse-attach CONDITION TEXT, redirect HOST PORT
  pending                the number of faults that have not applied yet
  cut, silence           every open connection is cut, or gets nothing any more
  refuse on|off          new connections are closed at once
  steal HUB GROUP N      the receivers of a partition lose it to another
  expire HUB N SEQUENCE  the events before it are gone, as if retention had passed
  move                   another free port; the old one is closed
  create-hub HUB PARTITIONS, delete-hub HUB, add-partitions HUB PARTITIONS";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}\n\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), String> {
    let options = options(std::env::args().skip(1))?;
    let hubs = EventHubs::start(options)
        .await
        .map_err(|error| format!("cannot listen: {error}"))?;
    println!("{}", hubs.connection_string());
    tokio::select! {
        stopped = tokio::signal::ctrl_c() => stopped.map_err(|error| error.to_string()),
        () = tell_violations(&hubs) => Ok(()),
        failed = obey(&hubs) => failed,
    }
}

/// Carries out the commands of the standard input. Its end is not the end of the emulator.
async fn obey(hubs: &EventHubs) -> Result<(), String> {
    let mut lines = commands();
    while let Some(line) = lines.recv().await {
        match control::obey(hubs, line.trim()).await {
            Ok(said) => println!("{said}"),
            Err(why) => println!("error: {why}"),
        }
    }
    std::future::pending().await
}

/// Reads lines on a thread of its own: the runtime would wait for a read that nothing ends.
fn commands() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if !line.trim().is_empty() && sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Writes each violation to the standard error.
async fn tell_violations(hubs: &EventHubs) {
    let mut told = 0;
    loop {
        let violations = hubs.violations();
        for violation in &violations[told..] {
            eprintln!("{violation}");
        }
        told = violations.len();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<EventHubsOptions, String> {
    let (mut hubs, mut groups) = (Vec::new(), Vec::new());
    let (mut certificate, mut private_key) = (None, None);
    let mut options = EventHubsOptions::new();
    while let Some(argument) = arguments.next() {
        if argument == "--opaque-offsets" {
            options = options.with_opaque_offsets();
            continue;
        }
        let value = arguments.next();
        let value = value.ok_or_else(|| format!("{argument} needs a value"))?;
        let pair = || {
            let pair = value
                .split_once(':')
                .map(|(a, b)| (a.to_owned(), b.to_owned()));
            pair.ok_or_else(|| format!("{argument} {value}: expected two parts with `:` between"))
        };
        match argument.as_str() {
            "--port" => {
                let port = value.parse();
                options = options.with_port(port.map_err(|_| format!("invalid port {value}"))?);
            }
            "--hub" => hubs.push(pair()?),
            "--group" => groups.push(pair()?),
            "--key" => {
                let (name, key) = pair()?;
                options = options.with_key(&name, &key);
            }
            "--latency" => {
                let latency = number(&argument, &value)?;
                options = options.with_latency(Duration::from_millis(latency as u64));
            }
            "--retained" => {
                options = options.with_retained_events(number(&argument, &value)?);
            }
            "--certificate" => certificate = Some(read(&value)?),
            "--private-key" => private_key = Some(read(&value)?),
            other => return Err(format!("unknown option {other}")),
        }
    }
    options = match (certificate, private_key) {
        (Some(certificate), Some(key)) => options.with_tls(&certificate, &key),
        (None, None) => options,
        _ => return Err("--certificate and --private-key belong together".to_owned()),
    };
    if hubs.is_empty() {
        hubs.push(("events".to_owned(), "4".to_owned()));
    }
    for (name, partitions) in &hubs {
        options = options.with_hub(name, number("--hub", partitions)?);
    }
    for (hub, group) in &groups {
        if !hubs.iter().any(|(name, _)| name.eq_ignore_ascii_case(hub)) {
            return Err(format!("--group {hub}:{group}: there is no hub {hub}"));
        }
        options = options.with_consumer_group(hub, group);
    }
    Ok(options)
}

fn number(argument: &str, value: &str) -> Result<usize, String> {
    let number = value.parse();
    number.map_err(|_| format!("{argument}: `{value}` is not a number"))
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
