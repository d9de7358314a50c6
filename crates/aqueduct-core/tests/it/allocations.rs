//! Cloning events and settling through layers allocate nothing.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use allocation_counter::measure;
use aqueduct_core::{
    Admission, Assignment, AttributeValue, BatchConsumer, Capabilities, Claims, ConsumerStatus,
    Delivery, Event, EventId, Interceptor, Layer, LayeredConsumer, Limits, Next, Parts, Result,
    Revocation, Revocations, Settlement, Settler, Settling, SmallStr, Stage, Timestamp,
};
use async_trait::async_trait;

fn long(what: &str) -> String {
    format!("{what}, in a text that is much longer than what is kept inline")
}

fn full_event() -> Event {
    Event::bytes(long("type"), long("content type"), vec![7; 100])
        .with_id(long("id"))
        .with_source(long("source"))
        .with_subject(long("subject"))
        .with_key(long("key"))
        .with_schema(long("schema"))
        .with_time(Timestamp::from_millis(1))
        .with_attribute("flag", true)
        .unwrap()
        .with_attribute("bytes", bytes::Bytes::from(vec![1, 2, 3]))
        .unwrap()
        .with_attribute("uri", AttributeValue::Uri(long("uri").into()))
        .unwrap()
}

#[test]
fn cloning_an_event_allocates_nothing() {
    for event in [
        full_event(),
        Event::json("order.placed", &long("data")).unwrap(),
        Event::json("order.placed", &"x".repeat(5000)).unwrap(),
        Event::new(SmallStr::default()),
    ] {
        let mut copies = Vec::with_capacity(100);
        let allocated = measure(|| {
            for _ in 0..100 {
                copies.push(event.clone());
            }
        });
        assert_eq!(allocated.count_total, 0, "{event:?}");
        assert!(copies.iter().all(|copy| *copy == event));
    }
}

#[test]
fn small_json_takes_less_than_an_allocation_an_event() {
    let mut events = Vec::with_capacity(1000);
    let allocated = measure(|| {
        for n in 0..1000 {
            events.push(Event::json("order.placed", &[n; 20]).unwrap());
        }
    });
    assert!(allocated.count_total < 100, "{allocated:?}");
}

#[test]
fn ids_of_events_made_here_allocate_nothing() {
    let text = EventId::generate().to_string();
    let allocated = measure(|| {
        for _ in 0..100 {
            assert!(!EventId::generate().is_empty());
            assert!(EventId::from(&*text).as_uuid().is_some());
        }
    });
    assert_eq!(allocated.count_total, 0);
}

struct Partition {
    assignment: Assignment,
    revocations: Revocations,
    settled: AtomicUsize,
}

impl Settler for Partition {
    fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    fn settle<'a>(&'a self, _: &'a Parts, _: Settlement) -> Settling<'a> {
        self.settled.fetch_add(1, Ordering::Relaxed);
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

    fn abandon(&self, _: &Parts, _: aqueduct_core::Abandoned) {}
}

struct Batches(Mutex<Vec<Vec<Delivery>>>);

#[async_trait]
impl BatchConsumer for Batches {
    async fn receive_batch(&self, _: usize) -> Result<Vec<Delivery>> {
        Ok(self.0.lock().unwrap().pop().unwrap_or_default())
    }

    async fn drain(&self) -> Result<()> {
        Ok(())
    }

    async fn flush(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }

    fn pause(&self, _: bool) {}

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            claims: Claims::none(),
            limits: Limits::default(),
        }
    }

    fn status(&self) -> ConsumerStatus {
        ConsumerStatus::default()
    }
}

struct PassThrough(&'static str, Arc<AtomicUsize>);

impl Layer for PassThrough {
    fn name(&self) -> &'static str {
        self.0
    }

    fn stage(&self) -> Stage {
        Stage::Observe
    }

    fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
        Some(Arc::new(Counting(self.1.clone())))
    }
}

struct Counting(Arc<AtomicUsize>);

#[async_trait]
impl Interceptor for Counting {
    async fn admit(&self, deliveries: &[Delivery]) -> Result<Vec<Admission>> {
        Ok(deliveries.iter().map(|_| Admission::Pass).collect())
    }

    fn settle<'a>(&'a self, parts: &'a Parts, how: Settlement, next: Next<'a>) -> Settling<'a> {
        self.0.fetch_add(1, Ordering::Relaxed);
        next.settle(parts, how)
    }
}

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => answer,
        Poll::Pending => panic!("it waits"),
    }
}

fn layered(batches: usize) -> (Arc<Partition>, Arc<AtomicUsize>, Arc<dyn BatchConsumer>) {
    let partition = Arc::new(Partition {
        assignment: Assignment {
            stream: "orders".into(),
            group: "billing".into(),
            partition: Some("0".into()),
            generation: 1,
            replay: 0,
        },
        revocations: Revocations::new(),
        settled: AtomicUsize::new(0),
    });
    let batch = || {
        let settler: Arc<dyn Settler> = partition.clone();
        (0..100)
            .map(|ticket| Delivery::new(Parts::new(full_event(), ticket), settler.clone()))
            .collect()
    };
    let inner = Arc::new(Batches(Mutex::new((0..batches).map(|_| batch()).collect())));
    let seen = Arc::new(AtomicUsize::new(0));
    let layers = ["first", "second", "third"]
        .map(|name| Arc::new(PassThrough(name, seen.clone())) as Arc<dyn Layer>);
    let consumer = LayeredConsumer::wrap(inner, &layers).unwrap();
    (partition, seen, consumer)
}

#[test]
fn settling_a_hundred_deliveries_through_three_layers_allocates_nothing() {
    let (partition, seen, consumer) = layered(1);
    let batch = now(consumer.receive_batch(100)).unwrap();
    assert_eq!(batch.len(), 100);
    let mut given = batch.into_iter();
    let allocated = measure(|| {
        for delivery in given.by_ref() {
            let settlement =
                match delivery.parts().ticket % 4 {
                    0 => now(delivery.ack()),
                    1 => now(delivery.nack(None)),
                    2 => now(delivery.nack(Duration::from_secs(1))),
                    _ => now(delivery
                        .reject(SmallStr::literal("it can never be handled, whatever we do"))),
                };
            assert!(settlement.is_ok());
        }
    });
    assert_eq!(allocated.count_total, 0);
    assert_eq!(partition.settled.load(Ordering::Relaxed), 100);
    assert_eq!(seen.load(Ordering::Relaxed), 300);
}

#[test]
fn receiving_through_layers_allocates_by_the_batch_and_never_by_the_delivery() {
    let (_, _, consumer) = layered(2);
    let warm = now(consumer.receive_batch(100)).unwrap();
    let mut batch = Vec::new();
    let allocated = measure(|| batch = now(consumer.receive_batch(100)).unwrap());
    assert_eq!((warm.len(), batch.len()), (100, 100));
    // A boxed future for the call and for each layer, and each layer's outcomes.
    assert!(allocated.count_total <= 8, "{allocated:?}");
}
