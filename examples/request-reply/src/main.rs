//! Requests and replies over two streams: one question to three shops at once, the answers gathered.

use std::time::Duration;

use aqueduct::{Client, Event, Producer, Result, State};
use futures::future::join_all;

const CONFIG: &str = r#"
[client]
source = "/examples/request-reply"

[streams.questions]
url = "sqlite:data/request-reply/events.db"
[streams.answers]
url = "sqlite:data/request-reply/events.db"

[groups.shops]
stream = "questions"
on_reject = "stop"
"#;

const SHOPS: [(&str, u32); 3] = [("north", 950), ("south", 870), ("closed", 0)];

/// Replies to questions; a shop that is closed does not.
async fn reply(asked: Event, State(answers): State<Producer>) -> Result<()> {
    let shop = SHOPS
        .into_iter()
        .find(|(shop, _)| asked.subject() == Some(*shop));
    if let Some((shop, price)) = shop
        && price > 0
    {
        let told = Event::json("price.told", &price)?.with_subject(shop);
        // The cause makes it a reply; a handler that runs again sends the same one.
        answers.send(told.caused_by(&asked, 0)).await?;
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let client = Client::from_toml(CONFIG).await?;
    let answers = client.producer("answers").await?;
    let shops = client
        .worker("shops")
        .await?
        .state(answers)
        .on("price.asked", reply);
    let control = shops.control();
    let running = tokio::spawn(shops.run_to_end());

    let requester = client.requester("questions", "answers").await?;
    let questions = SHOPS.map(|(shop, _)| {
        let asked = Event::new("price.asked").with_subject(shop);
        requester.request(asked, Duration::from_secs(2))
    });
    for ((shop, _), told) in SHOPS.into_iter().zip(join_all(questions).await) {
        match told {
            Ok(told) => println!("{shop}: {} cents", told.decode_json::<u32>()?),
            Err(error) => println!("{shop}: {error}"),
        }
    }
    control.stop();
    running.await.expect("the worker does not panic")?;
    client.close().await
}
