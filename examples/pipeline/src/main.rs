//! A pipeline, by configuration alone: paid orders are archived, and large ones are reviewed too.
//!
//! `pipeline` shows it and ends; `pipeline run` runs until SIGTERM or ctrl-c. The variable `DATA` names
//! the folder of the streams.

use aqueduct::{Client, Event, Result, Start};

const CONFIG: &str = r#"
[client]
source = "/examples/pipeline"

[streams.orders]
url = "sqlite:${DATA}/orders.db"
[streams.archive]
url = "sqlite:${DATA}/archive.db"
[streams.review]
url = "sqlite:${DATA}/review.db"

[groups.copier]
stream = "orders"
on_reject = "stop"

[routes.paid]
default = "archive"

[[routes.paid.rules]]
when = "data.total > 1000"
to = ["archive", "review"]

[pipelines.paid]
group = "copier"
filter = "type == 'order.paid'"
route = "paid"
"#;

#[derive(serde::Serialize)]
struct Order {
    total: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let folder = std::env::var("DATA").unwrap_or_else(|_| "data/pipeline".into());
    let client = Client::from_toml(&CONFIG.replace("${DATA}", &folder)).await?;
    let pipeline = client.pipeline("paid").await?;
    if std::env::args().nth(1).as_deref() == Some("run") {
        pipeline.run().await?;
        return client.close().await;
    }
    let orders = client.producer("orders").await?;
    let mut review = client.reader("review", Start::Latest).await?;
    for (total, key) in [
        (50, "alice"),
        (2500, "bob"),
        (700, "alice"),
        (1200, "carol"),
    ] {
        let order = Event::json("order.paid", &Order { total })?.with_key(key);
        orders.send(order).await?;
    }
    let show = async {
        for _ in 0..2 {
            if let Some(read) = review.next().await? {
                println!(
                    "review the order of {}",
                    read.event.key().unwrap_or("nobody")
                );
            }
        }
        Result::Ok(())
    };
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let shown = async {
        let shown = show.await;
        drop(stop);
        shown
    };
    let running = pipeline.run_until(async move { drop(stopped.await) });
    tokio::try_join!(running, shown)?;
    client.close().await
}
