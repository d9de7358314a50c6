//! The fast path allocates for each call, not for each event.

use std::sync::Arc;

use aqueduct_core::{Capabilities, Claims, Event, Lane, Limits, Receipt, Result, SendReport};
use aqueduct_producer::{Producer, ProducerOptions};
use aqueduct_runtime::Simulation;
use async_trait::async_trait;
use futures::executor::block_on;

/// Stores nothing, at once.
struct Ready;

#[async_trait]
impl aqueduct_core::BatchProducer for Ready {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        SendReport::new(events.iter().map(|_| Ok(Receipt::default())).collect())
    }

    fn lane(&self, _: &Event) -> Lane {
        Lane(0)
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Limits::default(),
        }
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

fn allocations(calls: usize, mut call: impl FnMut()) -> f64 {
    (0..20).for_each(|_| call());
    let counted = allocation_counter::measure(|| (0..calls).for_each(|_| call()));
    counted.count_total as f64 / calls as f64
}

#[test]
fn a_call_allocates_a_few_times_however_many_events_it_has() {
    let simulation = Simulation::new(1);
    let producer = Producer::new(
        Arc::new(Ready),
        ProducerOptions::default(),
        &simulation.runtime(),
    );
    let event = Event::new("order.placed")
        .with_source("/shop")
        .with_key("VINET")
        .with_data(bytes::Bytes::from_static(b"{}"));
    let of = |count: usize| {
        allocations(200, || {
            // The vector that is given away is one of them.
            let events = vec![event.clone(); count];
            block_on(producer.send_all(events)).unwrap();
        })
    };
    let (ten, hundred) = (of(10), of(100));
    let one = allocations(200, || {
        block_on(producer.send(event.clone())).unwrap();
    });
    assert!(
        hundred <= 8.0 && hundred - ten < 1.0,
        "{ten} for 10, {hundred} for 100"
    );
    assert!(one <= 9.0, "{one} for a single event");
}
