use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::executor::block_on;
use futures::task::noop_waker;

use super::fakes::*;
use crate::{BatchConsumer, Stage};

fn two_layers(record: &Record) -> [FakeLayer; 2] {
    [
        FakeLayer::new("outer", Stage::Observe, record),
        FakeLayer::new("inner", Stage::Backend, record),
    ]
}

fn staged(record: &Record) -> Arc<dyn BatchConsumer> {
    let settler = Arc::new(FakeSettler::new(record));
    let batch = (1..=3).map(|n| delivery(&settler, n)).collect();
    let consumer = wrap(FakeConsumer::of(record, vec![batch]), &two_layers(record));
    let first = block_on(consumer.receive_batch(1)).unwrap();
    block_on(first.into_iter().next().unwrap().ack()).unwrap();
    record.take();
    consumer
}

#[test]
fn draining_gives_back_what_is_staged_without_an_attempt() {
    let record = Record::default();
    let consumer = staged(&record);
    block_on(consumer.drain()).unwrap();
    let gone = record.take();
    assert_eq!(gone[0], "drain");
    assert!(
        gone.contains(&"defer 2".into()) && gone.contains(&"defer 3".into()),
        "{gone:?}"
    );
    assert_eq!(ids(&block_on(consumer.receive_batch(1)).unwrap()), [""; 0]);
}

#[test]
fn closing_gives_back_then_flushes_from_the_outside_then_closes() {
    let record = Record::default();
    let consumer = staged(&record);
    block_on(consumer.close()).unwrap();
    let gone = record.take();
    assert!(
        gone.contains(&"defer 2".into()) && gone.contains(&"defer 3".into()),
        "{gone:?}"
    );
    assert_eq!(
        gone[gone.len() - 3..],
        ["outer flushes", "inner flushes", "close"]
    );
}

#[test]
fn flushing_flushes_the_layers_first() {
    let record = Record::default();
    let consumer = wrap(FakeConsumer::of(&record, vec![]), &two_layers(&record));
    block_on(consumer.flush()).unwrap();
    assert_eq!(record.take(), ["outer flushes", "inner flushes", "flush"]);
}

#[test]
fn dropping_the_consumer_costs_no_attempt() {
    let record = Record::default();
    drop(staged(&record));
    let gone = record.take();
    assert!(
        gone.contains(&"defer 2".into()) && gone.contains(&"defer 3".into()),
        "{gone:?}"
    );
    assert!(
        !gone.iter().any(|what| what.starts_with("abandon")),
        "{gone:?}"
    );
}

#[test]
fn a_pause_holds_back_what_is_staged_until_it_ends_or_the_consumer_drains() {
    let waker = noop_waker();
    let mut context = Context::from_waker(&waker);
    for drains in [false, true] {
        let record = Record::default();
        let consumer = staged(&record);
        consumer.pause(true);
        let mut call = pin!(consumer.receive_batch(9));
        assert!(call.as_mut().poll(&mut context).is_pending());
        if drains {
            block_on(consumer.drain()).unwrap();
        } else {
            consumer.pause(false);
        }
        let Poll::Ready(batch) = call.as_mut().poll(&mut context) else {
            panic!("still waiting, drains: {drains}");
        };
        let batch = batch.unwrap();
        assert_eq!(batch.len(), if drains { 0 } else { 2 });
    }
}

#[test]
fn draining_while_a_call_waits_does_not_wait_for_it() {
    let waker = noop_waker();
    let mut context = Context::from_waker(&waker);
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let mut layers = two_layers(&record);
    layers[0].gives_way = 3;
    let batch = vec![delivery(&settler, 1)];
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &layers);
    {
        let mut call = pin!(consumer.receive_batch(9));
        assert!(call.as_mut().poll(&mut context).is_pending());
        block_on(consumer.drain()).unwrap();
    }
    assert_eq!(ids(&block_on(consumer.receive_batch(9)).unwrap()), [""; 0]);
    assert!(record.take().contains(&"defer 1".into()));
}
