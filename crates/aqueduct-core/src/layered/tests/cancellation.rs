use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::task::noop_waker;

use super::fakes::*;
use crate::{Admission, BatchConsumer, Delivery, Result, Settlement, Stage};

/// Polls a call that many times, then cancels it.
fn receive(consumer: &dyn BatchConsumer, polls: usize) -> Option<Result<Vec<Delivery>>> {
    let mut call = pin!(consumer.receive_batch(4));
    let waker = noop_waker();
    for _ in 0..polls {
        if let Poll::Ready(answer) = call.as_mut().poll(&mut Context::from_waker(&waker)) {
            return Some(answer);
        }
    }
    None
}

/// Ten events, of which the middle layer settles the even ones; every await yields, and each call
/// is cancelled after `polls` polls except the last ones, which run to their end.
fn run(polls: &[usize]) -> Vec<String> {
    let record = Record::default();
    let mut settler = FakeSettler::new(&record);
    settler.gives_way = 1;
    let settler = Arc::new(settler);
    let mut batches: Vec<Vec<_>> = vec![vec![], vec![], vec![]];
    for ticket in 0..10 {
        batches[ticket as usize / 4].push(delivery(&settler, ticket));
    }
    let mut consumer = FakeConsumer::of(&record, batches);
    consumer.gives_way = 1;
    let mut outer = FakeLayer::new("outer", Stage::Observe, &record);
    outer.gives_way = 1;
    let mut middle = FakeLayer::new("middle", Stage::Idempotency, &record).deciding(|delivery| {
        match delivery.parts().ticket % 2 {
            0 => Admission::Settle(Settlement::Ack),
            _ => Admission::Pass,
        }
    });
    middle.gives_way = 2;
    let consumer = wrap(consumer, &[outer, middle]);
    let mut seen = Vec::new();
    for batch_wait in polls.iter().copied().chain([1000; 5]) {
        if let Some(batch) = receive(&*consumer, batch_wait) {
            for delivery in batch.unwrap() {
                seen.push(delivery.event().id().to_string());
                let _ = delivery.into_parts();
            }
        }
    }
    let mut settled = BTreeMap::<String, usize>::new();
    for what in record.take() {
        assert!(!what.starts_with("abandon"), "{what}");
        if what.starts_with("ack") {
            *settled.entry(what).or_default() += 1;
        }
    }
    assert_eq!(settled.len(), 5, "each even one is settled: {settled:?}");
    assert!(
        settled.values().all(|&times| times == 1),
        "once: {settled:?}"
    );
    seen
}

#[test]
fn a_call_cancelled_at_any_await_loses_nothing_and_hands_out_nothing_twice() {
    let odd: Vec<_> = ["1", "3", "5", "7", "9"].map(String::from).into();
    for first in 1..40 {
        assert_eq!(run(&[first]), odd, "cancelled after {first} polls");
        for second in (1..12).step_by(2) {
            assert_eq!(run(&[first, second, 3, first]), odd, "{first}, {second}");
        }
    }
}

#[test]
fn what_is_settled_when_the_call_is_cancelled_is_not_settled_again() {
    let record = Record::default();
    let mut settler = FakeSettler::new(&record);
    settler.gives_way = 1;
    settler.slow = Some(4);
    let settler = Arc::new(settler);
    let batch = [1, 2, 4].map(|n| delivery(&settler, n)).into();
    let layer = FakeLayer::new("once", Stage::Idempotency, &record).deciding(|delivery| {
        match delivery.parts().ticket % 2 {
            0 => Admission::Settle(Settlement::Ack),
            _ => Admission::Pass,
        }
    });
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &[layer]);
    assert!(receive(&*consumer, 1).is_none());
    let batch = receive(&*consumer, 1000).unwrap().unwrap();
    assert_eq!(ids(&batch), ["1"]);
    assert_eq!(*settler.asked.lock().unwrap(), [2, 4, 4]);
}

#[test]
fn an_outer_layer_that_was_asked_lets_go_of_what_an_inner_one_settles_in_the_next_round() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = [1, 2].map(|n| delivery(&settler, n)).into();
    let unasked = FakeLayer::new("unasked", Stage::Observe, &record);
    let outer = FakeLayer::new("outer", Stage::Idempotency, &record);
    outer.errors.lock().unwrap().push_back(unavailable());
    let changes = Arc::new(AtomicBool::new(false));
    let seen = changes.clone();
    let inner =
        FakeLayer::new("inner", Stage::DeadLetters, &record).deciding(
            move |delivery| match delivery.parts().ticket == 1 && seen.load(Ordering::Relaxed) {
                true => Admission::Settle(Settlement::Ack),
                false => Admission::Pass,
            },
        );
    let last = FakeLayer::new("last", Stage::Backend, &record);
    let consumer = wrap(
        FakeConsumer::of(&record, vec![batch]),
        &[unasked, outer, inner, last],
    );
    // A round in which the outer layer claims both and then fails, as a cancelled one may.
    assert!(receive(&*consumer, 1).unwrap().is_err());
    record.take();
    changes.store(true, Ordering::Relaxed);
    let batch = receive(&*consumer, 1).unwrap().unwrap();
    assert_eq!(ids(&batch), ["2"]);
    assert_eq!(
        record.take(),
        [
            "last admits 1 2",
            "inner admits 1 2",
            "outer settles 1",
            "last settles 1",
            "ack 1",
            "outer admits 2",
            "unasked admits 2",
        ]
    );
}
