use std::sync::Arc;
use std::time::Duration;

use futures::executor::block_on;

use super::super::settler::Settlers;
use super::fakes::*;
use crate::{Admission, Error, ErrorKind, Interceptor, Retry, Revocation, Settlement, Stage};

fn settle_when(ticket: u64, how: Settlement) -> impl Fn(&crate::Delivery) -> Admission {
    move |delivery| match delivery.parts().ticket == ticket {
        true => Admission::Settle(how.clone()),
        false => Admission::Pass,
    }
}

#[test]
fn what_a_layer_settles_passes_the_layers_further_in_alone_and_is_not_handed_out() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = (1..=3).map(|n| delivery(&settler, n)).collect();
    let layers = [
        FakeLayer::new("outer", Stage::Observe, &record),
        FakeLayer::new("middle", Stage::Idempotency, &record)
            .deciding(settle_when(2, Settlement::Ack)),
        FakeLayer::new("inner", Stage::Backend, &record),
    ];
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &layers);
    let batch = block_on(consumer.receive_batch(10)).unwrap();
    assert_eq!(ids(&batch), ["1", "3"]);
    assert_eq!(
        record.take(),
        [
            "inner admits 1 2 3",
            "middle admits 1 2 3",
            "inner settles 2",
            "ack 2",
            "outer admits 1 3",
        ]
    );
}

#[test]
fn it_goes_on_waiting_where_all_of_a_batch_is_settled_unseen() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batches = (1..=1000).map(|n| vec![delivery(&settler, n)]).collect();
    let layer = FakeLayer::new("once", Stage::Idempotency, &record).deciding(|delivery| {
        match delivery.parts().ticket < 1000 {
            true => Admission::Settle(Settlement::Ack),
            false => Admission::Pass,
        }
    });
    let consumer = wrap(FakeConsumer::of(&record, batches), &[layer]);
    assert_eq!(
        ids(&block_on(consumer.receive_batch(10)).unwrap()),
        ["1000"]
    );
    assert_eq!(ids(&block_on(consumer.receive_batch(10)).unwrap()), [""; 0]);
}

#[test]
fn a_deferred_event_takes_the_later_ones_of_its_key_along() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = [1, 2, 11].map(|n| delivery(&settler, n)).into();
    let defer = Settlement::Defer {
        delay: Duration::from_secs(1),
    };
    let layer = FakeLayer::new("once", Stage::Idempotency, &record).deciding(settle_when(1, defer));
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &[layer]);
    let batch = block_on(consumer.receive_batch(10)).unwrap();
    assert_eq!(
        ids(&batch),
        ["2"],
        "11 has the key of 1 and comes again behind it"
    );
    let record = record.take();
    assert!(
        record.contains(&"once settles 11".into()),
        "the layer can release it: {record:?}"
    );
    assert!(
        !record.iter().any(|what| what.starts_with("abandoned")),
        "{record:?}"
    );
}

#[test]
fn an_error_of_a_layer_keeps_the_batch_and_says_how_long_to_wait() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let layer = FakeLayer::new("once", Stage::Idempotency, &record);
    layer
        .errors
        .lock()
        .unwrap()
        .extend([(); 9].map(|()| unavailable()));
    let batches = vec![vec![delivery(&settler, 1)], vec![delivery(&settler, 2)]];
    let consumer = wrap(
        FakeConsumer::of(&record, batches),
        std::slice::from_ref(&layer),
    );
    let mut waits = Vec::new();
    let batch = loop {
        match block_on(consumer.receive_batch(10)) {
            Ok(batch) => break batch,
            Err(error) => {
                assert_eq!(error.to_string(), "layer once: no response from the store");
                let Retry::After(wait) = error.retry() else {
                    panic!("{error:?}");
                };
                waits.push(wait.as_millis());
            }
        }
    };
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000]);
    assert_eq!(ids(&batch), ["1"]);
    layer.errors.lock().unwrap().push_back(unavailable());
    let again = block_on(consumer.receive_batch(10)).unwrap_err();
    assert_eq!(again.retry(), Retry::After(Duration::from_millis(100)));
}

