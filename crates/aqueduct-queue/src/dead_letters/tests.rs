use std::sync::{Arc, Mutex};

use aqueduct_core::{DeadLetter, DeadLetterReason, Event, Timestamp};
use futures::executor::block_on;

use super::*;

/// A queue in memory: messages by their ids, and which of them are hidden.
#[derive(Clone, Default)]
struct Shelf(Arc<Mutex<Vec<(Place, DeadLetter, bool)>>>);

struct Looking {
    shelf: Shelf,
    /// Cancels the scan after so many messages.
    stuck_after: Option<usize>,
    received: usize,
}

impl Shelf {
    fn put(&self, order: u64, message: &str, id: &str) {
        let event = Event::new("t").with_source("/s").with_id(id);
        let reason = DeadLetterReason::Exhausted;
        let dead_letter = DeadLetter::new(
            event,
            "orders".into(),
            "billing".into(),
            reason,
            "boom",
            Timestamp::EPOCH,
        );
        let place = Place::new(order, message.into());
        self.0.lock().unwrap().push((place, dead_letter, false));
    }

    fn hidden(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|it| it.2).count()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[async_trait]
impl ScannedQueue for Shelf {
    type Scan = Looking;
    const MOST: usize = 5;

    fn describe(&self) -> String {
        "the shelf".into()
    }

    async fn scan(&self) -> Result<Looking> {
        Ok(Looking {
            shelf: self.clone(),
            stuck_after: None,
            received: 0,
        })
    }
}

/// A queue whose scans never end by themselves.
struct Stuck(Shelf);

#[async_trait]
impl ScannedQueue for Stuck {
    type Scan = Looking;
    const MOST: usize = 5;

    fn describe(&self) -> String {
        self.0.describe()
    }

    async fn scan(&self) -> Result<Looking> {
        let mut scan = self.0.scan().await?;
        scan.stuck_after = Some(1);
        Ok(scan)
    }
}

#[async_trait]
impl Scan for Looking {
    type Handle = SmallStr;

    async fn receive(&mut self) -> Result<Vec<Scanned<SmallStr>>> {
        if self.stuck_after == Some(self.received) {
            futures::future::pending::<()>().await;
        }
        let mut shelf = self.shelf.0.lock().unwrap();
        let next = shelf.iter_mut().find(|it| !it.2);
        self.received += 1;
        Ok(next
            .map(|(place, dead_letter, hidden)| {
                *hidden = true;
                let handle = place.message.clone();
                Scanned::new(place.clone(), dead_letter.clone(), false, handle)
            })
            .into_iter()
            .collect())
    }

    async fn delete(&mut self, handles: Vec<SmallStr>) -> Vec<Result<()>> {
        let mut shelf = self.shelf.0.lock().unwrap();
        let delete = |handle: SmallStr| {
            shelf.retain(|it| it.0.message != handle);
            Ok(())
        };
        handles.into_iter().map(delete).collect()
    }

    async fn end(self, handles: Vec<SmallStr>) {
        self.abandon(handles);
    }

    fn abandon(self, handles: Vec<SmallStr>) {
        let mut shelf = self.shelf.0.lock().unwrap();
        for (place, _, hidden) in shelf.iter_mut() {
            *hidden &= !handles.contains(&place.message);
        }
    }
}

fn store<Q: ScannedQueue>(queue: Q) -> ScanningStore<Q> {
    ScanningStore::new(queue, &aqueduct_runtime::Simulation::new(1).runtime())
}

fn ids(page: &[StoredDeadLetter]) -> Vec<String> {
    page.iter().map(|it| it.id.to_string()).collect()
}

#[test]
fn pages_are_in_order_and_everything_is_given_back() {
    let shelf = Shelf::default();
    for (order, message, id) in [(3, "c", "3"), (1, "a", "1"), (2, "b", "2")] {
        shelf.put(order, message, id);
    }
    let store = store(shelf.clone());
    let mut query = DeadLetterQuery::new();
    query.limit = 2;
    let page = block_on(store.list(&query)).unwrap();
    assert_eq!(ids(&page), ["1.a", "2.b"]);
    query.after = Some(page[1].id.clone());
    assert_eq!(ids(&block_on(store.list(&query)).unwrap()), ["3.c"]);
    assert_eq!(shelf.hidden(), 0);
    query.after = Some(DeadLetterId("a".into()));
    let error = block_on(store.list(&query)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

#[test]
fn a_dead_letter_that_was_stored_twice_is_one_and_goes_with_its_copies() {
    let shelf = Shelf::default();
    for (order, message, id) in [(5, "late", "1"), (4, "first", "1"), (6, "other", "2")] {
        shelf.put(order, message, id);
    }
    let store = store(shelf.clone());
    let page = block_on(store.list(&DeadLetterQuery::new())).unwrap();
    assert_eq!(ids(&page), ["4.first", "6.other"]);
    let [known, copy, gone] = ["4.first", "5.late", "4.gone"].map(|id| DeadLetterId(id.into()));
    let outcomes = block_on(store.purge(&[gone.clone(), known.clone(), copy]));
    let kinds: Vec<_> = outcomes
        .iter()
        .map(|it| it.as_ref().err().map(Error::kind))
        .collect();
    let missing = Some(ErrorKind::NotFound);
    assert_eq!(kinds, [missing, None, missing]);
    assert_eq!((shelf.len(), shelf.hidden()), (1, 0));
    let shown = block_on(store.show(&[known]));
    let error = shown[0].as_ref().unwrap_err();
    assert!(error.to_string().contains("the shelf"), "{error}");
}

#[test]
fn a_malformed_id_names_nothing_and_reads_nothing() {
    let store = store(Stuck(Shelf::default()));
    let malformed = DeadLetterId("malformed".into());
    let purged = block_on(store.purge(std::slice::from_ref(&malformed)));
    let shown = block_on(store.show(&[malformed]));
    assert!(
        purged[0]
            .as_ref()
            .is_err_and(|it| it.is(ErrorKind::NotFound))
    );
    assert!(
        shown[0]
            .as_ref()
            .is_err_and(|it| it.is(ErrorKind::NotFound))
    );
}

#[test]
fn too_many_are_refused_with_the_limit_and_given_back() {
    let shelf = Shelf::default();
    for n in 0..6_u64 {
        shelf.put(n, &n.to_string(), &n.to_string());
    }
    let error = block_on(store(shelf.clone()).list(&DeadLetterQuery::new())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.to_string().contains("more than 5"), "{error}");
    assert_eq!(shelf.hidden(), 0);
}

#[test]
fn a_cancelled_scan_gives_back_what_it_received() {
    let shelf = Shelf::default();
    shelf.put(1, "a", "1");
    shelf.put(2, "b", "2");
    let store = store(Stuck(shelf.clone()));
    let query = DeadLetterQuery::new();
    let mut listing = Box::pin(store.list(&query));
    assert!(futures::FutureExt::now_or_never(&mut listing).is_none());
    assert_eq!(shelf.hidden(), 1);
    drop(listing);
    assert_eq!(shelf.hidden(), 0);
}

#[test]
fn the_order_rises_within_one_microsecond() {
    let store = store(Shelf::default());
    let (first, second) = (store.next_order(), store.next_order());
    assert!(second > first);
}
