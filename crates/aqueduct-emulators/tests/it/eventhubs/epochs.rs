use fe2o3_amqp::Receiver;

use super::client::{Client, encoded, event, receive, soon, start, try_receive, until};

const EARLIEST: &str = "x-opt-offset > '-1'";

async fn attach(client: &mut Client, epoch: Option<i64>) -> Result<Receiver, String> {
    match client.try_receiver("$Default", 0, EARLIEST, epoch).await {
        Ok(mut receiver) => {
            // A refusal may also come after the attach: only one that is served is there.
            match soon("event", try_receive(&mut receiver)).await {
                Ok(_) => Ok(receiver),
                Err(error) => Err(format!("{error:?}")),
            }
        }
        Err(error) => Err(format!("{error:?}")),
    }
}

#[tokio::test]
async fn a_higher_epoch_takes_the_partition_and_a_lower_one_is_refused() {
    let hubs = start().await;
    hubs.publish("orders", 0, encoded(event("one", None)));
    let mut first = Client::open(&hubs).await;
    let mut second = Client::open(&hubs).await;
    let mut old = attach(&mut first, Some(3)).await.unwrap();
    let _new = attach(&mut second, Some(4)).await.unwrap();
    // Not even an event that comes now reaches the one that lost.
    hubs.publish("orders", 0, encoded(event("two", None)));
    let lost = soon("loss", try_receive(&mut old)).await;
    let lost = format!("{:?}", lost.unwrap_err());
    assert!(
        lost.contains("Stolen") && lost.contains("epoch 4"),
        "{lost}"
    );
    for epoch in [Some(3), None] {
        let refused = attach(&mut first, epoch).await.unwrap_err();
        assert!(refused.contains("Stolen"), "{epoch:?}: {refused}");
    }
    assert_eq!(hubs.receivers("orders", "$Default", 0), 1);
}

#[tokio::test]
async fn readers_without_an_epoch_share_and_lose_to_one() {
    let hubs = start().await;
    hubs.publish("orders", 0, encoded(event("one", None)));
    let mut client = Client::open(&hubs).await;
    let mut readers = Vec::new();
    for _ in 0..5 {
        readers.push(attach(&mut client, None).await.unwrap());
    }
    let sixth = attach(&mut client, None).await.unwrap_err();
    assert!(
        sixth.contains("maximum number of allowed receivers"),
        "{sixth}"
    );
    let mut owner = Client::open(&hubs).await;
    let _owner = attach(&mut owner, Some(0)).await.unwrap();
    for reader in &mut readers {
        let lost = soon("loss", try_receive(reader)).await.unwrap_err();
        assert!(format!("{lost:?}").contains("Stolen"), "{lost:?}");
    }
}

#[tokio::test]
async fn a_link_is_stolen_on_demand_and_a_closed_one_is_forgotten() {
    let hubs = start().await;
    hubs.publish("orders", 0, encoded(event("one", None)));
    let mut client = Client::open(&hubs).await;
    let mut receiver = attach(&mut client, Some(1)).await.unwrap();
    assert_eq!(hubs.steal("orders", "$Default", 0), 1);
    let lost = soon("loss", try_receive(&mut receiver)).await.unwrap_err();
    assert!(format!("{lost:?}").contains("Stolen"), "{lost:?}");
    drop(receiver);
    let receiver = attach(&mut client, Some(1)).await.unwrap();
    receiver.close().await.unwrap();
    until("the receiver is gone", || {
        hubs.receivers("orders", "$Default", 0) == 0
    })
    .await;
    // Another owner may use a lower epoch once the link is closed.
    let mut receiver = attach(&mut client, Some(0)).await.unwrap();
    hubs.publish("orders", 0, encoded(event("two", None)));
    assert_eq!(receive(&mut receiver).await.body, b"two");
}
