//! Pub/Sub as a program: `pubsub --port 8085`.

use std::process::ExitCode;

use aqueduct_emulators::{PubSub, PubSubOptions};

const USAGE: &str = "usage: pubsub [--port PORT] [--seed NUMBER]

Serves Google Pub/Sub, gRPC and REST, on 127.0.0.1 until it is stopped. The first line of its output is the value for
PUBSUB_EMULATOR_HOST. Without --port it takes a free port.";

#[tokio::main]
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
    let started = PubSub::start(options).await;
    let pubsub = started.map_err(|error| format!("cannot listen: {error}"))?;
    println!("{}", pubsub.host());
    tokio::signal::ctrl_c()
        .await
        .map_err(|error| error.to_string())
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<PubSubOptions, String> {
    let mut options = PubSubOptions::new();
    while let Some(argument) = arguments.next() {
        let value = arguments.next();
        let value = value.ok_or_else(|| format!("{argument} needs a value"))?;
        let invalid = || format!("{argument}: `{value}` is not a valid number");
        options = match argument.as_str() {
            "--port" => options.with_port(value.parse().map_err(|_| invalid())?),
            "--seed" => options.with_seed(value.parse().map_err(|_| invalid())?),
            other => return Err(format!("unknown option {other}")),
        };
    }
    Ok(options)
}
