//! Settling through the time-out layer allocates nothing, stamping a trace a few times an event.

use std::time::Duration;

use aqueduct_core::{
    Abandoned, Assignment, Event, Interceptor, Layer, Next, Parts, Revocation, Revocations,
    Settlement, Settler, Settling,
};
use aqueduct_layers::{Timeout, TimeoutOptions, Tracing, TracingOptions};
use aqueduct_runtime::Simulation;
use futures::executor::block_on;

/// Settles everything at once, as a log does.
struct Ready {
    assignment: Assignment,
    revocations: Revocations,
}

impl Settler for Ready {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn settle<'a>(&'a self, _: &'a Parts, _: Settlement) -> Settling<'a> {
        Settling::Ready(Ok(()))
    }

    fn extend<'a>(&'a self, _: &'a Parts, _: Duration) -> Settling<'a> {
        Settling::Ready(Ok(()))
    }

    fn revocation(&self, _: &Parts) -> Option<Revocation> {
        None
    }

    fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn abandon(&self, _: &Parts, _: Abandoned) {}
}

fn allocations(calls: u64, mut call: impl FnMut()) -> u64 {
    (0..20).for_each(|_| call());
    let counted = allocation_counter::measure(|| (0..calls).for_each(|_| call()));
    counted.count_total.div_ceil(calls)
}

#[test]
fn the_hot_paths_of_the_observing_layers_allocate_little() {
    let runtime = Simulation::new(1).runtime();
    let options = TimeoutOptions {
        settle: Some(Duration::from_secs(1)),
        ..TimeoutOptions::default()
    };
    let timeout = Timeout::new(options, &runtime).unwrap().consumer().unwrap();
    let layers: Vec<std::sync::Arc<dyn Interceptor>> = vec![timeout];
    let settler = Ready {
        assignment: Assignment {
            stream: "orders".into(),
            group: "billing".into(),
            partition: None,
            generation: 1,
            replay: 0,
        },
        revocations: Revocations::default(),
    };
    let parts = Parts::new(Event::new("order.placed"), 1);
    let settling = allocations(100, || {
        block_on(Next::new(&layers, &settler).settle(&parts, Settlement::Ack)).unwrap();
    });
    assert_eq!(settling, 0, "settling through the time-out layer");

    let tracing = Tracing::new(TracingOptions::default(), &runtime);
    let event = Event::new("order.placed").with_source("/shop");
    let stamping = allocations(100, || {
        let mut event = event.clone();
        tracing.stamp(&mut event);
        assert!(event.traceparent().is_some());
    });
    assert!(stamping <= 5, "{stamping} for one event");
    let mut stamped = event.clone();
    tracing.stamp(&mut stamped);
    let again = allocations(100, || tracing.stamp(&mut stamped));
    assert_eq!(again, 0, "an event that has a trace keeps it");
}