#[test]
fn a_settlement_that_fails_for_now_stays_owed_and_one_that_never_can_is_redelivered() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = (1..=2).map(|n| delivery(&settler, n)).collect();
    let layer = FakeLayer::new("once", Stage::Idempotency, &record)
        .deciding(settle_when(1, Settlement::Ack));
    settler.errors.lock().unwrap().extend([
        unavailable(),
        Error::new(ErrorKind::Unsupported, "no dead letters"),
    ]);
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &[layer]);
    let first = block_on(consumer.receive_batch(10)).unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Unavailable);
    let second = block_on(consumer.receive_batch(10)).unwrap_err();
    assert_eq!(
        (second.kind(), second.retry()),
        (ErrorKind::Unsupported, Retry::Never)
    );
    assert_eq!(record.take(), ["once admits 1 2", "abandoned 1"]);
    assert_eq!(ids(&block_on(consumer.receive_batch(10)).unwrap()), ["2"]);
}

#[test]
fn a_wrong_number_of_answers_is_an_error_that_names_the_layer() {
    struct Short;
    #[async_trait::async_trait]
    impl Interceptor for Short {
        async fn admit(&self, _: &[crate::Delivery]) -> crate::Result<Vec<Admission>> {
            Ok(vec![Admission::Pass])
        }
    }
    struct ShortLayer;
    impl crate::Layer for ShortLayer {
        fn name(&self) -> &'static str {
            "short"
        }
        fn stage(&self) -> Stage {
            Stage::Observe
        }
        fn consumer(&self) -> Option<Arc<dyn Interceptor>> {
            Some(Arc::new(Short))
        }
    }
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = (1..=2).map(|n| delivery(&settler, n)).collect();
    let inner = Arc::new(FakeConsumer::of(&record, vec![batch]));
    let consumer = crate::LayeredConsumer::wrap(inner, &[Arc::new(ShortLayer)]).unwrap();
    let error = block_on(consumer.receive_batch(10)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert_eq!(
        error.to_string(),
        "layer short: it returned 1 admissions for 2 deliveries"
    );
}

#[test]
fn what_was_revoked_while_it_was_staged_is_not_handed_out() {
    let record = Record::default();
    let settler = Arc::new(FakeSettler::new(&record));
    let batch = (1..=3).map(|n| delivery(&settler, n)).collect();
    let layer = FakeLayer::new("once", Stage::Idempotency, &record);
    let consumer = wrap(FakeConsumer::of(&record, vec![batch]), &[layer]);
    assert_eq!(ids(&block_on(consumer.receive_batch(1)).unwrap()), ["1"]);
    settler.revoked.lock().unwrap().insert(2, Revocation::Lost);
    assert_eq!(ids(&block_on(consumer.receive_batch(1)).unwrap()), ["3"]);
    let admitted = record
        .take()
        .iter()
        .filter(|what| what.contains("admits"))
        .count();
    assert_eq!(admitted, 1, "what passed is not asked about again");
}

#[test]
fn settlers_are_wrapped_once_and_forgotten_when_nobody_uses_them() {
    let record = Record::default();
    let mut settlers = Settlers::new(Arc::new([]));
    let wrapped = |settlers: &mut Settlers, settler: &Arc<FakeSettler>| {
        let mut delivery = delivery(settler, 1);
        settlers.wrap(&mut delivery);
        let (_, wrapped) = delivery.into_parts();
        wrapped
    };
    let kept: Vec<_> = (0..3)
        .map(|_| Arc::new(FakeSettler::new(&record)))
        .collect();
    let first: Vec<_> = kept.iter().map(|it| wrapped(&mut settlers, it)).collect();
    for _ in 0..10_000 {
        let passing = Arc::new(FakeSettler::new(&record));
        wrapped(&mut settlers, &passing);
        assert!(settlers.len() <= 8, "{}", settlers.len());
    }
    for (settler, first) in kept.iter().zip(&first) {
        assert!(Arc::ptr_eq(&wrapped(&mut settlers, settler), first));
    }
}
