use aqueduct_core::Result;

use super::hub::{Hub, event};
use super::raw::{Client, send_batch};
use super::{FULL, SMALL};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter};
use crate::memory::block_on;

/// 100 B of JSON with 1,000 keys into 4 partitions.
///
/// `client`: the AMQP client in a loop that waits for each batch: 1,000 events, or 100 with a round trip. It
/// puts all keys in one batch, which the service would store in one partition: a batch for each key would be
/// slower. `aqueduct raw`: the producer engine with as many events per call, only data and key, which it sends
/// to the partitions of the keys. `aqueduct`: with the properties of CloudEvents. `… 5 ms`: with a round trip
/// of 5 ms; there the engine is given event by event.
pub(crate) const CONTESTANTS: &[Contestant] = &[
    contestant("client", FULL, |events, batch| client(events, batch, false)),
    contestant("aqueduct raw", FULL, |events, batch| {
        aqueduct(events, batch, "raw")
    }),
    contestant("aqueduct", FULL, |events, batch| {
        aqueduct(events, batch, "cloudevents")
    }),
    contestant("client 5 ms", SMALL, |events, batch| {
        client(events, batch, true)
    }),
    contestant("aqueduct raw 5 ms", SMALL, |events, _| enqueued(events)),
];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "rate to the client's loop",
        bound: Bound::AtLeast(0.95),
        value: |round| round.rate_ratio("aqueduct raw", "client"),
    },
    Aim {
        what: "rate to the client's loop, round trip of 5 ms",
        bound: Bound::AtLeast(5.0),
        value: |round| round.rate_ratio("aqueduct raw 5 ms", "client 5 ms"),
    },
    Aim {
        what: "instructions of an event to the client's",
        bound: Bound::AtMost(1.15),
        value: |round| round.instruction_ratio("aqueduct raw", "client"),
    },
    Aim {
        what: "CPU of an event to the client's",
        bound: Bound::None,
        value: |round| round.cpu_ratio("aqueduct raw", "client"),
    },
];

const fn contestant(
    name: &'static str,
    batch: usize,
    run: fn(u64, usize) -> Result<Figures>,
) -> Contestant {
    Contestant {
        name,
        direction: None,
        batch,
        run,
    }
}

fn client(events: u64, batch: usize, slow: bool) -> Result<Figures> {
    block_on(async {
        let hub = Hub::start(slow)?;
        let mut client = Client::open(&hub).await?;
        let mut sender = client.sender().await?;
        send_batch(&mut sender, 0..1).await?;
        let meter = Meter::begin();
        for first in (0..events).step_by(batch) {
            send_batch(&mut sender, first..events.min(first + batch as u64)).await?;
        }
        Ok(meter.end(events))
    })
}

fn aqueduct(events: u64, batch: usize, encoding: &str) -> Result<Figures> {
    block_on(async {
        let hub = Hub::start(false)?;
        let engine = hub.engine(encoding).await?;
        // Opens the links of all partitions.
        engine
            .send_all((0..100).map(event).collect::<Result<_>>()?)
            .await?;
        let meter = Meter::begin();
        for first in (0..events).step_by(batch) {
            let numbers = first..events.min(first + batch as u64);
            engine
                .send_all(numbers.map(event).collect::<Result<_>>()?)
                .await?;
        }
        let figures = meter.end(events);
        engine.close().await?;
        Ok(figures)
    })
}

/// Sends event by event, as many side by side as the engine takes.
fn enqueued(events: u64) -> Result<Figures> {
    block_on(async {
        let hub = Hub::start(true)?;
        let engine = hub.engine("raw").await?;
        engine
            .send_all((0..100).map(event).collect::<Result<_>>()?)
            .await?;
        let meter = Meter::begin();
        let mut pending = Vec::with_capacity(events as usize);
        for number in 0..events {
            pending.push(engine.enqueue(event(number)?).await?);
        }
        for sent in pending {
            sent.await?;
        }
        let figures = meter.end(events);
        engine.close().await?;
        Ok(figures)
    })
}
