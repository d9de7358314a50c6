use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::command;
use crate::outcome::Verdict;
use crate::services::{Place, REGION, Service};
use crate::suites::Cloud;

/// The number of orders, and of invalid lines.
const ORDERS: u64 = 600;
const BAD_LINES: u64 = 3;

/// The number of kills.
const KILLS: u32 = 4;

/// The deadline of every wait: the leases of a killed member expire after 5 s.
const DEADLINE: Duration = Duration::from_secs(180);

/// The longest build of the example.
const BUILD: Duration = Duration::from_secs(900);

/// Runs the order example by configuration alone, kills it repeatedly, and audits what is
/// stored: nothing lost, nothing charged twice, nothing out of order.
pub(crate) async fn run(cloud: Cloud) -> Verdict {
    let verdict = match flow(&cloud).await {
        Ok(what) => Verdict::Passed(what),
        Err(why) => Verdict::Failed(why),
    };
    match (verdict, cloud.clean().await.first()) {
        (Verdict::Passed(_), Some(why)) => {
            Verdict::Failed(format!("what was made is not deleted: {why}"))
        }
        (verdict, _) => verdict,
    }
}

async fn flow(cloud: &Cloud) -> Result<String, String> {
    let building = tokio::task::spawn_blocking(build);
    let program = building.await.map_err(|panic| panic.to_string())??;
    let data = tempfile::tempdir().map_err(|error| error.to_string())?;
    let input = data.path().join("orders.jsonl");
    write_orders(&input).map_err(|error| format!("{}: {error}", input.display()))?;
    let example = Example {
        program,
        data: data.path().to_path_buf(),
        input,
        environment: environment(cloud),
    };

    let mut before = 0;
    let mut killed_in_between = 0;
    for round in 0..KILLS {
        let mut child = example.start()?;
        let begun = Instant::now();
        let reached = example.wait_for_more(before, &mut child).await?;
        println!(
            "   round {round}: {reached} of {ORDERS} orders finished, it moved after {:.1} s",
            begun.elapsed().as_secs_f64()
        );
        // Each round is killed at another point.
        tokio::time::sleep(Duration::from_millis(70 * u64::from(round))).await;
        killed_in_between += u32::from(reached < ORDERS);
        child.kill().await.map_err(|error| error.to_string())?;
        before = example.finished();
    }
    if killed_in_between < 2 {
        return Err("the kills came too late to mean anything".into());
    }
    let summary = example.end().await?;
    check(&summary)?;
    // Once more on what is finished: nothing is placed or charged again.
    let again = example.end().await?;
    check(&again)?;
    Ok(format!(
        "{ORDERS} orders whole after {KILLS} kills, {killed_in_between} of them in between; {} dead letters",
        summary["dead_lettered"]
    ))
}

fn check(summary: &Value) -> Result<(), String> {
    let number = |field: &str| summary[field].as_u64().unwrap_or(u64::MAX);
    let ended = number("shipped").saturating_add(number("payment_failed"));
    let whole = number("orders") == ORDERS
        && ended == ORDERS
        && ["lost", "charged_twice", "out_of_order"]
            .iter()
            .all(|field| number(field) == 0);
    match whole && number("dead_lettered") == BAD_LINES {
        true => Ok(()),
        false => Err(format!("the audit found: {summary}")),
    }
}

/// Builds the example with its feature, in the same target folder.
fn build() -> Result<PathBuf, String> {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--package", "order-processing"]);
    cargo.args(["--features", "aws"]);
    command::run(&mut cargo, BUILD)?;
    let this = std::env::current_exe().map_err(|error| error.to_string())?;
    let target = crate::install::target(&this)?;
    let name = format!("order-processing{}", std::env::consts::EXE_SUFFIX);
    Ok(target.join("debug").join(name))
}

