use std::sync::Arc;

use futures::executor::block_on;

use super::fakes::*;
use crate::{
    Capability, DeadLetter, DeadLetterReason, Delivery, ErrorKind, Layer, LayeredConsumer, Parts,
    Settler as _, Stage, Timestamp,
};

fn refused(layers: &[(&'static str, Stage)]) -> String {
    let record = Record::default();
    let consumer = Arc::new(FakeConsumer::of(&record, vec![]));
    let layers: Vec<Arc<dyn Layer>> = layers
        .iter()
        .map(|(name, stage)| Arc::new(FakeLayer::new(name, *stage, &record)) as Arc<dyn Layer>)
        .collect();
    match LayeredConsumer::wrap(consumer, &layers) {
        Ok(_) => String::new(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Config);
            error.to_string()
        }
    }
}

#[test]
fn falling_stages_and_doubled_names_are_refused_by_name() {
    let falling = refused(&[
        ("dead_letters", Stage::DeadLetters),
        ("once", Stage::Idempotency),
    ]);
    for part in ["`dead_letters`", "dead_letters", "`once`", "idempotency"] {
        assert!(falling.contains(part), "{falling}");
    }
    let twice = refused(&[
        ("once", Stage::Idempotency),
        ("dead_letters", Stage::DeadLetters),
        ("once", Stage::Backend),
    ]);
    assert!(
        twice.contains("`once`") && twice.contains("number 1 and number 3"),
        "{twice}"
    );
    assert_eq!(
        refused(&[
            ("a", Stage::Observe),
            ("b", Stage::Observe),
            ("c", Stage::Backend)
        ]),
        ""
    );
}

#[test]
fn settlements_go_in_and_deliveries_come_out() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = vec![delivery(&settler, 1), delivery(&settler, 2)];
    let outer = FakeLayer::new("outer", Stage::Observe, &record);
    let inner = FakeLayer::new("inner", Stage::Backend, &record);
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &[outer, inner]);
    let mut batch = block_on(consumer.receive_batch(10)).unwrap();
    assert_eq!(record.take(), ["inner admits 1 2", "outer admits 1 2"]);
    block_on(batch.remove(0).ack()).unwrap();
    assert_eq!(
        record.take(),
        ["outer settles 1", "inner settles 1", "ack 1"]
    );
    drop(batch);
    assert_eq!(
        record.take(),
        ["outer abandons 2", "inner abandons 2", "abandoned 2"]
    );
    assert_eq!(ids(&block_on(consumer.receive_batch(10)).unwrap()), [""; 0]);
}

#[test]
fn capabilities_fold_from_the_inside() {
    let record = Record::default();
    let mut outer = FakeLayer::new("outer", Stage::Observe, &record);
    outer.capability = Some(Capability::Idempotency);
    let inner = FakeLayer::new("inner", Stage::Backend, &record);
    let claims = wrap(FakeConsumer::of(&record, vec![]), &[outer, inner])
        .capabilities()
        .claims;
    assert_eq!(record.take(), ["inner folds", "outer folds"]);
    assert!(claims.has(Capability::KeyOrder) && claims.has(Capability::Idempotency));
    assert!(!claims.has(Capability::Replay));
}

#[test]
fn a_dead_letter_redriven_for_another_group_is_acknowledged_unseen_even_without_layers() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let redriven = |ticket: u64, group: &str| {
        let letter = DeadLetter::new(
            delivery(&settler, ticket).event().clone(),
            "orders".into(),
            group.into(),
            DeadLetterReason::Exhausted,
            "boom",
            Timestamp::EPOCH,
        );
        Delivery::new(
            Parts::new(letter.redriven().unwrap(), ticket),
            settler.clone(),
        )
    };
    let own = settler.assignment().group.clone();
    let batch = vec![redriven(1, "another"), redriven(2, own.as_str())];
    let alone = vec![redriven(3, "another")];
    record.take();
    let inner = FakeConsumer::of(&record, vec![batch, alone]);
    let consumer = LayeredConsumer::wrap(Arc::new(inner), &[]).unwrap();
    let received = block_on(consumer.receive_batch(10)).unwrap();
    assert_eq!(ids(&received), ["2"]);
    assert_eq!(record.take(), ["ack 1"]);
    for delivery in received {
        block_on(delivery.ack()).unwrap();
    }
    // A batch of nothing else is not the end of the stream.
    assert_eq!(ids(&block_on(consumer.receive_batch(10)).unwrap()), [""; 0]);
    assert_eq!(record.take(), ["ack 2", "ack 3"]);
}
