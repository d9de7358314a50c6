use aqueduct_core::{Event, Result};

use super::publish::engine;
use super::{FULL, Topic};
use crate::Contestant;
use crate::aims::{Aim, Bound};
use crate::measure::{Figures, Meter, held};
use crate::memory::block_on;

/// Events of 100 B of which each has an ordering key of its own, through the producer engine.
pub(crate) const CONTESTANTS: &[Contestant] = &[Contestant {
    name: "aqueduct",
    direction: None,
    batch: FULL,
    run: |events, _| run(events),
}];

pub(crate) const AIMS: &[Aim] = &[
    Aim {
        what: "MiB that the keys left, at the end",
        bound: Bound::AtMost(16.0),
        value: |round| round.extra("aqueduct", LEFT),
    },
    Aim {
        what: "tasks that the keys left, at the end",
        bound: Bound::AtMost(100.0),
        value: |round| round.extra("aqueduct", TASKS),
    },
];

const LEFT: &str = "heap_left_mib";
const PEAK: &str = "peak_heap_mib";
const TASKS: &str = "tasks_left";

fn run(events: u64) -> Result<Figures> {
    block_on(async {
        let topic = Topic::create(true).await?;
        let engine = engine(&topic, "").await?;
        // Connections and buffers are there before it is measured.
        engine.send_all(some(0..FULL as u64)).await?;
        let (heap, tasks) = (held(), tasks());
        let mut peak = heap;
        let meter = Meter::begin();
        let mut next = FULL as u64;
        let end = next + events;
        while next < end {
            let some_end = end.min(next + FULL as u64);
            engine.send_all(some(next..some_end)).await?;
            peak = peak.max(held());
            next = some_end;
        }
        let figures = meter.end(events);
        engine.flush().await?;
        // What ended is gone once the runtime has polled it.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        let figures = figures
            .with(PEAK, mib(peak - heap))
            .with(LEFT, mib(held() - heap))
            .with(TASKS, self::tasks() as f64 - tasks as f64);
        engine.close().await?;
        Ok(figures)
    })
}

fn some(numbers: std::ops::Range<u64>) -> Vec<Event> {
    let data = [b'x'; 100];
    numbers
        .map(|number| {
            Event::bytes("reading.taken", "text/plain", data.to_vec()).with_key(format!("{number}"))
        })
        .collect()
}

/// Returns the number of tasks of the runtime.
fn tasks() -> usize {
    tokio::runtime::Handle::current()
        .metrics()
        .num_alive_tasks()
}
