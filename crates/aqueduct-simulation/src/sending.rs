use std::sync::Arc;
use std::time::Duration;

use aqueduct::{Effect, Event, Producer};
use aqueduct_history::{Op, Phase, Text};

use crate::shop::Shop;

/// Sends the events of one key in order, each until it is acknowledged; some are sent once more.
pub(crate) async fn send_key(shop: Arc<Shop>, producer: Producer, key: usize) {
    for n in 0..shop.scenario.each {
        send(&shop, &producer, key, n).await;
        let pause = shop.main.jitter(Duration::from_secs(8));
        shop.main.sleep(pause).await;
        if shop.scenario.twice && n % 3 == 2 {
            send(&shop, &producer, key, n - 1).await;
        }
    }
}

async fn send(shop: &Shop, producer: &Producer, key: usize, n: usize) {
    let event = Event::new("order.placed")
        .with_id(format!("{key}-{n}"))
        .with_key(format!("k{key}"));
    loop {
        let line = |phase| {
            let line = shop.line("web", Op::Send, phase);
            line.key(Some(Text::from(format!("k{key}"))))
                .event(format!("{key}-{n}"))
        };
        shop.add(line(Phase::Invoke));
        let phase = match producer.send(event.clone()).await {
            Ok(_) => Phase::Ok,
            Err(error) if error.effect() == Effect::Unknown => Phase::Unknown,
            Err(_) => Phase::Fail,
        };
        shop.add(line(phase));
        if phase == Phase::Ok {
            return;
        }
        let pause = shop.main.jitter(Duration::from_secs(2));
        shop.main.sleep(pause).await;
    }
}
