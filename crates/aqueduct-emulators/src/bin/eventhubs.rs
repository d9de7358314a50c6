//! Event Hubs as a program: `eventhubs --port 5672 --hub orders:4 --group orders:billing`.

use std::process::ExitCode;
use std::time::Duration;

use aqueduct_emulators::{EventHubs, EventHubsOptions};

const USAGE: &str =
    "usage: eventhubs [--port PORT] [--hub NAME:PARTITIONS]... [--group HUB:GROUP]...
                 [--key NAME:VALUE]... [--opaque-offsets] [--certificate FILE --private-key FILE]

Serves Azure Event Hubs over AMQP, with a certificate (PEM) over TLS, on 127.0.0.1 until it is stopped. The first line of its
output is the connection string; what clients do wrong goes to the standard error. Without --port it takes a free port; without --hub it has one hub,
`events`, with 4 partitions.";

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
    }
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
        let count = partitions.parse();
        let count = count.map_err(|_| format!("invalid number of partitions {partitions}"))?;
        options = options.with_hub(name, count);
    }
    for (hub, group) in &groups {
        if !hubs.iter().any(|(name, _)| name.eq_ignore_ascii_case(hub)) {
            return Err(format!("--group {hub}:{group}: there is no hub {hub}"));
        }
        options = options.with_consumer_group(hub, group);
    }
    Ok(options)
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))
}