/// Writes orders of few customers, so that there is an order to keep, and invalid lines.
fn write_orders(path: &Path) -> std::io::Result<()> {
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    for number in 0..ORDERS {
        let order = json!({
            "order_id": format!("{number}"),
            "customer_id": format!("CUSTOMER{}", number % 37),
            "placed_at": "2026-01-01",
            "items": [{"sku": "1", "quantity": 1 + number % 5, "unit_price": 10.05}],
        });
        writeln!(file, "{order}")?;
        if number % (ORDERS / BAD_LINES) == 7 {
            writeln!(file, "line {number} is not an order")?;
        }
    }
    file.flush()
}

/// Returns the environment that directs the example's configuration to this place.
fn environment(cloud: &Cloud) -> Vec<(String, String)> {
    let name = cloud.name();
    let mut variables = Vec::new();
    if let Place::Emulators(endpoints) = &cloud.place {
        for (service, endpoint) in endpoints {
            variables.push((service.variable().to_owned(), endpoint.clone()));
        }
        for (variable, value) in [
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ] {
            variables.push((variable.to_owned(), value.to_owned()));
        }
    }
    let mut set = |service: Service, table: &str, scheme: &str| {
        let named = format!("{name}-{}", table.to_lowercase());
        cloud.delete_at_end(service, &named);
        let kind = match scheme {
            "kinesis" => "STREAMS",
            _ => "STORES",
        };
        variables.push((
            format!("AQUEDUCT__{kind}__{table}__URL"),
            format!("{scheme}://{named}"),
        ));
    };
    for stream in ["ORDERS", "PAYMENTS", "SHIPMENTS", "ORDER_STATUS"] {
        set(Service::Kinesis, stream, "kinesis");
    }
    set(Service::Dynamodb, "LEASES", "dynamodb");
    set(Service::Sqs, "LETTERS", "sqs");
    for group in ["PAYMENT", "SHIPPING", "MANAGEMENT"] {
        variables.push((format!("AQUEDUCT__GROUPS__{group}__LEASE_TTL"), "5s".into()));
    }
    variables
}

/// The program with its input and folder.
struct Example {
    program: PathBuf,
    data: PathBuf,
    input: PathBuf,
    environment: Vec<(String, String)>,
}

impl Example {
    fn start(&self) -> Result<Child, String> {
        let config =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/order-processing/aws.toml");
        Command::new(&self.program)
            .arg("--config")
            .arg(config)
            .arg("--data")
            .arg(&self.data)
            .arg("--orders")
            .arg(&self.input)
            .args(["--json", "--quiet"])
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.program.display()))
    }

    /// Runs it to its end and returns its summary.
    async fn end(&self) -> Result<Value, String> {
        let ending = tokio::time::timeout(DEADLINE, self.start()?.wait_with_output());
        let output = ending
            .await
            .map_err(|_| format!("it has not ended after {DEADLINE:?}"))?
            .map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().next_back().unwrap_or_default();
        serde_json::from_str(last).map_err(|_| format!("it ended with {}: {text}", output.status))
    }

    /// Returns the number of finished orders.
    fn finished(&self) -> u64 {
        let query =
            "SELECT count(*) FROM order_state WHERE status IN ('shipped', 'payment_failed')";
        let read_only = OpenFlags::SQLITE_OPEN_READ_ONLY;
        Connection::open_with_flags(self.data.join("orders.db"), read_only)
            .and_then(|db| db.query_row(query, [], |row| row.get::<_, i64>(0)))
            .map_or(0, i64::cast_unsigned)
    }

    /// Waits until more than `above` orders are finished or it has ended. Returns the number finished.
    async fn wait_for_more(&self, above: u64, child: &mut Child) -> Result<u64, String> {
        let begun = Instant::now();
        loop {
            let now = self.finished();
            let ended = child.try_wait().map_err(|error| error.to_string())?;
            match ended {
                Some(status) if !status.success() => {
                    return Err(format!("it ended with {status}"));
                }
                Some(_) => return Ok(now),
                None if now > above => return Ok(now),
                None if begun.elapsed() > DEADLINE => {
                    return Err(format!(
                        "it stays at {now} finished orders for {DEADLINE:?}"
                    ));
                }
                None => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }
}
