//! A work queue: several members of one group share the jobs. Each job goes to one of them; when a
//! member leaves or dies, the others take over what it had.
//!
//! Members may be tasks, as here, or processes on one file. With `url = "sqs://jobs"` the same
//! program runs on a queue service.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct::{Client, Event, Json, Result};
use tokio::sync::watch;

const CONFIG: &str = r#"
[client]
source = "/examples/work-queue"

[streams.jobs]
url = "sqlite:data/work-queue/events.db"
partitions = 8                           # the most members that can work side by side

[groups.workers]
stream = "jobs"
on_reject = "stop"
concurrency = 4                          # jobs at a time in each member
lease_ttl = "1500ms"                     # short, so that the members soon share the partitions
"#;

const JOBS: usize = 400;

/// How long a job takes.
const WORK: Duration = Duration::from_millis(50);

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let jobs = client.producer("jobs").await?;
    // Jobs without a key are spread over the partitions and run in any order.
    let events: Result<Vec<_>> = (0..JOBS)
        .map(|job| Event::json("job.submitted", &job))
        .collect();
    jobs.send_all(events?).await?;

    let done = Arc::new(Mutex::new(BTreeMap::<usize, usize>::new()));
    let (finished, stop) = watch::channel(false);
    let finished = Arc::new(finished);
    let mut members = Vec::new();
    for member in 1..=3 {
        let (done, finished) = (done.clone(), finished.clone());
        let worker =
            client
                .worker("workers")
                .await?
                .on("job.submitted", move |Json(_job): Json<usize>| {
                    let (done, finished) = (done.clone(), finished.clone());
                    async move {
                        tokio::time::sleep(WORK).await;
                        let mut done = done.lock().expect("no handler panics");
                        *done.entry(member).or_default() += 1;
                        if done.values().sum::<usize>() >= JOBS {
                            finished.send_replace(true);
                        }
                    }
                });
        let mut stop = stop.clone();
        members.push(tokio::spawn(worker.run_until(async move {
            let _ = stop.wait_for(|stop| *stop).await;
        })));
    }
    for member in members {
        member.await.expect("a member does not panic")?;
    }
    for (member, count) in done.lock().expect("no handler panics").iter() {
        println!("member {member} did {count} jobs");
    }
    client.close().await
}
