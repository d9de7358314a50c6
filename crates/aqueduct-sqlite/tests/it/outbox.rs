use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_core::{
    BatchProducer, Capabilities, Effect, Error, ErrorKind, Event, Lane, Result, SendReport,
    StreamName,
};
use aqueduct_sqlite::{SqlResultExt as _, SqliteBackend, SqliteOptions, SqliteStore};
use async_trait::async_trait;

use crate::support::*;

/// Stores elsewhere, but fails every third call; half of the failures come after storing.
struct Flaky {
    inner: Arc<dyn BatchProducer>,
    calls: AtomicUsize,
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl BatchProducer for Flaky {
    async fn send_batch(&self, events: &[Event]) -> SendReport {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let lost = Error::new(ErrorKind::Unavailable, "no response").with_effect(Effect::Unknown);
        match call % 6 {
            2 => SendReport::failed(events.len(), &lost),
            5 => {
                let _ = self.inner.send_batch(events).await;
                SendReport::failed(events.len(), &lost)
            }
            _ => self.inner.send_batch(events).await,
        }
    }

    fn lane(&self, event: &Event) -> Lane {
        self.inner.lane(event)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn deduplicates(&self) -> Option<Duration> {
        self.inner.deduplicates()
    }

    fn consecutive_requests(&self, events: &[Event]) -> u32 {
        self.inner.consecutive_requests(events)
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[tokio::test]
async fn a_stream_of_the_same_file_has_the_events_with_the_commit() {
    let place = Place::new();
    let log = place.log(&[]).await;
    let store = place.store().await;
    let orders = StreamName::new("orders");
    let publish = |fail: bool, n: u64| {
        let (again, orders) = (store.clone(), orders.clone());
        store.transaction(move |tx| {
            again.publish_in(tx, &orders, &[event("a", n), event("b", n)])?;
            if fail {
                return Err(Error::new(ErrorKind::Handler, "rolled back"));
            }
            Ok(())
        })
    };
    publish(true, 1).await.unwrap_err();
    publish(false, 2).await.unwrap();
    let stored: Vec<_> = read_stream(&*log).await.iter().map(number).collect();
    assert_eq!(stored, [2, 2]);
    assert!(store.outbox_streams().await.unwrap().is_empty());
    let nameless = Event::new("a");
    let again = store.clone();
    let refused = store
        .transaction(move |tx| again.publish_in(tx, &orders, &[nameless]))
        .await;
    let refused = refused.unwrap_err();
    assert!(refused.is(ErrorKind::Invalid) && refused.message().contains("source"));
}

#[tokio::test]
async fn any_other_stream_is_relayed_in_order_despite_failures() {
    let place = Place::new();
    let store = place.store().await;
    let elsewhere = Place::new();
    let producer = Arc::new(Flaky {
        inner: elsewhere.producer(&[]).await,
        calls: AtomicUsize::new(0),
    });
    let payments = StreamName::new("payments");
    let outbox = store.outbox(payments.clone());
    let publish = async |from: u64| {
        for n in from..from + 50 {
            let (again, payments) = (store.clone(), payments.clone());
            let events: Vec<_> = (0..20).map(|k| event(&format!("k{k}"), n)).collect();
            store
                .transaction(move |tx| again.publish_in(tx, &payments, &events))
                .await
                .unwrap();
        }
    };
    publish(0).await;
    assert_eq!(outbox.len().await.unwrap(), 1000);
    assert_eq!(
        store.outbox_streams().await.unwrap(),
        std::slice::from_ref(&payments)
    );
    let relay = {
        let (outbox, runtime) = (outbox.clone(), place.runtime.clone());
        tokio::spawn(async move { outbox.run(producer, runtime).await })
    };
    publish(50).await;
    until("the outbox is empty", || async {
        outbox.len().await.unwrap() == 0
    })
    .await;
    relay.abort();
    let log = elsewhere.log(&[]).await;
    let mut next = std::collections::BTreeMap::<String, u64>::new();
    for record in read_stream(&*log).await {
        let next = next.entry(record.event.key().unwrap().into()).or_default();
        // Resent events repeat earlier ones; the first occurrences have no gaps.
        assert!(
            number(&record) <= *next,
            "{} came before {next}",
            number(&record)
        );
        *next = (*next).max(number(&record) + 1);
    }
    assert_eq!(next.len(), 20);
    assert!(next.values().all(|next| *next == 100));
}

#[tokio::test]
async fn draining_answers_the_failure_and_keeps_what_is_not_stored() {
    let place = Place::new();
    let store = place.store().await;
    let payments = StreamName::new("payments");
    let outbox = store.outbox(payments.clone());
    let (again, stream) = (store.clone(), payments.clone());
    store
        .transaction(move |tx| again.publish_in(tx, &stream, &[event("a", 1)]))
        .await
        .unwrap();
    let elsewhere = Place::new();
    let producer = elsewhere.producer(&[]).await;
    producer.close().await.unwrap();
    assert!(
        outbox
            .drain(&*producer)
            .await
            .unwrap_err()
            .is(ErrorKind::Closed)
    );
    assert_eq!(outbox.len().await.unwrap(), 1);
    let producer = elsewhere.producer(&[]).await;
    assert_eq!(outbox.drain(&*producer).await.unwrap(), 1);
    assert_eq!(outbox.len().await.unwrap(), 0);
}

/// Publishes and returns the error, after which nothing of the call may be stored.
async fn refused(store: &SqliteStore, stream: &str, events: Vec<Event>) -> Error {
    let (again, stream) = (store.clone(), StreamName::new(stream));
    store
        .transaction(move |tx| {
            let error = again.publish_in(tx, &stream, &events).unwrap_err();
            // Committed, so that anything written before the error would show.
            Ok(error)
        })
        .await
        .unwrap()
}

#[tokio::test]
async fn an_event_over_the_limit_of_its_stream_is_refused_before_anything_is_written() {
    let place = Place::new();
    let log = place.log(&[("max_event_bytes", "2KiB")]).await;
    let large = event("a", 2).with_data(vec![0; 4096]);
    let size = large.approximate_size().to_string();
    // Opening the file without a limit takes the stream's.
    let other = SqliteBackend::new();
    let store = other
        .store(place.file(), SqliteOptions::default(), &place.runtime)
        .await
        .unwrap();
    let unnamed = resource(&other, &place.file(), "orders", &[]).unwrap();
    let producer = unnamed.producer(&place.runtime).await.unwrap();
    assert_eq!(producer.capabilities().limits.event_bytes, Some(2048));
    let error = refused(&store, "orders", vec![event("a", 1), large.clone()]).await;
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    for part in [&*large.id().to_string(), &size, "2048", "orders"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(read_stream(&*log).await.is_empty());

    // Another configuration raises it, for every process.
    place.log(&[("max_event_bytes", "8KiB")]).await;
    let (again, orders) = (store.clone(), StreamName::new("orders"));
    store
        .transaction(move |tx| again.publish_in(tx, &orders, &[large]))
        .await
        .unwrap();
    assert_eq!(read_stream(&*log).await.len(), 1);
    let default = event("a", 3).with_data(vec![0; 1_700_000]);
    let _ = place.resource("plain", &[]).producer(&place.runtime).await;
    let error = refused(&store, "plain", vec![default]).await;
    assert!(error.is(ErrorKind::TooLarge) && error.message().contains("1048576"));
}

#[tokio::test]
async fn an_event_that_no_stream_takes_does_not_get_into_the_outbox() {
    let place = Place::new();
    let store = place.store().await;
    let _declared = store.outbox(StreamName::new("payments"));
    let large = event("a", 2).with_data(vec![0; 1 << 20]);
    let id = large.id().to_string();
    let error = refused(&store, "payments", vec![event("a", 1), large]).await;
    assert!(error.is(ErrorKind::TooLarge), "{error}");
    assert!(error.message().contains(&id) && error.message().contains("1048576"));
    assert!(store.outbox_streams().await.unwrap().is_empty());
}

#[tokio::test]
async fn an_event_that_the_other_stream_never_takes_is_named_with_what_to_do() {
    let place = Place::new();
    let store = place.store().await;
    let payments = StreamName::new("payments");
    let large = event("a", 1).with_data(vec![0; 4096]);
    let id = large.id().to_string();
    let outbox = store.outbox(payments.clone());
    let (again, stream) = (store.clone(), payments);
    store
        .transaction(move |tx| again.publish_in(tx, &stream, &[large, event("a", 2)]))
        .await
        .unwrap();
    let elsewhere = Place::new();
    let small = elsewhere.producer(&[("max_event_bytes", "2KiB")]).await;
    let error = outbox.drain(&*small).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
    let delete = "DELETE FROM aqueduct_outbox WHERE id = 1";
    for part in [&*id, "payments", delete] {
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(outbox.len().await.unwrap(), 2);
    store
        .transaction(move |tx| tx.execute(delete, []).map(drop).sql("remove it"))
        .await
        .unwrap();
    assert_eq!(outbox.drain(&*small).await.unwrap(), 1);
}

#[tokio::test]
async fn a_stream_that_nobody_knows_is_refused() {
    let place = Place::new();
    let store = place.store().await;
    for stream in ["payments", "ordres"] {
        let error = refused(&store, stream, vec![event("a", 1)]).await;
        assert_eq!(error.kind(), ErrorKind::NotFound);
        for part in [stream, "client.producer", "store.outbox"] {
            assert!(error.message().contains(part), "{error}");
        }
    }
    assert!(store.outbox_streams().await.unwrap().is_empty());
}

#[tokio::test]
async fn events_that_wait_in_the_outbox_stay_before_those_of_a_stream_created_later() {
    let place = Place::new();
    let store = place.store().await;
    let orders = StreamName::new("orders");
    let outbox = store.outbox(orders.clone());
    let publish = async |n: u64| {
        let (again, orders) = (store.clone(), orders.clone());
        store
            .transaction(move |tx| again.publish_in(tx, &orders, &[event("a", n)]))
            .await
            .unwrap();
    };
    publish(1).await;
    publish(2).await;
    // The stream is now created in the same file and used directly.
    let producer = place.producer(&[]).await;
    send(&*producer, &[event("a", 3)]).await;
    publish(4).await;
    assert_eq!(outbox.len().await.unwrap(), 0);
    let log = place.log(&[]).await;
    let stored: Vec<_> = read_stream(&*log).await.iter().map(number).collect();
    assert_eq!(stored, [1, 2, 3, 4]);
}
