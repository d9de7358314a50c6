//! A layer of your own: it marks every event with a region when it is sent, and reports handlers
//! that are slow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aqueduct::core::{HandlerCall, HandlerFuture, HandlerInterceptor, Layer, Stage};
use aqueduct::{Client, Event, Result};
use tokio::sync::Notify;

const CONFIG: &str = r#"
[client]
source = "/examples/custom-layer"

[streams.orders]
url = "sqlite:data/custom-layer/events.db"

[groups.billing]
stream = "orders"
on_reject = "stop"
"#;

struct Regional(&'static str);

/// Every method but the name and the stage has a default that changes nothing.
impl Layer for Regional {
    fn name(&self) -> &'static str {
        "regional"
    }

    /// Layers run in the order of their stages; a wrong order is refused when the client is built.
    fn stage(&self) -> Stage {
        Stage::Observe
    }

    /// Edits an event once, before the first attempt. Retries keep the edit.
    fn stamp(&self, event: &mut Event) {
        let marked = event.clone().with_attribute("region", self.0);
        if let Ok(marked) = marked {
            *event = marked;
        }
    }

    fn handler(&self) -> Option<Arc<dyn HandlerInterceptor>> {
        Some(Arc::new(Slow))
    }
}

struct Slow;

impl HandlerInterceptor for Slow {
    fn call<'a>(&'a self, call: HandlerCall<'a>, handler: HandlerFuture<'a>) -> HandlerFuture<'a> {
        Box::pin(async move {
            let begun = Instant::now();
            let handled = handler.await;
            if begun.elapsed() > Duration::from_millis(20) {
                println!("slow: {} events", call.deliveries.len());
            }
            handled
        })
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::builder()
        .toml(CONFIG)
        .layer(Regional("eu-west-1"))
        .build()
        .await?;
    let orders = client.producer("orders").await?;
    orders.send(Event::json("order.placed", &7)?).await?;

    let done = Arc::new(Notify::new());
    let seen = done.clone();
    client
        .worker("billing")
        .await?
        .on("order.placed", move |event: Event| {
            let seen = seen.clone();
            async move {
                tokio::time::sleep(Duration::from_millis(50)).await;
                println!("an order from {:?}", event.attributes().get("region"));
                seen.notify_one();
            }
        })
        .run_until(async move { done.notified().await })
        .await?;
    client.close().await
}
